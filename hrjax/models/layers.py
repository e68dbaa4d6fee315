"""The layers that all networks are built from: convolutions, norms, the blocks that several share.

Arrays are NHWC. Layers take no dtype: they compute in the dtype of what they are given.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax

from hrjax.models.functional import standardize, standardize_pixels
from hrjax.models.lowering import convolve, convolve_each, convolve_transposed, multiply

Activation = Callable[[jax.Array], jax.Array]
# Of the normal distribution that convolutions start from, in the references of all families.
CONV_STD = 0.001


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

    def uniform(self, shape: tuple[int, ...], bound: float):
        """Independent draws between -`bound` and `bound`."""
        if self._generator is None:
            return jax.ShapeDtypeStruct(shape, jnp.float32)
        return jnp.asarray(self._generator.uniform(-bound, bound, shape).astype(np.float32))

    def constant(self, shape: tuple[int, ...], value: float):
        """The same value everywhere."""
        if self._generator is None:
            return jax.ShapeDtypeStruct(shape, jnp.float32)
        return jnp.asarray(np.full(shape, value, np.float32))


class Conv(nnx.Module):
    """A square convolution with padding `kernel // 2` on all sides, as PyTorch's layers pad.

    The padding is that times `dilation`, the distance of the kernel's taps.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 1,
        *,
        stride: int = 1,
        groups: int = 1,
        dilation: int = 1,
        bias: bool = False,
        rngs: Keys,
    ):
        if inputs % groups or outputs % groups:
            raise ValueError(
                f"{groups} groups do not divide {inputs} input and {outputs} output channels"
            )
        self.stride = stride
        self.groups = groups
        self.dilation = dilation
        shape = (kernel, kernel, inputs // groups, outputs)
        self.kernel = nnx.Param(rngs.normal(shape, CONV_STD))
        self.bias = nnx.Param(rngs.constant((outputs,), 0.0)) if bias else None

    def __call__(self, x, *, with_bias: bool = True):
        options = {"stride": self.stride, "groups": self.groups, "dilation": self.dilation}
        x = convolve(x, self.kernel.get_value(), **options)
        return x + self.bias.get_value() if with_bias and self.bias is not None else x

    def absorb(self, factor, shift) -> None:
        """Makes the outputs `factor` times what they were, plus `shift`."""
        self.kernel.set_value(self.kernel.get_value() * factor)
        self.bias = _absorbed(self.bias, factor, shift)


class TransposedConv(nnx.Module):
    """A transposed 4x4 convolution of stride 2, padded by 1: twice the size; for `ConvBN`."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, *, stride: int, groups: int = 1, rngs: Keys
    ):
        if (kernel, stride, groups) != (4, 2, 1):
            raise ValueError(
                "transposed convolutions are 4x4 with stride 2 and 1 group, not "
                f"{kernel}x{kernel} with stride {stride} and {groups} groups"
            )
        self.transposed = nnx.Param(rngs.normal((kernel, kernel, inputs, outputs), CONV_STD))
        self.bias = None

    def __call__(self, x, *, with_bias: bool = True):
        x = convolve_transposed(x, self.transposed.get_value())
        return x + self.bias.get_value() if with_bias and self.bias is not None else x

    def absorb(self, factor, shift) -> None:
        """Makes the outputs `factor` times what they were, plus `shift`."""
        self.transposed.set_value(self.transposed.get_value() * factor)
        self.bias = _absorbed(self.bias, factor, shift)


def _absorbed(bias, factor, shift):
    before = 0.0 if bias is None else bias.get_value()
    return nnx.data(nnx.Param(before * factor + shift))


class BatchNorm(nnx.Module):
    """Batch normalisation as PyTorch does it: the running variance is the unbiased one.

    Computes in float32 or better and returns the dtype that it was given. Under a batch sharded
    over devices the statistics are those of the whole batch.

    The `bias` of a convolution before it, one for each channel, may be left out of the input: it
    shifts the running mean and nothing else, so adding it would be a pass in vain.
    """

    momentum = 0.1
    epsilon = 1e-5

    def __init__(self, channels: int, *, rngs: Keys):
        self.scale = nnx.Param(rngs.constant((channels,), 1.0))
        self.bias = nnx.Param(rngs.constant((channels,), 0.0))
        self.mean = nnx.BatchStat(rngs.constant((channels,), 0.0))
        self.var = nnx.BatchStat(rngs.constant((channels,), 1.0))
        self.use_running_average = False  # nnx's name: model.eval() sets it

    def __call__(self, x, bias=0.0):
        # Running statistics are kept in float32 or better, whatever the parameters were cast to.
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

    def affine(self):
        """The factor and the shift that evaluation amounts to."""
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
    """Normalises the channels of each pixel. Computes in float32 or better, like `BatchNorm`."""

    epsilon = 1e-6

    def __init__(self, channels: int, *, rngs: Keys):
        self.scale = nnx.Param(rngs.constant((channels,), 1.0))
        self.bias = nnx.Param(rngs.constant((channels,), 0.0))

    def __call__(self, x):
        dtype = jnp.promote_types(x.dtype, jnp.float32)
        scale, bias = self.scale.get_value().astype(dtype), self.bias.get_value().astype(dtype)
        return standardize_pixels(x.astype(dtype), scale, bias, self.epsilon).astype(x.dtype)


class Linear(nnx.Module):
    """A matrix product with the channels; starts as PyTorch does, uniform within 1 / √inputs."""

    def __init__(self, inputs: int, outputs: int, *, rngs: Keys):
        bound = inputs**-0.5
        self.matrix = nnx.Param(rngs.uniform((inputs, outputs), bound))
        self.bias = nnx.Param(rngs.uniform((outputs,), bound))

    def __call__(self, x):
        return multiply(x, self.matrix.get_value()) + self.bias.get_value()


class ConvBN(nnx.Module):
    """Convolution, batch norm, activation (None: none); `conv` makes the convolution."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 1,
        *,
        stride: int = 1,
        groups: int = 1,
        act: Activation | None = jax.nn.relu,
        conv: Callable = Conv,
        rngs: Keys,
    ):
        self.conv = conv(inputs, outputs, kernel, stride=stride, groups=groups, rngs=rngs)
        self.bn = BatchNorm(outputs, rngs=rngs)
        self.act = act

    def __call__(self, x):
        if self.bn is None:
            x = self.conv(x)
        elif self.conv.bias is None:
            x = self.bn(self.conv(x))
        else:
            x = self.bn(self.conv(x, with_bias=False), self.conv.bias.get_value())
        return x if self.act is None else self.act(x)

    def fold(self) -> None:
        """Puts what batch norm does in evaluation into the convolution."""
        if self.bn is not None:
            self.conv.absorb(*self.bn.affine())
            self.bn = None


