"""scripts/benchmarks/targets.py: all families compile for accelerators that are not there."""

import functools
import importlib.util

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import NamedSharding, PartitionSpec
from tiny_networks import TINY

from benchmarks import networks, programs, targets
from configs import common
from hrjax.training import parameter_packing


@pytest.mark.long
@pytest.mark.parametrize("mode", ["forward", "train"])
@pytest.mark.parametrize("name", TINY)
@pytest.mark.parametrize("target", ["h200", "tpu-v5e"])
def test_each_family_compiles(target, name, mode):
    module, package = targets.PACKAGES[targets.TARGETS[target].platform]
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{package} is not installed")
    config = common.recipe(name, default=name, dataset="coco", input_size=(64, 64))
    config.model.update(TINY[name])
    config.train.batch_size = 2
    config.train.dtype = "bfloat16"
    mesh = targets.make_mesh(target, 1)
    lower = {"forward": networks.lower_forward, "train": networks.lower_training}[mode]
    compiled = targets.compile_for(target, lower(config, mesh), triton=mode == "forward")
    text = compiled.as_text()
    read = programs.summarize(programs.kernels(text), targets.TARGETS[target])
    assert read["kernels"] > 10
    assert read["gflop"] > 0
    assert read["collectives"] == 0


def test_a_gpu_cuts_and_converts_many_arrays_in_a_few_kernels():
    if importlib.util.find_spec(targets.PACKAGES["cuda"][0]) is None:
        pytest.skip("jax[cuda13] is not installed")
    everywhere = NamedSharding(targets.make_mesh("h200", 1), PartitionSpec())
    biases = {f"{n}": {"bias": jnp.zeros(16 * (1 + n % 4))} for n in range(1000)}
    packed = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=everywhere),
        parameter_packing.pack(biases, whole=True),
    )

    def convert(packed, copy):
        arrays = copy(packed.unpack())
        return jax.tree.map(lambda x: x.astype(jnp.bfloat16), arrays)

    def count(copy):
        lowered = jax.jit(functools.partial(convert, copy=copy)).lower(packed)
        compiled = targets.compile_for("h200", lowered, triton=False)
        return len(programs.kernels(compiled.as_text()))

    assert count(lambda arrays: arrays) > 1000  # if XLA learns it, parts are not needed any more
    assert count(parameter_packing.copy_in_parts) < 30
