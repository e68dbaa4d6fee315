"""Dite-HRNet: Li, Zhang, Xiao, Zhang, Bai, Dite-HRNet, IJCAI 2022."""

import dataclasses
import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from data_pipelines.messages import sizes
from hrjax.models.highres import (
    LITE_NAMES,
    Branches,
    Fuse,
    HighResolutionNet,
    IterativeHead,
    Transition,
)
from hrjax.models.joint.attention import JointAttention, side_by_side, split
from hrjax.models.layers import (
    BatchNorm,
    Conv,
    ConvBN,
    DynamicConv,
    Initializer,
    Separable,
    Sequential,
    half_width,
    pad_inputs,
    shuffle,
    softmax,
    softmax_mean,
)
from hrjax.models.layers.resizing import nearest


@dataclasses.dataclass(frozen=True)
class DiteHRNetConfig:
    """Dite-HRNet: modules in each stage, blocks in each module.

    For each branch, largest first: the number of `kernels` that its dynamic convolutions mix (1: an
    ordinary convolution), the `groups` of its split convolutions (with kernels of 3x3, 5x5, …) and
    the ratio by which its global contexts squeeze channels. The dense context, across branches,
    squeezes by `dense_ratio`.
    """

    num_joints: int = 17
    width: int = 40
    modules: tuple[int, ...] = (2, 4, 2)
    blocks: int = 2
    kernels: tuple[int, ...] = (4, 4, 2, 1)
    groups: tuple[int, ...] = (1, 1, 2, 4)
    global_ratios: tuple[int, ...] = (4, 4, 8, 8)
    dense_ratio: int = 8
    stem_width: int = 32
    stem_kernels: int = 4


def _unit(inputs, outputs, kernel=1, *, kernels, rngs, **options):
    """A convolution with batch norm; dynamic if there are several kernels."""
    conv = functools.partial(DynamicConv, kernels=kernels, act=jax.nn.relu) if kernels > 1 else Conv
    return ConvBN(inputs, outputs, kernel, conv=conv, rngs=rngs, **options)


def _depthwise(width, kernel, *, kernels, rngs, stride=1, act=None):
    options = {"stride": stride, "groups": width, "act": act}
    return _unit(width, width, kernel, kernels=kernels, rngs=rngs, **options)


