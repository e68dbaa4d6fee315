"""The attention of several dynamic convolutions at once, for evaluation on GPUs and TPUs.

Launching a product of means takes longer than computing it. So each is one for all convolutions,
with zeros between the channels of different ones, and arranged to need one kernel on a GPU.
"""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from hrjax.models.layers.backend_ops import accumulation_dtype
from hrjax.models.layers.convolutions import Conv, DynamicConv
from hrjax.models.layers.functional import is_launch_bound

# A kernel that sums the pixels of few channels occupies a small part of a GPU. In so many parts a
# mean is summed at the same time, where the height allows; what reads the parts adds them up.
PARTS = 8


def means_in_parts(images: Sequence[jax.Array]) -> jax.Array:
    """The channel means of images (n, h, w, c), side by side, in parts that add up to them.

    The result is (n, parts, channels of all), in float32 or better. Rows are averaged first, by the
    kernel that computes the images.
    """
    count = math.gcd(PARTS, *(x.shape[1] for x in images))
    if not is_launch_bound(images[0]):
        means = [jnp.mean(x.astype(accumulation_dtype(x)), (1, 2)) for x in images]
        return jnp.concatenate(means, -1)[:, None]

    def parts(x):
        n, height, _, channels = x.shape
        rows = jnp.mean(x.astype(accumulation_dtype(x)), 2)
        return jnp.mean(rows.reshape(n, count, height // count, channels), 2) / count

    return jnp.concatenate([parts(x) for x in images], -1)


class MeansProduct(nnx.Module):
    """A linear layer of means in parts (n, parts, inputs), whose sums it takes: (n, outputs).

    `matrix` is (outputs, inputs), since sums along rows are one kernel on a GPU.
    """

    def __init__(self, matrix: jax.Array, bias: jax.Array):
        self.matrix = nnx.Param(matrix)
        self.bias = nnx.Param(bias)

    def __call__(self, means: jax.Array) -> jax.Array:
        matrix = self.matrix.get_value().astype(means.dtype)
        products = means[:, None] * matrix[:, None]
        if not is_launch_bound(products):
            products = (jnp.sum(means, 1)[:, None] * matrix)[:, :, None]
        return jnp.sum(products, (2, 3)) + self.bias.get_value()


def side_by_side(convs: Sequence[Conv]) -> MeansProduct:
    """1x1 convolutions of different channels as one product, with zeros in between."""
    matrices = [conv.kernel.get_value()[0, 0].T for conv in convs]
    bias = jnp.concatenate([conv.bias.get_value() for conv in convs])
    return MeansProduct(jax.scipy.linalg.block_diag(*matrices), bias)


class JointAttention(nnx.Module):
    """The attention of several dynamic convolutions, whose layers, folded, it takes over."""

    def __init__(self, convs: Sequence[DynamicConv]):
        self.act = convs[0].squeeze.act
        self.squeeze = side_by_side([conv.squeeze.conv for conv in convs])
        self.attend = side_by_side([conv.attend for conv in convs])
        self.counts = tuple(len(conv.kernels.get_value()) for conv in convs)
        for conv in convs:
            conv.squeeze = conv.attend = None

    def __call__(self, images: Sequence[jax.Array]) -> list[jax.Array]:
        """The weights (n, kernels) of each convolution, given the images that each reads."""
        return self.weights(self.squeeze(means_in_parts(images)), images[0].dtype)

    def weights(self, squeezed: jax.Array, dtype: np.dtype) -> list[jax.Array]:
        """The weights (n, kernels) of each convolution, given what all squeeze, not activated."""
        weights = jax.nn.sigmoid(self.attend(self.act(squeezed)[:, None])).astype(dtype)
        return split(weights, self.counts)


def split(x: jax.Array, sizes: Sequence[int]) -> list[jax.Array]:
    """Parts of the last axis."""
    return jnp.split(x, np.cumsum(sizes)[:-1], axis=-1)
