"""WideHRNet: Samkari, Arif, Alghamdi, Al Ghamdi, WideHRNet, IEEE Access 2024."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from flax import nnx

from hrjax.models.highres import (
    LITE_NAMES,
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
    is_launch_bound,
    shuffle,
    target_platform,
)


@dataclasses.dataclass(frozen=True)
class WideHRNetConfig:
    """WideHRNet: modules in each stage, blocks in each module.

    A block widens half of the channels `expansion` times; with an `se_ratio` above 0, squeeze and
    excitation with that ratio weights them.
    """

    num_joints: int = 17
    width: int = 40
    modules: tuple[int, ...] = (2, 4, 2)
    blocks: int = 2
    expansion: int = 4
    se_ratio: int = 0
    stem_width: int = 32


def make_divisible(value: int, divisor: int) -> int:
    """The multiple of `divisor` nearest to `value`, at least 90% of it, as in MobileNet."""
    nearest = max(divisor, (value + divisor // 2) // divisor * divisor)
    return nearest if nearest >= 0.9 * value else nearest + divisor


class WideBlock(nnx.Module):
    """An inverted residual of half of the channels, then a shuffle of both halves."""

    def __init__(self, width: int, *, expansion: int, se_ratio: int, rngs: Initializer):
        half = half_width(width)
        wide = half * expansion
        squeezed = make_divisible(wide // se_ratio, 8) if se_ratio else None
        self.residual = Sequential(
            ConvBN(half, wide, rngs=rngs),
            ConvBN(wide, wide, 3, groups=wide, rngs=rngs),
            *([SqueezeExcite(wide, squeezed, rngs=rngs)] if se_ratio else []),
            ConvBN(wide, half, act=None, rngs=rngs),
        )
        self.widen_all = None  # or the first convolution for all channels, after `specialize`

    def __call__(self, x: jax.Array) -> jax.Array:
        kept, changed = jnp.split(x, 2, axis=-1)
        widen, *rest = self.residual.steps
        reads_all = self.widen_all is not None and is_launch_bound(x)
        y = self.widen_all(x) if reads_all else widen(changed)
        for step in rest:
            y = step(y)
        return shuffle(kept, changed + y)

    def specialize(self) -> None:
        """Adds a first convolution that also reads the kept half, which it multiplies by zeros.

        On GPUs, cutting off the other half is a kernel of its own, which few images do not repay.
        """
        if target_platform() != "gpu":
            return
        self.widen_all = nnx.data(nnx.clone(self.residual.steps[0]))
        kernel = self.widen_all.conv.kernel.get_value()
        kernel = jnp.concatenate([jnp.zeros_like(kernel), kernel], axis=2)
        self.widen_all.conv.kernel.set_value(kernel)


def build(config: WideHRNetConfig, *, rngs: Initializer) -> HighResolutionNet:
    """The network of `config`."""
    options = {"expansion": config.expansion, "se_ratio": config.se_ratio}

    def block(widths, _, *, rngs):
        return PerBranch([WideBlock(width, **options, rngs=rngs) for width in widths])

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
    "widehrnet_18": WideHRNetConfig(),
    "widehrnet_18_se": WideHRNetConfig(se_ratio=4),
    "widehrnet_30": WideHRNetConfig(modules=(3, 8, 3)),
    "widehrnet_30_se": WideHRNetConfig(modules=(3, 8, 3), se_ratio=4),
}

TORCH_NAMES = (
    (r"blocks\.(\d+)\.branches\.(\d)\.residual\.steps", r"layers.\1.invertRes.\2.block"),
    *LITE_NAMES,
)
