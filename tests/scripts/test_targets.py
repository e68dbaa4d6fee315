"""scripts/benchmarks/targets.py: all families compile for accelerators that are not there."""

import collections
import functools
import importlib.util

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import NamedSharding, PartitionSpec
from tiny_networks import TINY

from benchmarks import networks, programs, targets
from configs import common
from hrjax import models
from hrjax.training import parameter_packing, step


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


def kinds_for_a_gpu(function, *arrays):
    """How many kernels of each kind a function becomes on an absent H200."""
    if importlib.util.find_spec(targets.PACKAGES["cuda"][0]) is None:
        pytest.skip("jax[cuda13] is not installed")
    everywhere = NamedSharding(targets.make_mesh("h200", 1), PartitionSpec())
    shapes = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=everywhere), arrays
    )
    with models.lowering_for("gpu"):
        lowered = jax.jit(function).lower(*shapes)
    compiled = targets.compile_for("h200", lowered, triton=False)
    return collections.Counter(kernel.kind for kernel in programs.kernels(compiled.as_text()))


def test_a_gpu_cuts_and_converts_many_arrays_in_a_few_kernels():
    biases = {f"{n}": {"bias": jnp.zeros(16 * (1 + n % 4))} for n in range(1000)}
    packed = parameter_packing.pack(biases, whole=True)

    def convert(packed, copy):
        arrays = copy(packed.unpack())
        return jax.tree.map(lambda x: x.astype(jnp.bfloat16), arrays)

    def count(copy):
        return kinds_for_a_gpu(functools.partial(convert, copy=copy), packed).total()

    assert count(lambda arrays: arrays) > 1000  # if XLA learns it, parts are not needed any more
    assert count(parameter_packing.copy_in_parts) < 30


def test_a_gpu_pads_matrices_as_it_cuts_them():
    matrices = {f"{n}": {"kernel": jnp.zeros((1, 1, 60, 7))} for n in range(8)}
    packed = parameter_packing.pack(matrices, whole=True)

    def multiply(packed, images):
        cast = step._cast(packed.unpack(), jnp.bfloat16)
        return [x @ entry["kernel"][0, 0] for x, entry in zip(images, cast.values(), strict=True)]

    images = [jnp.zeros((4096, 60), jnp.bfloat16)] * len(matrices)
    kinds = kinds_for_a_gpu(multiply, packed, images)
    assert kinds["loop_pad"] == len(images) + 1  # and not one for each matrix
