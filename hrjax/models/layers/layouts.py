"""How weights lie in the memory of a device, so that no compiled call transposes them."""

from typing import Any

import jax
from jax.experimental.layout import Format, Layout
from jax.sharding import Sharding

from hrjax.models.layers.target import PLATFORMS

# Up to this many outputs, as the weights of a dynamic convolution's kernels are, a 1x1 convolution
# of one pixel is computed again by each kernel that reads it.
FEW_OUTPUTS = 16
_OUTPUTS_FIRST = Layout(major_to_minor=(3, 0, 1, 2))


def weight_format(shape: tuple[int, ...], sharding: Sharding) -> Format | Sharding:
    """Where an array of weights of this shape lies, and on a GPU also in which order.

    cuDNN convolves images in NHWC with kernels whose output channels come first, while `shape` is
    (k, k, inputs, outputs). The same order lets the products of an image's means, 1x1 convolutions
    of one pixel, be sums along rows, each a single kernel. Those of few outputs stay as they are,
    as do depthwise kernels (k, k, 1, c), which are read tap by tap.
    """
    platform = next(iter(sharding.device_set)).platform
    dense = len(shape) == 4 and shape[2] > 1 and (shape[0] > 1 or shape[3] > FEW_OUTPUTS)
    return Format(_OUTPUTS_FIRST, sharding) if dense and PLATFORMS[platform] == "gpu" else sharding


def in_layouts(weights: Any) -> Any:
    """A tree of weights in the order that their devices compute with; equal in every value.

    On a GPU, compiled calls would otherwise transpose the kernels each time.
    """
    formats = jax.tree.map(lambda x: weight_format(x.shape, x.sharding), weights)
    if not any(isinstance(wanted, Format) for wanted in jax.tree.leaves(formats)):
        return weights
    return jax.jit(_same, out_shardings=formats)(weights)


def _same(tree):  # one function for all calls, so that the second evaluation compiles nothing
    return tree
