"""Official names and shapes of our arrays."""

import json

import recorded

from hrjax import models
from hrjax.weights import torch_names
from tests.hrjax.weights.official import zeros


def test_hrnets_first_and_last_keys_are_the_official_ones():
    names = models.FAMILIES["hrnet_w32"].TORCH_NAMES
    paths = {
        "stem.conv1.conv.kernel": "conv1.weight",
        "stem.blocks.0.shortcut.bn.var": "layer1.0.downsample.1.running_var",
        "stages.1.transition.new.conv.kernel": "transition2.2.0.0.weight",
        "stages.2.modules.1.fuse.paths.3.1.steps.1.bn.scale": "stage4.1.fuse_layers.3.1.1.1.weight",
        "stages.2.modules.1.blocks.2.branches.3.conv2.bn.bias": "stage4.1.branches.3.2.bn2.bias",
        "final.bias": "final_layer.bias",
    }
    for ours, theirs in paths.items():
        assert torch_names.torch_name(ours.split("."), names)[0] == theirs


def test_official_buffers_are_written_too(shared):
    """Names and shapes are all of those that the official code has, PyTorch's buffers included."""
    for name in recorded.NAMES:
        golden = recorded.load(name)
        theirs = json.loads((shared / "reference" / "models" / f"{name}.json").read_text())
        ours = zeros(golden["model"], golden["num_joints"])
        expected = {key: tuple(shape) for key, shape, _ in theirs["tensors"]}
        assert {key: array.shape for key, array in ours.items()} == expected
