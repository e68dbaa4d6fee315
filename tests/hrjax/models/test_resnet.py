import jax
import jax.numpy as jnp
import pytest

import hrjax
from hrjax import models

TINY = {"width": 8, "blocks": (1, 2, 1, 1), "deconv_width": 8}


def test_features_are_the_four_layers():
    graph, params, stats = models.shapes("pose_resnet_50")
    images = jax.ShapeDtypeStruct((2, 64, 32, 3), jnp.float32)
    outputs = jax.eval_shape(lambda *args: models.features(graph, *args), params, stats, images)
    shapes = [(2, 16, 8, 256), (2, 8, 4, 512), (2, 4, 2, 1024), (2, 2, 1, 2048)]
    assert [x.shape for x in outputs] == shapes


def test_the_3x3_convolution_has_the_stride():
    layers = hrjax.create("pose_resnet_50", **TINY).layers
    strides = [[unit.conv.stride for unit in units(layer[0])] for layer in layers]
    assert strides == [[1, 1, 1, 1]] + [[1, 2, 1, 2]] * 3
    assert [unit.conv.stride for unit in units(layers[1][1])] == [1, 1, 1]


def units(block):
    return [block.conv1, block.conv2, block.conv3, *([block.shortcut] if block.shortcut else [])]


def test_images_that_cannot_be_halved_often_enough_are_an_error():
    graph, params, stats = hrjax.split(hrjax.create("pose_resnet_50", **TINY))
    with pytest.raises(ValueError, match=r"images of 64x48 pixels .*; height and width must be"):
        hrjax.apply(graph, params, stats, jnp.ones((1, 48, 64, 3)))
