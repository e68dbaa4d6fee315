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
LARGEST_BIAS = 2**30  # steps
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
    levels = _levels(jnp.clip(x, -scale, scale), scale / STEPS)
    return jnp.trunc(levels + jnp.copysign(0.5, levels)) * (scale / STEPS)


def _levels(x, step):
    return x / jnp.where(step > 0, step, 1)


def _quantize_forward(x, scale):
    return quantize(x, scale), scale


def _quantize_backward(scale, gradient):
    return gradient, jnp.zeros_like(scale)


quantize.defvjp(_quantize_forward, _quantize_backward)


@jax.custom_vjp
def _to_even(levels):
    return jnp.round(levels)


_to_even.defvjp(lambda levels: (jnp.round(levels), None), lambda _, gradient: (gradient,))


@kept_whole()
def quantize_activations(x: jax.Array, alpha: jax.Array, scale: jax.Array) -> jax.Array:
    """Activations in evaluation: clipped at alpha, and rounded to steps of scale / 127.

    Halves are rounded to even, as ONNX's QuantizeLinear does.
    """
    bound = jnp.minimum(alpha, scale)
    levels = _to_even(_levels(jnp.clip(x, -bound, bound), scale / STEPS))
    return levels * (scale / STEPS)


@kept_whole()
def quantize_weights(weights: jax.Array) -> jax.Array:
    """Weights (…, outputs) rounded to 127 steps of the largest of each output channel."""
    scale = jnp.max(jnp.abs(weights), tuple(range(weights.ndim - 1)), keepdims=True)
    return quantize(weights, jax.lax.stop_gradient(scale))


@kept_whole()
def quantize_bias(bias: jax.Array, weights: jax.Array, scale: jax.Array) -> jax.Array:
    """The biases (outputs,) of a convolution in evaluation, as its sums of products hold them.

    They are whole multiples of a step of the activations times one of the weights. Integer kernels
    add them in this form, and so does every runtime then. A bias stays as it is where 32 bits
    cannot hold it.
    """
    largest = jnp.max(jnp.abs(weights), tuple(range(weights.ndim - 1)))
    step = (largest / STEPS) * (scale / STEPS)
    levels = _to_even(_levels(bias, step))
    fits = (step > 0) & (jnp.abs(levels) < LARGEST_BIAS)
    return jnp.where(fits, levels * step, bias)


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
        # A large step of the optimizer may take alpha below zero: its magnitude counts.
        alpha = jnp.abs(self.alpha.get_value().astype(x.dtype))
        if self.use_running_average:
            x = quantize_activations(x, alpha, self._scale().astype(x.dtype))
        else:
            x = clip(x, alpha)
            self._follow(jax.lax.stop_gradient(jnp.max(jnp.abs(x))))
            x = quantize(x, self._scale().astype(x.dtype))
        return x, quantize_weights(weights)

    def round_bias(self, bias: jax.Array, weights: jax.Array) -> jax.Array:
        """The biases to add to the sums of products with `weights`; in training as they are."""
        if not self.use_running_average:
            return bias
        return quantize_bias(bias, weights, self._scale().astype(bias.dtype))

    def _scale(self):
        return self.total.get_value() / self.count.get_value()

    def _follow(self, largest):
        for mean, now in ((self.total, largest), (self.count, 1.0)):
            before = mean.get_value()
            mean.set_value((MOVING_RATE * before + now).astype(before.dtype))
