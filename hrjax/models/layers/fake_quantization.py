"""Quantization-aware training: layers that compute in float32 what eight bits would give.

Activations are clipped at a learned bound, alpha, and rounded to 127 steps on either side of zero;
weights are rounded to 127 steps of the largest of each output channel (PACT, arXiv 1805.06085, as
in PaddleSlim). Rounding has the gradient 1, so that the values before it keep learning.
"""

import jax
import jax.numpy as jnp
from flax import nnx

from hrjax.models.layers.target import kept_whole

STEPS = 127  # on either side of zero
MOVING_RATE = 0.9  # of the mean of the largest activations


def clip(x: jax.Array, alpha: jax.Array) -> jax.Array:
    """`x` within -alpha and alpha.

    The gradient to `x` is 1 inside and 0 outside; the one to alpha is 1 above, -1 below.
    """
    return x - jax.nn.relu(x - alpha) + jax.nn.relu(-alpha - x)


@jax.custom_vjp
def quantize(x: jax.Array, scale: jax.Array) -> jax.Array:
    """`x` within -scale and scale, rounded to steps of scale / 127, halves away from zero.

    The gradient to `x` is 1 everywhere, also outside the scale; there is none to the scale.
    """
    levels = STEPS * jnp.clip(x, -scale, scale) / jnp.where(scale > 0, scale, 1)
    return jnp.trunc(levels + jnp.copysign(0.5, levels)) * scale / STEPS


def _quantize_forward(x, scale):
    return quantize(x, scale), scale


def _quantize_backward(scale, gradient):
    return gradient, jnp.zeros_like(scale)


quantize.defvjp(_quantize_forward, _quantize_backward)


@kept_whole()
def quantize_activations(x: jax.Array, alpha: jax.Array, scale: jax.Array) -> jax.Array:
    """Activations in evaluation: clipped at alpha, and rounded to steps of scale / 127."""
    return quantize(jnp.clip(x, -alpha, alpha), scale)


@kept_whole()
def quantize_weights(weights: jax.Array) -> jax.Array:
    """Weights (…, outputs) rounded to 127 steps of the largest of each output channel."""
    scale = jnp.max(jnp.abs(weights), tuple(range(weights.ndim - 1)), keepdims=True)
    return quantize(weights, jax.lax.stop_gradient(scale))


class FakeQuantization(nnx.Module):
    """The rounding of what one layer reads, and of its weights.

    `alpha` starts so large that it clips nothing. In training the scale of activations follows the
    largest one of each batch; evaluation uses the last scale.
    """

    def __init__(self, alpha: float):
        self.alpha = nnx.Param(jnp.asarray(alpha, jnp.float32))
        # The mean of the largest activations, weighted by powers of `MOVING_RATE`: total / count.
        self.total = nnx.BatchStat(jnp.ones((), jnp.float32))
        self.count = nnx.BatchStat(jnp.ones((), jnp.float32))
        self.use_running_average = False  # NNX's name: model.eval() sets it

    def __call__(self, x: jax.Array, weights: jax.Array) -> tuple[jax.Array, jax.Array]:
        alpha = self.alpha.get_value().astype(x.dtype)
        if self.use_running_average:
            x = quantize_activations(x, alpha, self._scale().astype(x.dtype))
        else:
            x = clip(x, alpha)
            self._follow(jax.lax.stop_gradient(jnp.max(jnp.abs(x))))
            x = quantize(x, self._scale().astype(x.dtype))
        return x, quantize_weights(weights)

    def _scale(self):
        return self.total.get_value() / self.count.get_value()

    def _follow(self, largest):
        for mean, now in ((self.total, largest), (self.count, 1.0)):
            before = mean.get_value()
            mean.set_value((MOVING_RATE * before + now).astype(before.dtype))