class GlobalContext(nnx.Module):
    """Weights channels by the image's context: its mean under an attention mask over positions."""

    def __init__(self, width: int, ratio: int, *, rngs: Initializer):
        self.mask = Conv(width, 1, bias=True, rngs=rngs)
        self.squeeze = ConvBN(width, width // ratio, rngs=rngs)
        self.expand = Conv(width // ratio, width, bias=True, rngs=rngs)
        self.bn = BatchNorm(width, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.weight(x, self.squeeze(self.mean(x)))

    def mean(self, x: jax.Array) -> jax.Array:
        """The mean (n, 1, 1, c) under the mask."""
        return softmax_mean(x, self.mask(x))[:, None, None]

    def weight(self, x: jax.Array, squeezed: jax.Array) -> jax.Array:
        """`x` with its channels weighted, given the squeezed mean (n, 1, 1, c / ratio)."""
        return self.bn(x * jax.nn.sigmoid(self.expand(squeezed)))


class DenseContext(nnx.Module):
    """Weights the channels of all branches, computed jointly at each position of the smallest.

    The smallest branch, which is not pooled, has a mask too: the reference creates one and never
    reads it (ditehrnet.py, dense context modeling). It gets no gradient.
    """

    def __init__(self, widths: Sequence[int], ratio: int, *, rngs: Initializer):
        total = sum(widths)
        self.masks = nnx.List([Conv(width, 1, bias=True, rngs=rngs) for width in widths])
        self.squeeze = ConvBN(total, total // ratio, rngs=rngs)
        self.expand = Conv(total // ratio, total, bias=True, rngs=rngs)

    def __call__(self, branches: Branches) -> list[jax.Array]:
        *larger, last = branches
        size = last.shape[1:3]
        pooled = [pool_flat(x, mask(x), size) for x, mask in zip(larger, self.masks, strict=False)]
        pooled = jnp.concatenate([*pooled, last], axis=-1)
        weights = jax.nn.sigmoid(self.expand(self.squeeze(pooled)))
        ends = np.cumsum([x.shape[-1] for x in branches])[:-1]
        weights = jnp.split(weights, ends, axis=-1)
        return [x * nearest(w, x.shape[1:3]) for x, w in zip(branches, weights, strict=True)]

    def specialize(self) -> None:
        """Pads kernels, as XLA would in every call."""
        pad_inputs(self.squeeze)


def pool_flat(x: jax.Array, logits: jax.Array, size: tuple[int, int]) -> jax.Array:
    """`x` (n, h, w, c) pooled to `size`, weighted by the softmax over the image of `logits`.

    The reference cuts its cells out of memory, not out of the image: it reads the NCHW values of a
    sample in memory order as (cells, channels, values), and the mask as (cells, values)
    (ditehrnet.py, dense context modeling). So the values of a cell come from all over the image,
    and the mask's from other places. Released weights rely on it.
    """
    n, height, width, channels = x.shape
    cells = size[0] * size[1]
    if height * width % cells:
        image = sizes.pixels((height, width))
        raise ValueError(f"cannot pool {image} to {sizes.text(size)} cells")
    mask = softmax(logits.reshape(n, -1)).reshape(n, cells, -1)
    values = x.transpose(0, 3, 1, 2).reshape(n, cells, channels, -1)
    return jnp.einsum("npcq,npq->npc", values, mask).reshape(n, *size, channels)


class SplitConv(nnx.Module):
    """Depthwise convolutions: 3x3 of the first group of channels, 5x5 of the second, and so on."""

    def __init__(self, width: int, groups: int, kernels: int, *, rngs: Initializer):
        if width % groups:
            raise ValueError(f"{groups} groups do not divide {width} channels")
        sizes = [2 * group + 3 for group in range(groups)]
        part = width // groups
        self.parts = nnx.List([_depthwise(part, n, kernels=kernels, rngs=rngs) for n in sizes])

    def __call__(self, x: jax.Array) -> jax.Array:
        parts = jnp.split(x, len(self.parts), axis=-1)
        return shuffle(*[conv(part) for conv, part in zip(self.parts, parts, strict=True)])

    @property
    def dynamic(self) -> list[DynamicConv]:
        """The convolutions of the parts, if they are dynamic."""
        return [unit.conv for unit in self.parts if isinstance(unit.conv, DynamicConv)]

    def mix(self, x: jax.Array, weights: Sequence[jax.Array]) -> jax.Array:
        """What `__call__` computes of folded dynamic convolutions, given their weights."""
        parts = zip(self.dynamic, jnp.split(x, len(self.parts), axis=-1), weights, strict=True)
        return shuffle(*[conv.mix(part, weight) for conv, part, weight in parts])


class DynamicContextBlock(nnx.Module):
    """Dynamic multi-scale context: half of each branch is weighted, convolved, weighted again."""

    def __init__(self, widths: Sequence[int], config: DiteHRNetConfig, *, rngs: Initializer):
        halves = [half_width(width) for width in widths]
        self.dense = DenseContext(halves, config.dense_ratio, rngs=rngs)
        rows = [*zip(halves, config.groups, config.kernels, config.global_ratios, strict=False)]
        if len(rows) < len(widths):
            raise ValueError(
                f"{len(widths)} branches; kernels, groups and global_ratios need a value for each"
            )
        self.convs = nnx.List([SplitConv(*row[:3], rngs=rngs) for row in rows])
        self.contexts = nnx.List([GlobalContext(row[0], row[3], rngs=rngs) for row in rows])
        # After `specialize`, what all branches compute from means:
        self.attention = None  # of their dynamic convolutions
        self.squeeze = None  # of their contexts

    def __call__(self, branches: Branches) -> list[jax.Array]:
        kept, changed = zip(*[jnp.split(x, 2, axis=-1) for x in branches], strict=True)
        changed = self.dense(changed)
        changed = self._apart(changed) if self.attention is None else self._jointly(changed)
        return [shuffle(*halves) for halves in zip(kept, changed, strict=True)]

    def _apart(self, branches):
        rows = zip(self.contexts, self.convs, branches, strict=True)
        return [context(conv(x)) for context, conv, x in rows]

    def _jointly(self, branches):
        pairs = [*zip(self.convs, branches, strict=True)]
        weights = iter(self.attention([x for conv, x in pairs if conv.dynamic]))
        branches = [
            conv.mix(x, [next(weights) for _ in conv.parts]) if conv.dynamic else conv(x)
            for conv, x in pairs
        ]
        means = [context.mean(x) for context, x in zip(self.contexts, branches, strict=True)]
        squeezed = jax.nn.relu(self.squeeze(jnp.concatenate(means, -1)[:, 0]))
        sizes = [context.expand.kernel.shape[2] for context in self.contexts]
        squeezed = split(squeezed.astype(means[0].dtype)[:, None, None], sizes)
        rows = zip(self.contexts, branches, squeezed, strict=True)
        return [context.weight(x, squeezed) for context, x, squeezed in rows]

    def specialize(self) -> None:
        """Joins what the branches compute from means, each layer of which would be a kernel."""
        dynamic = [conv for convs in self.convs for conv in convs.dynamic]
        if dynamic:
            self.attention = nnx.data(JointAttention(dynamic))
            squeezes = [context.squeeze.conv for context in self.contexts]
            self.squeeze = nnx.data(side_by_side(squeezes))
            for context in self.contexts:
                context.squeeze = None


class Stem(nnx.Module):
    """Dynamic global context: a strided convolution, then two strided branches, shuffled."""

    def __init__(self, width: int, kernels: int, ratio: int, *, rngs: Initializer):
        half = half_width(width)
        options = {"kernels": kernels, "rngs": rngs}
        self.conv1 = ConvBN(3, width, 3, stride=2, rngs=rngs)
        self.branch1 = Sequential(
            _depthwise(half, 3, stride=2, **options),
            GlobalContext(half, ratio, rngs=rngs),
            _unit(half, half, **options),
        )
        self.branch2 = Sequential(
            _depthwise(half, 3, **options),
            GlobalContext(half, ratio, rngs=rngs),
            _unit(half, half // 4, **options),
            _unit(half // 4, half, act=None, **options),
            _depthwise(half, 3, stride=2, act=jax.nn.relu, **options),
        )

    def __call__(self, images: jax.Array) -> jax.Array:
        first, second = jnp.split(self.conv1(images), 2, axis=-1)
        return shuffle(self.branch1(first), self.branch2(second))


def build(config: DiteHRNetConfig, *, rngs: Initializer) -> HighResolutionNet:
    """The network of `config`."""
    return HighResolutionNet(
        Stem(config.stem_width, config.stem_kernels, config.global_ratios[0], rngs=rngs),
        inputs=config.stem_width,
        width=config.width,
        modules=config.modules,
        blocks=config.blocks,
        num_joints=config.num_joints,
        block=lambda widths, _, *, rngs: DynamicContextBlock(widths, config, rngs=rngs),
        transition=functools.partial(Transition, Separable, act=jax.nn.relu),
        fuse=functools.partial(Fuse, Separable, act=jax.nn.relu, echo=True, activated=True),
        head=IterativeHead,
        rngs=rngs,
    )


VARIANTS = {
    "ditehrnet_18": DiteHRNetConfig(),
    "ditehrnet_30": DiteHRNetConfig(modules=(3, 8, 3)),
}

TORCH_NAMES = (
    (r"^stem\.(branch\d)\.steps", r"stem.\1"),
    (r"blocks\.(\d+)\.dense\.masks", r"layers.\1.dcm.conv_mask"),
    (r"blocks\.(\d+)\.dense", r"layers.\1.dcm"),
    (r"blocks\.(\d+)\.convs\.(\d)\.parts", r"layers.\1.conv.\2.conv"),
    (r"blocks\.(\d+)\.contexts", r"layers.\1.gcm"),
    (r"\.mask$", ".conv_mask"),
    # In dynamic convolutions; the last rows are those of contexts.
    (r"conv\.squeeze\.conv$", "conv.attention.conv1"),
    (r"conv\.squeeze\.bn$", "conv.attention.bn"),
    (r"conv\.attend$", "conv.attention.conv2"),
    (r"squeeze\.conv$", "channel_attention.0"),
    (r"squeeze\.bn$", "channel_attention.1"),
    (r"expand$", "channel_attention.3"),
    *LITE_NAMES,
)
