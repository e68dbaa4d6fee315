"""The blocks that several families share, and what blocks do with channels."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from data_pipelines.messages import sizes
from hrjax.models.layers.convolutions import Activation, Conv, ConvBN
from hrjax.models.layers.initialization import Initializer


class Sequential(nnx.Module):
    """Modules applied one after another; without any, the identity."""

    def __init__(self, *steps: nnx.Module):
        self.steps = nnx.List(steps)

    def __call__(self, x: Any) -> Any:
        for step in self.steps:
            x = step(x)
        return x


def conv3x3(
    inputs: int, outputs: int, *, stride: int, act: Activation | None, rngs: Initializer
) -> ConvBN:
    """A dense 3x3 convolution with batch norm."""
    return ConvBN(inputs, outputs, 3, stride=stride, act=act, rngs=rngs)


class Separable(nnx.Module):
    """A depthwise 3x3 and a 1x1 convolution with batch norms; the activation follows the second."""

    def __init__(
        self, inputs: int, outputs: int, *, stride: int, act: Activation | None, rngs: Initializer
    ):
        self.depthwise = ConvBN(
            inputs, inputs, 3, stride=stride, groups=inputs, act=None, rngs=rngs
        )
        self.pointwise = ConvBN(inputs, outputs, act=act, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.pointwise(self.depthwise(x))


class BasicBlock(nnx.Module):
    """Two 3x3 convolutions with a shortcut around them."""

    def __init__(self, width: int, *, rngs: Initializer):
        self.conv1 = ConvBN(width, width, 3, rngs=rngs)
        self.conv2 = ConvBN(width, width, 3, act=None, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return jax.nn.relu(x + self.conv2(self.conv1(x)))


class Bottleneck(nnx.Module):
    """1x1, 3x3 and 1x1 convolutions with a shortcut, projected where the width or size changes."""

    def __init__(
        self, inputs: int, width: int, outputs: int, *, stride: int = 1, rngs: Initializer
    ):
        self.conv1 = ConvBN(inputs, width, rngs=rngs)
        self.conv2 = ConvBN(width, width, 3, stride=stride, rngs=rngs)
        self.conv3 = ConvBN(width, outputs, act=None, rngs=rngs)
        project = inputs != outputs or stride != 1
        options = {"stride": stride, "act": None, "rngs": rngs}
        self.shortcut = ConvBN(inputs, outputs, **options) if project else None

    def __call__(self, x: jax.Array) -> jax.Array:
        shortcut = x if self.shortcut is None else self.shortcut(x)
        return jax.nn.relu(shortcut + self.conv3(self.conv2(self.conv1(x))))


# The official names inside bottlenecks, and wherever else convolutions and batch norms alternate.
BOTTLENECK_NAMES = (
    (r"\.shortcut\.conv$", ".downsample.0"),
    (r"\.shortcut\.bn$", ".downsample.1"),
    (r"conv(\d)\.conv$", r"conv\1"),
    (r"conv(\d)\.bn$", r"bn\1"),
)


class SqueezeExcite(nnx.Module):
    """Weights channels by two 1x1 convolutions of their means, with `squeezed` channels between."""

    def __init__(self, width: int, squeezed: int, *, rngs: Initializer):
        self.fc1 = Conv(width, squeezed, bias=True, rngs=rngs)
        self.fc2 = Conv(squeezed, width, bias=True, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        weights = jax.nn.relu(self.fc1(jnp.mean(x, (1, 2), keepdims=True)))
        return x * jax.nn.sigmoid(self.fc2(weights))


def half_width(width: int) -> int:
    """Half of `width` channels; raises ValueError if the number is odd."""
    if width % 2:
        raise ValueError(f"width {width} is odd; blocks that shuffle split their channels in half")
    return width // 2


def shuffle(*parts: jax.Array) -> jax.Array:
    """The channels of equally wide `parts`, interleaved: first of each, second of each, …"""
    return jnp.stack(parts, axis=-1).reshape(*parts[0].shape[:-1], -1)


def check_image_size(images: jax.Array, factor: int) -> None:
    """Raises ValueError unless the height and the width of `images` are multiples of `factor`."""
    height, width = images.shape[1:3]
    if height % factor or width % factor:
        raise ValueError(
            f"images of {sizes.pixels((height, width))}; height and width must be multiples of "
            f"{factor}"
        )
