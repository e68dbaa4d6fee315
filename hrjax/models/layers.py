"""The layers that all networks are built from: convolutions, batch norm, resizing.

Arrays are NHWC. Layers take no dtype: they compute in the dtype of what they are given.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax

Activation = Callable[[jax.Array], jax.Array]


class Keys:
    """Draws initial values on the host, so that making a network compiles nothing.

    Without a seed, values are shapes only (`jax.ShapeDtypeStruct`), which costs nothing.
    """

    def __init__(self, seed: int | None):
        self._generator = None if seed is None else np.random.default_rng(seed)

    def normal(self, shape: tuple[int, ...], std: float):
        """Independent draws of a normal distribution with mean 0."""
        if self._generator is None:
            return jax.ShapeDtypeStruct(shape, jnp.float32)
        return jnp.asarray(self._generator.standard_normal(shape, np.float32) * np.float32(std))

    def constant(self, shape: tuple[int, ...], value: float):
        """The same value everywhere."""
        if self._generator is None:
            return jax.ShapeDtypeStruct(shape, jnp.float32)
        return jnp.asarray(np.full(shape, value, np.float32))


class Conv(nnx.Module):
    """A square convolution with padding `kernel // 2` on all sides, as PyTorch's layers pad."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 1,
        *,
        stride: int = 1,
        groups: int = 1,
        bias: bool = False,
        std: float = 0.001,
        rngs: Keys,
    ):
        if inputs % groups or outputs % groups:
            raise ValueError(
                f"{groups} groups do not divide {inputs} input and {outputs} output channels"
            )
        self.stride = stride
        self.groups = groups
        shape = (kernel, kernel, inputs // groups, outputs)
        self.kernel = nnx.Param(rngs.normal(shape, std))
        self.bias = nnx.Param(rngs.constant((outputs,), 0.0)) if bias else None

    def __call__(self, x):
        x = convolve(x, self.kernel.get_value(), stride=self.stride, groups=self.groups)
        return x if self.bias is None else x + self.bias.get_value()


def convolve(x, kernel, *, stride: int, groups: int):
    """`x` (n, h, w, c) convolved with `kernel` (k, k, c / groups, outputs), padded by k // 2.

    Here alone is decided how convolutions are computed. A 1x1 is a matrix product everywhere. On
    GPU and TPU the rest is left to XLA. XLA's CPU backend is near the peak on dense convolutions,
    but 15 to 50 times slower than PyTorch on grouped ones: depthwise ones become shifted
    multiply-adds there, and other grouped ones a dense convolution for each group.
    """
    size, _, _, outputs = kernel.shape
    if size == 1 and groups == 1:
        return x[:, ::stride, ::stride] @ kernel[0, 0]
    if groups == 1 or jax.default_backend() != "cpu":
        return _xla_convolve(x, kernel, stride, groups)
    if groups == x.shape[-1] == outputs:
        return _depthwise(x, kernel[:, :, 0], stride)
    parts = zip(jnp.split(x, groups, axis=-1), jnp.split(kernel, groups, axis=-1), strict=True)
    return jnp.concatenate([_xla_convolve(*part, stride, 1) for part in parts], axis=-1)


def _xla_convolve(x, kernel, stride, groups):
    pad = kernel.shape[0] // 2
    return lax.conv_general_dilated(
        x,
        kernel,
        window_strides=(stride, stride),
        padding=((pad, pad), (pad, pad)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _depthwise(x, kernel, stride):
    """Depthwise convolution as a sum of shifted products, which XLA fuses into one loop."""
    taps = _shifted(x, kernel.shape[0], stride)
    return sum(tap * kernel[i, j] for (i, j), tap in taps.items())


def _depthwise_forward(x, kernel, stride):
    return _depthwise(x, kernel, stride), (x, kernel)


def _depthwise_backward(stride, saved, gradient):
    x, kernel = saved
    size = kernel.shape[0]
    # All taps in one reduction, so that x and the gradient are read once: a sum for each tap takes
    # up to seven times as long.
    products = [tap * gradient for tap in _shifted(x, size, stride).values()]
    zeros = [np.zeros((), x.dtype)] * len(products)
    sums = lax.reduce(
        products, zeros, lambda a, b: [s + t for s, t in zip(a, b, strict=True)], (0, 1, 2)
    )
    kernel_gradient = jnp.stack(sums).reshape(kernel.shape)
    # What the strided slices skipped got no gradient: put it back between the rows and columns.
    spread = [(0, 0, 0), *((0, (n - 1) % stride, stride - 1) for n in x.shape[1:3]), (0, 0, 0)]
    gradient = lax.pad(gradient, np.zeros((), x.dtype), spread)
    return _depthwise(gradient, kernel[::-1, ::-1], 1), kernel_gradient


_depthwise.defvjp(_depthwise_forward, _depthwise_backward)


def _shifted(x, size, stride):
    """The input under each tap (i, j) of a `size` x `size` kernel, at every output position."""
    n, height, width, channels = x.shape
    pad = size // 2
    rows, columns = (height - 1) // stride * stride + 1, (width - 1) // stride * stride + 1
    x = jnp.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    return {
        (i, j): lax.slice(
            x, (0, i, j, 0), (n, i + rows, j + columns, channels), (1, stride, stride, 1)
        )
        for i in range(size)
        for j in range(size)
    }


class BatchNorm(nnx.Module):
    """Batch normalisation as PyTorch does it: the running variance is the unbiased one.

    Computes in float32 or better and returns the dtype that it was given. Under a batch sharded
    over devices the statistics are those of the whole batch.
    """

    momentum = 0.1
    epsilon = 1e-5

    def __init__(self, channels: int, *, rngs: Keys):
        self.scale = nnx.Param(rngs.constant((channels,), 1.0))
        self.bias = nnx.Param(rngs.constant((channels,), 0.0))
        self.mean = nnx.BatchStat(rngs.constant((channels,), 0.0))
        self.var = nnx.BatchStat(rngs.constant((channels,), 1.0))
        self.use_running_average = False  # nnx's name: model.eval() sets it

    def __call__(self, x):
        # Running statistics are kept in float32 or better, whatever the parameters were cast to.
        dtype = jnp.promote_types(x.dtype, self.mean.get_value().dtype)
        scale, bias = self.scale.get_value().astype(dtype), self.bias.get_value().astype(dtype)
        y = x.astype(dtype)
        if self.use_running_average:
            factor = scale * lax.rsqrt(self.var.get_value() + self.epsilon)
            return ((y - self.mean.get_value()) * factor + bias).astype(x.dtype)
        y, mean, var = _standardize(y, scale, bias, self.epsilon)
        self._update(mean, var, count=x.size // x.shape[-1])
        return y.astype(x.dtype)

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


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def _standardize(x, scale, bias, epsilon):
    """`x` with the given scale and bias in place of its own, and the mean and variance it had."""
    mean, var = jnp.mean(x, (0, 1, 2)), jnp.var(x, (0, 1, 2))
    return (x - mean) * (scale * lax.rsqrt(var + epsilon)) + bias, mean, var


def _standardize_forward(x, scale, bias, epsilon):
    y, mean, var = _standardize(x, scale, bias, epsilon)
    return (y, mean, var), (x, scale, mean, lax.rsqrt(var + epsilon))


def _standardize_backward(epsilon, saved, gradients):
    # Written out, since autodiff reads the images five times where two sums say everything. The
    # mean and the variance feed the running statistics alone, so they get no gradient.
    x, scale, mean, factor = saved
    gradient, _, _ = gradients
    count = x.size // x.shape[-1]
    bias_gradient = jnp.sum(gradient, (0, 1, 2))
    scale_gradient = factor * (jnp.sum(gradient * x, (0, 1, 2)) - mean * bias_gradient)
    shared = bias_gradient + (x - mean) * (factor * scale_gradient)
    return scale * factor * (gradient - shared / count), scale_gradient, bias_gradient


_standardize.defvjp(_standardize_forward, _standardize_backward)


class ConvBN(nnx.Module):
    """Convolution, batch norm, activation (None: none)."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 1,
        *,
        stride: int = 1,
        groups: int = 1,
        act: Activation | None = jax.nn.relu,
        rngs: Keys,
    ):
        self.conv = Conv(inputs, outputs, kernel, stride=stride, groups=groups, rngs=rngs)
        self.bn = BatchNorm(outputs, rngs=rngs)
        self.act = act

    def __call__(self, x):
        x = self.bn(self.conv(x))
        return x if self.act is None else self.act(x)


class Steps(nnx.Module):
    """Modules applied one after the other; none is the identity."""

    def __init__(self, *steps: nnx.Module):
        self.steps = nnx.List(steps)

    def __call__(self, x):
        for step in self.steps:
            x = step(x)
        return x


def dense(inputs: int, outputs: int, *, stride: int, act: Activation | None, rngs: Keys) -> ConvBN:
    """A 3x3 convolution with batch norm."""
    return ConvBN(inputs, outputs, 3, stride=stride, act=act, rngs=rngs)


class Separable(nnx.Module):
    """A depthwise 3x3 convolution and a 1x1, each with batch norm, activation after the second."""

    def __init__(
        self, inputs: int, outputs: int, *, stride: int, act: Activation | None, rngs: Keys
    ):
        self.depthwise = ConvBN(
            inputs, inputs, 3, stride=stride, groups=inputs, act=None, rngs=rngs
        )
        self.pointwise = ConvBN(inputs, outputs, act=act, rngs=rngs)

    def __call__(self, x):
        return self.pointwise(self.depthwise(x))


def shuffle(*parts):
    """The channels of equally wide `parts`, interleaved: first of each, second of each, …"""
    return jnp.stack(parts, axis=-1).reshape(*parts[0].shape[:-1], -1)


def nearest(x, size: tuple[int, int]):
    """`x` (n, h, w, c) enlarged to `size`, a whole multiple of its own, by repeating pixels."""
    n, height, width, channels = x.shape
    rows, columns = size[0] // height, size[1] // width
    if (rows * height, columns * width) != tuple(size):
        raise ValueError(f"cannot repeat {(height, width)} pixels to {tuple(size)}")
    x = jnp.broadcast_to(x[:, :, None, :, None], (n, height, rows, width, columns, channels))
    return x.reshape(n, *size, channels)


def bilinear(x, size: tuple[int, int]):
    """`x` (n, h, w, c) resized to `size`, bilinearly, corner pixels onto corner pixels."""
    rows = jnp.asarray(_interpolation(x.shape[1], size[0]), x.dtype)
    columns = jnp.asarray(_interpolation(x.shape[2], size[1]), x.dtype)
    x = jnp.einsum("Hh,nhwc->nHwc", rows, x)
    return jnp.einsum("Ww,nhwc->nhWc", columns, x)


def _interpolation(source, target):
    """The weights (target, source) of linear interpolation with aligned corners."""
    position = np.linspace(0, source - 1, target)[:, None]
    return np.maximum(0, 1 - abs(position - np.arange(source)))


def settle(x):
    """`x` itself; on CPU and under differentiation, a wall that XLA does not fuse across.

    Along a chain of residual blocks XLA's CPU backend recomputes the whole chain before each
    weight gradient, so that the time of a training step grows with the square of the depth. It
    sees through `lax.optimization_barrier` and `jax.checkpoint`, but not through a loop that runs
    once because of a random number between 1 and 1.
    """
    return _settle(x) if jax.default_backend() == "cpu" else x


@jax.custom_vjp
def _settle(x):
    return x


def _wall(x):
    one = lax.rng_uniform(np.float32(1), np.float32(1), ())

    def body(state):
        count, y = state
        return count + one, y * one.astype(y.dtype)

    return lax.while_loop(lambda state: state[0] < one, body, (np.float32(0), x))[1]


_settle.defvjp(lambda x: (_wall(x), None), lambda _, gradient: (_wall(gradient),))
