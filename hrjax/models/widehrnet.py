"""WideHRNet: Samkari, Arif, Alghamdi, Al Ghamdi, WideHRNet, IEEE Access 2024."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from flax import nnx

from hrjax.models.highres import Fuse, HighResolutionNet, IterativeHead, PerBranch, Transition
from hrjax.models.layers import Conv, ConvBN, Keys, Separable, Steps, shuffle


@dataclasses.dataclass(frozen=True)
class WideHRNetConfig:
    """WideHRNet: modules in each stage, blocks in each module.

    Half the channels of a block are widened `expansion` times; with an `se_ratio`, squeeze and
    excitation with that ratio weighs them (0: none).
    """

    num_joints: int = 17
    width: int = 40
    modules: tuple[int, ...] = (2, 4, 2)
    blocks: int = 2
    expansion: int = 4
    se_ratio: int = 0
    stem_width: int = 32


class SqueezeExcite(nnx.Module):
    """Weighs channels by two 1x1 convolutions of their means."""

    def __init__(self, width: int, ratio: int, *, rngs: Keys):
        squeezed = make_divisible(width // ratio, 8)
        self.fc1 = Conv(width, squeezed, bias=True, rngs=rngs)
        self.fc2 = Conv(squeezed, width, bias=True, rngs=rngs)

    def __call__(self, x):
        weights = jax.nn.relu(self.fc1(jnp.mean(x, (1, 2), keepdims=True)))
        return x * jax.nn.sigmoid(self.fc2(weights))


def make_divisible(value: int, divisor: int) -> int:
    """The multiple of `divisor` nearest to `value`, not below 90% of it, as in MobileNet."""
    nearest = max(divisor, (value + divisor // 2) // divisor * divisor)
    return nearest if nearest >= 0.9 * value else nearest + divisor


def _half(width):
    if width % 2:
        raise ValueError(f"width {width} is odd; WideHRNet's blocks split their channels in half")
    return width // 2


class WideBlock(nnx.Module):
    """An inverted residual on the second half of the channels, then a shuffle of both halves."""

    def __init__(self, width: int, *, expansion: int, se_ratio: int, rngs: Keys):
        half = _half(width)
        wide = half * expansion
        self.residual = Steps(
            ConvBN(half, wide, rngs=rngs),
            ConvBN(wide, wide, 3, groups=wide, rngs=rngs),
            *([SqueezeExcite(wide, se_ratio, rngs=rngs)] if se_ratio else []),
            ConvBN(wide, half, act=None, rngs=rngs),
        )

    def __call__(self, x):
        kept, changed = jnp.split(x, 2, axis=-1)
        return shuffle(kept, changed + self.residual(changed))


class Stem(nnx.Module):
    """A strided convolution, then a strided shuffle block: 1/4 of the size, `width` channels."""

    def __init__(self, width: int, *, rngs: Keys):
        half = _half(width)
        self.conv1 = ConvBN(3, width, 3, stride=2, rngs=rngs)
        self.branch1 = Separable(half, half, stride=2, act=jax.nn.relu, rngs=rngs)
        self.expand = ConvBN(half, width, rngs=rngs)
        # The reference calls the last convolution linear, but it has a ReLU (widehrnet.py, Stem).
        self.branch2 = Separable(width, half, stride=2, act=jax.nn.relu, rngs=rngs)

    def __call__(self, images):
        first, second = jnp.split(self.conv1(images), 2, axis=-1)
        return shuffle(self.branch1(first), self.branch2(self.expand(second)))


def build(config: WideHRNetConfig, *, rngs: Keys) -> HighResolutionNet:
    """The network of `config`."""
    options = {"expansion": config.expansion, "se_ratio": config.se_ratio}

    def block(widths, _, *, rngs):
        return PerBranch([WideBlock(width, **options, rngs=rngs) for width in widths])

    return HighResolutionNet(
        Stem(config.stem_width, rngs=rngs),
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
    (r"^stages\.(\d)\.transition\.new", lambda m: f"transition{m[1]}.{int(m[1]) + 1}.0"),
    (r"^stages\.(\d)\.transition\.branches", r"transition\1"),
    (r"^stages\.(\d)\.modules", r"stage\1"),
    (r"blocks\.(\d+)\.branches\.(\d)\.residual\.steps", r"layers.\1.invertRes.\2.block"),
    (r"fuse\.paths\.(\d)\.(\d)\.(?:steps|project)", r"fuse_layers.\1.\2"),
    # In transitions and fuse paths, layers are numbered and a separable convolution is flat.
    (r"^((?:transition|stage).*)\.pointwise\.conv$", r"\1.2"),
    (r"^((?:transition|stage).*)\.pointwise\.bn$", r"\1.3"),
    (r"^(transition.*?|stage.*fuse_layers.*?)(?:\.depthwise)?\.conv$", r"\1.0"),
    (r"^(transition.*?|stage.*fuse_layers.*?)(?:\.depthwise)?\.bn$", r"\1.1"),
    (r"^stem\.expand", "stem.expand_conv"),
    (r"^stem\.branch1\.depthwise", "stem.branch1.0"),
    (r"^stem\.branch1\.pointwise", "stem.branch1.1"),
    (r"^stem\.branch2\.depthwise", "stem.depthwise_conv"),
    (r"^stem\.branch2\.pointwise", "stem.linear_conv"),
    (r"^head\.projects\.(\d)\.(\w+)", r"head_layer.projects.\1.\2_conv"),
    (r"^final$", "keypoint_head.final_layer"),
    (r"^(?!keypoint_head)", "backbone."),
)
