"""Norms, GELU and attention with handwritten derivatives, since autodiff's take more passes.

The longer halves are under jit, which saves tracing time.
"""

import functools
import math

import jax
import jax.numpy as jnp
from jax import lax

from hrjax.models.layers.backend_ops import accumulation_dtype, sum_together
from hrjax.models.layers.target import kept_whole, target_platform

ONE_PASS = 2**20  # elements up to which a kernel's launch on a GPU costs more than its traffic


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def standardize(
    x: jax.Array, scale: jax.Array, bias: jax.Array, guess: jax.Array, epsilon: float
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """`x` with each channel brought to the given scale and bias, and its mean and variance before.

    `guess` is about the mean of each channel; accelerators sum deviations from it. The mean and the
    variance are for running statistics: no gradient flows through them.
    """
    mean, var = _statistics(x, guess)
    return (x - mean) * (scale * lax.rsqrt(var + epsilon)) + bias, mean, var


def _statistics(x, guess):
    """The mean and the variance of each channel, in one pass.

    The variance is the mean square minus the squared mean, both taken about a point near the mean,
    or digits would be lost. On CPU the point is the mean of every eighth row, which lies within √8
    standard deviations of the mean of all. On accelerators, where that would be two more kernels
    for each batch norm, it is the running mean, which follows the mean.
    """
    near = jnp.mean(x[:, ::8], (0, 1, 2)) if target_platform() == "cpu" else guess
    count = x.size // x.shape[-1]
    sums = sum_together([x - near, jnp.square(x - near)], (0, 1, 2))
    offset, square = (total / count for total in sums)
    return near + offset, jnp.maximum(square - jnp.square(offset), 0.0)


@functools.partial(jax.jit, static_argnums=4)
def _standardize_forward(x, scale, bias, guess, epsilon):
    y, mean, var = standardize(x, scale, bias, guess, epsilon)
    return (y, mean, var), (x, scale, mean, lax.rsqrt(var + epsilon))


@functools.partial(jax.jit, static_argnums=0)
def _standardize_backward(epsilon, saved, gradients):
    # Autodiff makes five passes over the images where two sums suffice: with these, a training step
    # of widehrnet_18 takes 40% less time and 30% less memory.
    x, scale, mean, factor = saved
    gradient, _, _ = gradients
    count = x.size // x.shape[-1]
    bias_gradient, product = sum_together([gradient, gradient * x], (0, 1, 2))
    scale_gradient = factor * (product - mean * bias_gradient)
    shared = bias_gradient + (x - mean) * (factor * scale_gradient)
    gradient = scale * factor * (gradient - shared / count)
    return gradient, scale_gradient, bias_gradient, jnp.zeros_like(mean)


standardize.defvjp(_standardize_forward, _standardize_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def standardize_rectified(
    x: jax.Array, scale: jax.Array, bias: jax.Array, guess: jax.Array, epsilon: float
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """`standardize` and a ReLU behind it, in the dtype of `x`; it computes in that of `scale`."""
    y, mean, var = standardize(x.astype(scale.dtype), scale, bias, guess, epsilon)
    return jax.nn.relu(y.astype(x.dtype)), mean, var


@functools.partial(jax.jit, static_argnums=4)
def _standardize_rectified_forward(x, scale, bias, guess, epsilon):
    y, mean, var = standardize_rectified(x, scale, bias, guess, epsilon)
    return (y, mean, var), (x, scale, bias, mean, lax.rsqrt(var + epsilon))


@functools.partial(jax.jit, static_argnums=0)
def _standardize_rectified_backward(epsilon, saved, gradients):
    # Both the sums and the pass after them read the images and the gradient as they are, and find
    # out anew where the ReLU passes it. XLA would otherwise write the masked gradient and read it
    # twice; the barrier keeps it from seeing that both are equal.
    x, scale, bias, mean, factor = saved
    gradient = gradients[0]

    def masked(x, gradient):
        wide = x.astype(scale.dtype)
        y = (wide - mean) * (scale * factor) + bias
        return wide, jnp.where(y > 0, gradient.astype(scale.dtype), 0)

    again = lax.optimization_barrier((x, gradient))
    wide, first = masked(x, gradient)
    count = x.size // x.shape[-1]
    bias_gradient, product = sum_together([first, first * wide], (0, 1, 2))
    scale_gradient = factor * (product - mean * bias_gradient)
    wide, second = masked(*again)
    shared = bias_gradient + (wide - mean) * (factor * scale_gradient)
    by_x = scale * factor * (second - shared / count)
    return by_x.astype(x.dtype), scale_gradient, bias_gradient, jnp.zeros_like(mean)


standardize_rectified.defvjp(_standardize_rectified_forward, _standardize_rectified_backward)


@kept_whole()
def layer_norm(x: jax.Array, scale: jax.Array, bias: jax.Array, epsilon: float) -> jax.Array:
    """`x` with the channels of each pixel brought to the given scale and bias."""
    if target_platform() == "onnx":  # where the epsilon is an array too
        return _scaled_pixels(x, scale, bias, epsilon)
    return standardize_pixels(x, scale, bias, epsilon)


def _scaled_pixels(x, scale, bias, epsilon):
    centered, factor = _pixel_statistics(x, epsilon)
    return centered * factor * scale + bias


standardize_pixels = jax.custom_vjp(_scaled_pixels, nondiff_argnums=(3,))


def _pixel_statistics(x, epsilon):
    """`x` minus its mean, and the inverse standard deviation, in each pixel."""
    centered = x - jnp.mean(x, -1, keepdims=True)
    return centered, lax.rsqrt(jnp.mean(jnp.square(centered), -1, keepdims=True) + epsilon)


@functools.partial(jax.jit, static_argnums=3)
def _standardize_pixels_forward(x, scale, bias, epsilon):
    return standardize_pixels(x, scale, bias, epsilon), (x, scale)


@functools.partial(jax.jit, static_argnums=0)
def _standardize_pixels_backward(epsilon, saved, gradient):
    # Autodiff would keep the scale and the factor at the size of the images.
    x, scale = saved
    centered, factor = _pixel_statistics(x, epsilon)
    y = centered * factor
    pixels = tuple(range(x.ndim - 1))
    inner = gradient * scale
    shared = jnp.mean(inner, -1, keepdims=True) + y * jnp.mean(inner * y, -1, keepdims=True)
    return factor * (inner - shared), jnp.sum(gradient * y, pixels), jnp.sum(gradient, pixels)


standardize_pixels.defvjp(_standardize_pixels_forward, _standardize_pixels_backward)


@kept_whole()
def gelu(x: jax.Array) -> jax.Array:
    """The exact GELU, computed in float32 or better."""
    return _gelu(x)


@jax.custom_vjp
def _gelu(x):
    y = x.astype(accumulation_dtype(x))
    return (y * _normal_cdf(y)).astype(x.dtype)


def _normal_cdf(y):
    # By erf, as in PyTorch; the erfc of jax.nn.gelu takes half as long again.
    return 0.5 + 0.5 * lax.erf(y * math.sqrt(0.5))


@jax.jit
def _gelu_forward(x):
    return _gelu(x), x


@jax.jit
def _gelu_backward(x, gradient):
    # Keeps nothing but `x`.
    y = x.astype(accumulation_dtype(x))
    density = jnp.exp(-0.5 * jnp.square(y)) * (1 / math.sqrt(2 * math.pi))
    return (((_normal_cdf(y) + y * density) * gradient).astype(x.dtype),)


_gelu.defvjp(_gelu_forward, _gelu_backward)


@jax.custom_vjp
def attend(
    queries: jax.Array, keys: jax.Array, values: jax.Array, bias: jax.Array | None = None
) -> jax.Array:
    """Softmax attention: for each query, the mean of the values weighted by the keys' logits.

    Arrays are (windows, heads, tokens, channels); queries are already scaled, and a `bias` (heads,
    queries, keys) is added to the logits. The softmax is computed in float32 or better.
    """
    return _attend_forward(queries, keys, values, bias)[0]


@jax.jit
def _attend_forward(queries, keys, values, bias=None):
    logits = jnp.einsum("whqc,whkc->whqk", queries, keys)
    if bias is not None:
        logits = logits + bias
    weights = jax.nn.softmax(logits.astype(accumulation_dtype(logits)), axis=-1)
    weights = weights.astype(values.dtype)
    outputs = jnp.einsum("whqk,whkc->whqc", weights, values)
    return outputs, (queries, keys, values, bias, weights, outputs)


@jax.jit
def _attend_backward(saved, gradient):
    queries, keys, values, bias, weights, outputs = saved
    dtype = accumulation_dtype(outputs)
    # What the softmax subtracts: the weighted mean over the keys equals this sum over the channels.
    shared = jnp.sum(gradient.astype(dtype) * outputs.astype(dtype), -1, keepdims=True)
    by_weight = jnp.einsum("whqc,whkc->whqk", gradient, values).astype(dtype)
    by_logit = (weights.astype(dtype) * (by_weight - shared)).astype(weights.dtype)
    return (
        jnp.einsum("whqk,whkc->whqc", by_logit, keys),
        jnp.einsum("whqk,whqc->whkc", by_logit, queries),
        jnp.einsum("whqk,whqc->whkc", weights, gradient),
        None if bias is None else jnp.sum(by_logit, 0).astype(bias.dtype),
    )


attend.defvjp(_attend_forward, _attend_backward)


@kept_whole()
def softmax_mean(x: jax.Array, logits: jax.Array) -> jax.Array:
    """The mean (n, c) of pixels (n, h, w, c), weighted by the softmax over the image of logits.

    Logits are (n, h, w, 1).
    """
    if is_launch_bound(x):
        return _softmax_mean(x, logits)
    weights = jax.nn.softmax(logits, axis=(1, 2))
    return jnp.einsum("nhwc,nhw->nc", x, weights[..., 0])


@jax.custom_vjp
def _softmax_mean(x, logits):
    return _softmax_mean_forward(x, logits)[0]


def _softmax_mean_forward(x, logits):
    dtype = accumulation_dtype(x)
    by_channel = jnp.broadcast_to(logits.astype(dtype), x.shape)
    start = (_smallest(dtype), jnp.zeros((), dtype))
    total, mean = jax.lax.reduce((by_channel, x.astype(dtype)), start, _join_means, (1, 2))
    return mean.astype(x.dtype), (x, logits, total[:, None, None, :1], mean[:, None, None])


def _softmax_mean_backward(saved, gradient):
    x, logits, total, mean = saved
    weights = jnp.exp(logits.astype(total.dtype) - total)
    gradient = gradient.astype(total.dtype)[:, None, None]
    difference = x.astype(total.dtype) - mean
    by_logit = weights * jnp.sum(difference * gradient, -1, keepdims=True)
    return (weights * gradient).astype(x.dtype), by_logit.astype(logits.dtype)


_softmax_mean.defvjp(_softmax_mean_forward, _softmax_mean_backward)


def softmax(logits: jax.Array) -> jax.Array:
    """The softmax of logits (n, k) over the last axis."""
    return _softmax(logits) if is_launch_bound(logits) else jax.nn.softmax(logits, axis=-1)


@jax.custom_vjp
def _softmax(logits):
    wide = logits.astype(accumulation_dtype(logits))
    total = jax.lax.reduce(wide, _smallest(wide.dtype), _join_totals, (1,))
    return jnp.exp(wide - total[:, None]).astype(logits.dtype)


def _softmax_forward(logits):
    weights = _softmax(logits)
    return weights, weights


def _softmax_backward(weights, gradient):
    wide = weights.astype(accumulation_dtype(weights))
    gradient = gradient.astype(wide.dtype)
    shared = jnp.sum(wide * gradient, -1, keepdims=True)
    return ((wide * (gradient - shared)).astype(weights.dtype),)


_softmax.defvjp(_softmax_forward, _softmax_backward)


# One pass instead of three over what a softmax reads: parts are joined by the logarithms of the
# sums of their exponentials (Milakov and Gimelshein, Online normalizer calculation, 2018).


def _join_totals(first, second):
    """The logarithm of the sum of two exponentials."""
    return jnp.maximum(first, second) + jnp.log1p(jnp.exp(-jnp.abs(first - second)))


def _join_means(first, second):
    """The total of two parts (total, mean), and their mean weighted by the totals' exponentials."""
    total = _join_totals(first[0], second[0])
    weights = [jnp.exp(part[0] - total) for part in (first, second)]
    return total, weights[0] * first[1] + weights[1] * second[1]


def is_launch_bound(x: jax.Array) -> bool:
    """Whether a GPU takes longer to launch a kernel than to read `x` in it.

    It is not known in programs for any number of images.
    """
    return target_platform() == "gpu" and isinstance(x.size, int) and x.size <= ONE_PASS


def _smallest(dtype):
    return jnp.asarray(jnp.finfo(dtype).min, dtype)
