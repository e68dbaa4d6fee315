"""Batch normalization and layer normalization."""

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

from hrjax.models.layers.functional import standardize, standardize_pixels
from hrjax.models.layers.initialization import Initializer, constant


class BatchNorm(nnx.Module):
    """Batch normalization as PyTorch does it: the running variance is the unbiased one.

    Computes in float32 or better and returns the dtype of its input. For a batch that is sharded
    over devices the statistics are those of the whole batch.

    `bias` is that of the preceding convolution, one value for each channel, where the convolution
    has not added it: it shifts the running mean and nothing else, so adding it to the images would
    be a redundant pass.
    """

    momentum = 0.1
    epsilon = 1e-5

    def __init__(self, channels: int, *, rngs: Initializer):
        self.scale = nnx.Param(constant(rngs, (channels,), 1.0))
        self.bias = nnx.Param(constant(rngs, (channels,), 0.0))
        self.mean = nnx.BatchStat(constant(rngs, (channels,), 0.0))
        self.var = nnx.BatchStat(constant(rngs, (channels,), 1.0))
        self.use_running_average = False  # NNX's name: model.eval() sets it

    def __call__(self, x: jax.Array, bias: jax.Array | float = 0.0) -> jax.Array:
        # Running statistics stay in float32 or better, whatever the parameters were cast to.
        dtype = jnp.promote_types(x.dtype, self.mean.get_value().dtype)
        scale, shift = self.scale.get_value().astype(dtype), self.bias.get_value().astype(dtype)
        y = x.astype(dtype)
        if self.use_running_average:
            # Not by `affine`: where the mean is large, its shift would lose digits.
            factor = scale * lax.rsqrt(self.var.get_value() + self.epsilon)
            return ((y - (self.mean.get_value() - bias)) * factor + shift).astype(x.dtype)
        y, mean, var = standardize(y, scale, shift, self.epsilon)
        self._update(mean + bias, var, count=x.size // x.shape[-1])
        return y.astype(x.dtype)

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


class LayerNorm(nnx.Module):
    """Normalizes the channels of each pixel; computes in float32 or better, like `BatchNorm`."""

    epsilon = 1e-6

    def __init__(self, channels: int, *, rngs: Initializer):
        self.scale = nnx.Param(constant(rngs, (channels,), 1.0))
        self.bias = nnx.Param(constant(rngs, (channels,), 0.0))

    def __call__(self, x: jax.Array) -> jax.Array:
        dtype = jnp.promote_types(x.dtype, jnp.float32)
        scale, bias = self.scale.get_value().astype(dtype), self.bias.get_value().astype(dtype)
        return standardize_pixels(x.astype(dtype), scale, bias, self.epsilon).astype(x.dtype)
