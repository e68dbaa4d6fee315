"""scripts/benchmarks/targets.py: all families compile for accelerators that are not there."""

import importlib.util

import pytest
from tiny_networks import TINY

from benchmarks import networks, programs, targets
from configs import common


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
