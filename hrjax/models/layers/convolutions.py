"""Layers with weights: convolutions of every kind, and the linear layer.

Arrays are NHWC. Layers take no dtype: they compute in the dtype of their input.
"""

import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from hrjax.models.layers.backend_ops import (
    convolve,
    convolve_mixture,
    convolve_transposed,
    matmul,
)
from hrjax.models.layers.initialization import Initializer, constant, normal, uniform
from hrjax.models.layers.norms import BatchNorm
from hrjax.models.layers.target import target_platform

Activation = Callable[[jax.Array], jax.Array]
# The standard deviation that convolutions start with in the references of all families.
CONV_STD = 0.001


class Conv(nnx.Module):
    """A square convolution, padded on all sides by `kernel // 2`, as PyTorch's layers are.

    `dilation` is the distance between the kernel's taps; the padding grows with it.
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
        rngs: Initializer,
    ):
        if inputs % groups or outputs % groups:
            raise ValueError(
                f"{groups} groups do not divide {inputs} input and {outputs} output channels"
            )
        self.stride = stride
        self.groups = groups
        self.dilation = dilation
        shape = (kernel, kernel, inputs // groups, outputs)
        self.kernel = nnx.Param(normal(rngs, shape, CONV_STD))
        self.bias = nnx.Param(constant(rngs, (outputs,), 0.0)) if bias else None
        self.rounding = None  # or a FakeQuantization

    def __call__(self, x: jax.Array, *, with_bias: bool = True) -> jax.Array:
        options = {"stride": self.stride, "groups": self.groups, "dilation": self.dilation}
        x, kernel = _rounded(self.rounding, x, self.kernel.get_value())
        missing = kernel.shape[2] * self.groups - x.shape[-1]  # after `pad_inputs`
        if missing:
            x = jnp.pad(x, ((0, 0), (0, 0), (0, 0), (0, missing)))
        x = convolve(x, kernel, **options)
        if not with_bias or self.bias is None:
            return x
        bias = self.bias.get_value()
        if self.rounding is not None:
            bias = self.rounding.round_bias(bias, self.kernel.get_value())
        return x + bias

    def absorb(self, factor: jax.Array, shift: jax.Array) -> None:
        """Makes the outputs `factor` times what they were, plus `shift`."""
        self.kernel.set_value(self.kernel.get_value() * factor)
        self.bias = _absorbed_bias(self.bias, factor, shift)


class TransposedConv(nnx.Module):
    """A transposed 4x4 convolution with stride 2 and padding 1, which doubles the size.

    It takes the arguments of a `conv` of `ConvBN`, and accepts these values only.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        *,
        stride: int,
        groups: int = 1,
        rngs: Initializer,
    ):
        if (kernel, stride, groups) != (4, 2, 1):
            raise ValueError(
                "transposed convolutions are 4x4 with stride 2 and 1 group, not "
                f"{kernel}x{kernel} with stride {stride} and {groups} groups"
            )
        self.transposed = nnx.Param(normal(rngs, (kernel, kernel, inputs, outputs), CONV_STD))
        self.bias = None

    def __call__(self, x: jax.Array, *, with_bias: bool = True) -> jax.Array:
        x = convolve_transposed(x, self.transposed.get_value())
        return x + self.bias.get_value() if with_bias and self.bias is not None else x

    def absorb(self, factor: jax.Array, shift: jax.Array) -> None:
        """Makes the outputs `factor` times what they were, plus `shift`."""
        self.transposed.set_value(self.transposed.get_value() * factor)
        self.bias = _absorbed_bias(self.bias, factor, shift)


def _rounded(rounding, x, weights):
    return (x, weights) if rounding is None else rounding(x, weights)


def _absorbed_bias(bias, factor, shift):
    before = 0.0 if bias is None else bias.get_value()
    return nnx.data(nnx.Param(before * factor + shift))


class Linear(nnx.Module):
    """A matrix product with the channels; starts uniform within 1 / √inputs, as in PyTorch."""

    def __init__(self, inputs: int, outputs: int, *, rngs: Initializer):
        bound = inputs**-0.5
        self.matrix = nnx.Param(uniform(rngs, (inputs, outputs), bound))
        self.bias = nnx.Param(uniform(rngs, (outputs,), bound))
        self.rounding = None  # or a FakeQuantization

    def __call__(self, x: jax.Array) -> jax.Array:
        x, matrix = _rounded(self.rounding, x, self.matrix.get_value())
        return matmul(x, matrix) + self.bias.get_value()


