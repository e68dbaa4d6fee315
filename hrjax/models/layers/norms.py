"""Batch normalization and layer normalization."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

from hrjax.models.layers.functional import layer_norm, standardize, standardize_rectified
from hrjax.models.layers.initialization import Initializer, constant
from hrjax.models.layers.target import target_platform


class BatchNorm(nnx.Module):
    """Batch normalization as PyTorch does it: the running variance is the unbiased one.

    Computes in float32 or better and returns the dtype of its input. The statistics are those of
    the whole batch, also where it is sharded over devices, or those of each of its groups after
    `set_batch_norm_size`; the running ones then move by the mean over the groups.

    `bias` is that of the preceding convolution, one value for each channel, where the convolution
    has not added it: it shifts the running mean and nothing else, so adding it to the images would
    be a redundant pass.
    """

    momentum = 0.1
    epsilon = 1e-5
    group_size = 0  # images in a group; 0: the whole batch is one

    def __init__(self, channels: int, *, rngs: Initializer):
        self.scale = nnx.Param(constant(rngs, (channels,), 1.0))
        self.bias = nnx.Param(constant(rngs, (channels,), 0.0))
        self.mean = nnx.BatchStat(constant(rngs, (channels,), 0.0))
        self.var = nnx.BatchStat(constant(rngs, (channels,), 1.0))
        self.use_running_average = False  # NNX's name: model.eval() sets it

    def __call__(
        self, x: jax.Array, bias: jax.Array | float = 0.0, act: Callable | None = None
    ) -> jax.Array:
        """`act` of the normalized images; in training on a GPU, a ReLU is part of the operation."""
        if self.use_running_average:
            y, applied = self._by_running_statistics(x, bias), False
        else:
            applied = act is jax.nn.relu and target_platform() == "gpu"
            y = self._by_own_statistics(x, bias, rectified=applied)
        return y if act is None or applied else act(y)

    def _by_running_statistics(self, x, bias):
        scale, shift = self._affine_in(x)
        # Not by `affine`: where the mean is large, its shift would lose digits.
        factor = scale * lax.rsqrt(self.var.get_value() + self.epsilon)
        y = x.astype(scale.dtype)
        return ((y - (self.mean.get_value() - bias)) * factor + shift).astype(x.dtype)

    def _by_own_statistics(self, x, bias, *, rectified):
        scale, shift = self._affine_in(x)
        standardized = standardize_rectified if rectified else standardize
        y = x if rectified else x.astype(scale.dtype)
        size = self._images_together(len(x))
        guess = self.mean.get_value().astype(scale.dtype) - bias
        groups = y.reshape(-1, size, *y.shape[1:])  # keeps a sharded batch where it is
        if len(groups) == 1:
            y, mean, var = standardized(y, scale, shift, guess, self.epsilon)
        else:
            by_group = jax.vmap(lambda x: standardized(x, scale, shift, guess, self.epsilon))
            y, *statistics = by_group(groups)
            mean, var = (jnp.mean(values, 0) for values in statistics)
        self._update(mean + bias, var, count=size * math.prod(x.shape[1:-1]))
        return y.reshape(x.shape).astype(x.dtype)

    def _affine_in(self, x):
        # Running statistics stay in float32 or better, whatever the parameters were cast to.
        dtype = jnp.promote_types(x.dtype, self.mean.get_value().dtype)
        return self.scale.get_value().astype(dtype), self.bias.get_value().astype(dtype)

    def _images_together(self, batch_size):
        size = min(self.group_size or batch_size, batch_size)
        if batch_size % size:
            raise ValueError(f"batch norm cannot split {batch_size} images into groups of {size}")
        return size

    def affine(self) -> tuple[jax.Array, jax.Array]:
        """The factor and the shift that batch normalization amounts to in evaluation."""
        factor = self.scale.get_value() * lax.rsqrt(self.var.get_value() + self.epsilon)
        return factor, self.bias.get_value() - self.mean.get_value() * factor

    def _update(self, mean, var, *, count):
        if count < 2:
            raise ValueError(
                "batch norm has one value per channel, which has no variance; "
                "train with larger images or more than one image per batch"
            )
        var = var * (count / (count - 1))
        for running, now in ((self.mean, mean), (self.var, var)):
            before = running.get_value()
            after = (1 - self.momentum) * before + self.momentum * now
            running.set_value(after.astype(before.dtype))


def set_batch_norm_size(model: nnx.Module, size: int) -> None:
    """Makes the batch norms of `model` normalize groups of `size` neighboring images (0: all).

    The references train on several GPUs without synchronization: each normalizes its own share.
    """
    for _, module in nnx.iter_modules(model):
        if isinstance(module, BatchNorm):
            module.group_size = size


class LayerNorm(nnx.Module):
    """Normalizes the channels of each pixel; computes in float32 or better, like `BatchNorm`."""

    epsilon = 1e-6

    def __init__(self, channels: int, *, rngs: Initializer):
        self.scale = nnx.Param(constant(rngs, (channels,), 1.0))
        self.bias = nnx.Param(constant(rngs, (channels,), 0.0))

    def __call__(self, x: jax.Array) -> jax.Array:
        dtype = jnp.promote_types(x.dtype, jnp.float32)
        scale, bias = self.scale.get_value().astype(dtype), self.bias.get_value().astype(dtype)
        return layer_norm(x.astype(dtype), scale, bias, self.epsilon).astype(x.dtype)
