"""Lite-HRNet: Yu, Xiao, Gao, Yuan, Zhang, Sang, Wang, Lite-HRNet, CVPR 2021."""

import dataclasses
import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from hrjax.models.highres import (
    LITE_NAMES,
    Branches,
    Fuse,
    HighResolutionNet,
    IterativeHead,
    PerBranch,
    ShuffleStem,
    Transition,
)
from hrjax.models.layers import (
    ConvBN,
    Initializer,
    Separable,
    Sequential,
    SqueezeExcite,
    half_width,
    pad_inputs,
    shuffle,
)
from hrjax.models.layers.resizing import average_pool, nearest


@dataclasses.dataclass(frozen=True)
class LiteHRNetConfig:
    """Lite-HRNet: modules in each stage, blocks in each module.

    Blocks weight channels where ShuffleNet has 1x1 convolutions; without `weighting` they are
    ShuffleNet's, which gives the naive Lite-HRNet. The weights are computed with 1 / `cross_ratio`
    of the channels across branches, then with 1 / `spatial_ratio` within each branch.
    """

    num_joints: int = 17
    width: int = 40
    modules: tuple[int, ...] = (2, 4, 2)
    blocks: int = 2
    weighting: bool = True
    cross_ratio: int = 8
    spatial_ratio: int = 4
    stem_width: int = 32


class CrossResolutionWeighting(nnx.Module):
    """Weights the channels of all branches, computed jointly at each position of the smallest."""

    def __init__(self, widths: Sequence[int], ratio: int, *, rngs: Initializer):
        total = sum(widths)
        self.conv1 = ConvBN(total, total // ratio, rngs=rngs)
        self.conv2 = ConvBN(total // ratio, total, act=jax.nn.sigmoid, rngs=rngs)

    def __call__(self, branches: Branches) -> list[jax.Array]:
        smallest = branches[-1].shape[1:3]
        pooled = jnp.concatenate([average_pool(x, smallest) for x in branches], axis=-1)
        ends = np.cumsum([x.shape[-1] for x in branches])[:-1]
        weights = jnp.split(self.conv2(self.conv1(pooled)), ends, axis=-1)
        return [x * nearest(w, x.shape[1:3]) for x, w in zip(branches, weights, strict=True)]

    def specialize(self) -> None:
        """Pads kernels, as XLA would in every call."""
        pad_inputs(self)


class ChannelWeightingBlock(nnx.Module):
    """Conditional channel weighting of half of each branch, then a shuffle of both halves."""

    def __init__(
        self, widths: Sequence[int], *, cross_ratio: int, spatial_ratio: int, rngs: Initializer
    ):
        halves = [half_width(width) for width in widths]
        self.cross = CrossResolutionWeighting(halves, cross_ratio, rngs=rngs)
        self.depthwise = nnx.List([ConvBN(n, n, 3, groups=n, act=None, rngs=rngs) for n in halves])
        self.spatial = nnx.List([SqueezeExcite(n, n // spatial_ratio, rngs=rngs) for n in halves])

    def __call__(self, branches: Branches) -> list[jax.Array]:
        kept, changed = zip(*[jnp.split(x, 2, axis=-1) for x in branches], strict=True)
        changed = zip(self.spatial, self.depthwise, self.cross(changed), strict=True)
        changed = [spatial(depthwise(x)) for spatial, depthwise, x in changed]
        return [shuffle(*halves) for halves in zip(kept, changed, strict=True)]


class ShuffleBlock(nnx.Module):
    """ShuffleNet's block: convolutions of half of the channels, then a shuffle of both halves."""

    def __init__(self, width: int, *, rngs: Initializer):
        half = half_width(width)
        self.branch2 = Sequential(
            ConvBN(half, half, rngs=rngs),
            ConvBN(half, half, 3, groups=half, act=None, rngs=rngs),
            ConvBN(half, half, rngs=rngs),
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        kept, changed = jnp.split(x, 2, axis=-1)
        return shuffle(kept, self.branch2(changed))


def build(config: LiteHRNetConfig, *, rngs: Initializer) -> HighResolutionNet:
    """The network of `config`."""
    ratios = {"cross_ratio": config.cross_ratio, "spatial_ratio": config.spatial_ratio}

    def block(widths, _, *, rngs):
        if config.weighting:
            return ChannelWeightingBlock(widths, **ratios, rngs=rngs)
        return PerBranch([ShuffleBlock(width, rngs=rngs) for width in widths])

    return HighResolutionNet(
        ShuffleStem(config.stem_width, rngs=rngs),
        inputs=config.stem_width,
        width=config.width,
        modules=config.modules,
        blocks=config.blocks,
        num_joints=config.num_joints,
        block=block,
        transition=functools.partial(Transition, Separable, act=jax.nn.relu),
        fuse=functools.partial(Fuse, Separable, act=jax.nn.relu, echo=True),
        head=IterativeHead,
        rngs=rngs,
    )


VARIANTS = {
    "litehrnet_18": LiteHRNetConfig(),
    "litehrnet_30": LiteHRNetConfig(modules=(3, 8, 3)),
    "naive_litehrnet_18": LiteHRNetConfig(width=30, weighting=False),
    "wider_naive_litehrnet_18": LiteHRNetConfig(weighting=False),
}

TORCH_NAMES = (
    (r"blocks\.(\d+)\.cross", r"layers.\1.cross_resolution_weighting"),
    (r"blocks\.(\d+)\.depthwise", r"layers.\1.depthwise_convs"),
    (r"blocks\.(\d+)\.spatial\.(\d)\.fc(\d)", r"layers.\1.spatial_weighting.\2.conv\3.conv"),
    (r"blocks\.(\d+)\.branches\.(\d)\.branch2\.steps", r"layers.\2.\1.branch2"),
    *LITE_NAMES,
)