def with_all_outputs(layers: Sequence[Conv | Linear]) -> Conv | Linear:
    """The first of several layers that read the same, changed to compute the outputs of all."""
    first = layers[0]
    for name in ("kernel", "matrix", "bias"):
        if hasattr(first, name):
            arrays = [getattr(layer, name).get_value() for layer in layers]
            getattr(first, name).set_value(jnp.concatenate(arrays, -1))
    return first


def pad_inputs(module: nnx.Module) -> None:
    """Gives the 1x1 convolutions of `module`, for few pixels, whole blocks of inputs on a GPU.

    Where pixels are few, XLA splits the sums of many channels into blocks of 32, and would pad
    kernels with zeros in every call.
    """
    convs = [part for _, part in nnx.iter_modules(module) if isinstance(part, Conv)]
    for conv in convs if target_platform() == "gpu" else ():
        kernel = conv.kernel.get_value()
        if kernel.shape[0] == 1 and kernel.shape[2] > 64 and conv.groups == 1:
            missing = -kernel.shape[2] % 32
            conv.kernel.set_value(jnp.pad(kernel, ((0, 0), (0, 0), (0, missing), (0, 0))))


class ConvBN(nnx.Module):
    """Convolution, batch norm and activation (none if `act` is None).

    `conv` makes the convolution; it is called like `Conv`.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 1,
        *,
        stride: int = 1,
        groups: int = 1,
        act: Activation | None = jax.nn.relu,
        conv: Callable[..., nnx.Module] = Conv,
        rngs: Initializer,
    ):
        self.conv = conv(inputs, outputs, kernel, stride=stride, groups=groups, rngs=rngs)
        self.bn = BatchNorm(outputs, rngs=rngs)
        self.act = act

    def __call__(self, x: jax.Array) -> jax.Array:
        if self.bn is None:
            x = self.conv(x)
            return x if self.act is None else self.act(x)
        if self.conv.bias is None:
            return self.bn(self.conv(x), act=self.act)
        return self.bn(self.conv(x, with_bias=False), self.conv.bias.get_value(), self.act)

    def fold(self) -> None:
        """Moves what batch norm does in evaluation into the convolution."""
        if self.bn is not None:
            self.conv.absorb(*self.bn.affine())
            self.bn = None


class DynamicConv(nnx.Module):
    """A convolution whose kernel is a mixture of `kernels` kernels, different for each sample.

    The weights of the mixture are an attention: two 1x1 convolutions of the input's channel means,
    with batch norm and `act` between them and a sigmoid at the end, so they need not sum to one.
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
        rngs: Initializer,
    ):
        if inputs < 4:
            raise ValueError(f"a dynamic convolution needs 4 or more input channels, not {inputs}")
        self.stride = stride
        self.groups = groups
        self.squeeze = ConvBN(inputs, inputs // 4, act=act, rngs=rngs)
        self.attend = Conv(inputs // 4, kernels, bias=True, rngs=rngs)
        shape = (kernels, kernel, kernel, inputs // groups, outputs)
        # Kaiming's uniform distribution.
        self.kernels = nnx.Param(uniform(rngs, shape, math.sqrt(6 / math.prod(shape[1:4]))))
        self.bias = None

    def __call__(self, x: jax.Array, *, with_bias: bool = True) -> jax.Array:
        means = jnp.mean(x, (1, 2), keepdims=True)
        weights = jax.nn.sigmoid(self.attend(self.squeeze(means)))
        return self.mix(x, weights[:, 0, 0], with_bias=with_bias)

    def mix(self, x: jax.Array, weights: jax.Array, *, with_bias: bool = True) -> jax.Array:
        """`x` convolved with the sum of the kernels with `weights` (n, kernels)."""
        kernels = self.kernels.get_value()
        x = convolve_mixture(x, weights, kernels, stride=self.stride, groups=self.groups)
        return x + self.bias.get_value() if with_bias and self.bias is not None else x

    def absorb(self, factor: jax.Array, shift: jax.Array) -> None:
        """Makes the outputs `factor` times what they were, plus `shift`."""
        self.kernels.set_value(self.kernels.get_value() * factor)
        self.bias = _absorbed_bias(self.bias, factor, shift)