class DynamicConv(nnx.Module):
    """A convolution whose kernel is mixed from `kernels` ones, anew for each sample.

    The weights of the mixture are an attention: two 1x1 convolutions of the means of the input's
    channels, with batch norm and `act` between and a sigmoid after, so they need not sum to one.
    1x1 or depthwise; `functools.partial(DynamicConv, kernels=…, act=…)` is a `conv` for `ConvBN`.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 1,
        *,
        stride: int = 1,
        groups: int = 1,
        kernels: int,
        act: Activation,
        rngs: Keys,
    ):
        if inputs < 4:
            raise ValueError(f"a dynamic convolution needs 4 or more input channels, not {inputs}")
        self.stride = stride
        self.groups = groups
        self.squeeze = ConvBN(inputs, inputs // 4, act=act, rngs=rngs)
        self.attend = Conv(inputs // 4, kernels, bias=True, rngs=rngs)
        shape = (kernels, kernel, kernel, inputs // groups, outputs)
        self.kernels = nnx.Param(rngs.uniform(shape, math.sqrt(6 / math.prod(shape[1:4]))))
        self.bias = None

    def __call__(self, x, *, with_bias: bool = True):
        means = jnp.mean(x, (1, 2), keepdims=True)
        weights = jax.nn.sigmoid(self.attend(self.squeeze(means)))[:, 0, 0]
        kernels = jnp.tensordot(weights, self.kernels.get_value(), 1)
        x = convolve_each(x, kernels, stride=self.stride, groups=self.groups)
        return x + self.bias.get_value() if with_bias and self.bias is not None else x

    def absorb(self, factor, shift) -> None:
        """Makes the outputs `factor` times what they were, plus `shift`."""
        self.kernels.set_value(self.kernels.get_value() * factor)
        self.bias = _absorbed(self.bias, factor, shift)


class DropPath(nnx.Module):
    """In training, zeroes a residual for a share `rate` of the samples (stochastic depth).

    What is kept is divided by 1 - `rate`. The draws of a sample depend on its place in the global
    batch and on the key given to `apply`, not on the devices.
    """

    def __init__(self, rate: float):
        self.rate = rate
        self.draws = nnx.data(None)  # one for each sample, from 0 to 1: `give_draws`
        self.deterministic = False  # nnx's name: model.eval() sets it

    def __call__(self, x):
        if self.deterministic or not self.rate:
            return x
        if self.draws is None:
            raise ValueError("drop path draws random numbers in training; give `apply` a key")
        kept = (self.draws < 1 - self.rate).reshape(-1, *[1] * (x.ndim - 1))
        return jnp.where(kept, x / (1 - self.rate), jnp.zeros((), x.dtype))


def give_draws(model: nnx.Module, key: jax.Array, samples: int) -> None:
    """Gives each drop path in `model` draws of its own, for one batch.

    All come from one call: one call for each would be two loops more to compile for each.
    """
    paths = [module for _, module in nnx.iter_modules(model) if isinstance(module, DropPath)]
    draws = jax.random.uniform(key, (len(paths), samples))
    for path, own in zip(paths, draws, strict=True):
        path.draws = own


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


class BasicBlock(nnx.Module):
    """Two 3x3 convolutions around a shortcut."""

    def __init__(self, width: int, *, rngs: Keys):
        self.conv1 = ConvBN(width, width, 3, rngs=rngs)
        self.conv2 = ConvBN(width, width, 3, act=None, rngs=rngs)

    def __call__(self, x):
        return jax.nn.relu(x + self.conv2(self.conv1(x)))


class SqueezeExcite(nnx.Module):
    """Weighs channels by two 1x1 convolutions of their means, `squeezed` channels between."""

    def __init__(self, width: int, squeezed: int, *, rngs: Keys):
        self.fc1 = Conv(width, squeezed, bias=True, rngs=rngs)
        self.fc2 = Conv(squeezed, width, bias=True, rngs=rngs)

    def __call__(self, x):
        weights = jax.nn.relu(self.fc1(jnp.mean(x, (1, 2), keepdims=True)))
        return x * jax.nn.sigmoid(self.fc2(weights))


def half_of(width: int) -> int:
    """Half of `width` channels."""
    if width % 2:
        raise ValueError(f"width {width} is odd; blocks that shuffle split their channels in half")
    return width // 2


class Bottleneck(nnx.Module):
    """1x1, 3x3, 1x1 around a shortcut, which is projected where the width or the size changes."""

    def __init__(self, inputs: int, width: int, outputs: int, *, stride: int = 1, rngs: Keys):
        self.conv1 = ConvBN(inputs, width, rngs=rngs)
        self.conv2 = ConvBN(width, width, 3, stride=stride, rngs=rngs)
        self.conv3 = ConvBN(width, outputs, act=None, rngs=rngs)
        project = inputs != outputs or stride != 1
        options = {"stride": stride, "act": None, "rngs": rngs}
        self.shortcut = ConvBN(inputs, outputs, **options) if project else None

    def __call__(self, x):
        shortcut = x if self.shortcut is None else self.shortcut(x)
        return jax.nn.relu(shortcut + self.conv3(self.conv2(self.conv1(x))))


# Official names of bottlenecks and of what else has convolutions and batch norms side by side.
BOTTLENECK_NAMES = (
    (r"\.shortcut\.conv$", ".downsample.0"),
    (r"\.shortcut\.bn$", ".downsample.1"),
    (r"conv(\d)\.conv$", r"conv\1"),
    (r"conv(\d)\.bn$", r"bn\1"),
)


def check_size(images, factor: int) -> None:
    """Raises ValueError unless the height and the width of `images` are multiples of `factor`."""
    height, width = images.shape[1:3]
    if height % factor or width % factor:
        raise ValueError(
            f"images of {height}x{width} pixels; height and width must be multiples of {factor}"
        )


def shuffle(*parts):
    """The channels of equally wide `parts`, interleaved: first of each, second of each, …"""
    return jnp.stack(parts, axis=-1).reshape(*parts[0].shape[:-1], -1)
