"""HRNet: Sun, Xiao, Liu, Wang, Deep High-Resolution Representation Learning, CVPR 2019."""

import dataclasses
import functools

import jax
from flax import nnx

from hrjax.models.highres import Fuse, HighResolutionNet, PerBranch, Transition
from hrjax.models.layers import BOTTLENECK_NAMES, Bottleneck, ConvBN, Keys, dense
from hrjax.models.lowering import settle


@dataclasses.dataclass(frozen=True)
class HRNetConfig:
    """HRNet-W`width`: modules in stages 2, 3, … and blocks in each branch of a module."""

    num_joints: int = 17
    width: int = 32
    modules: tuple[int, ...] = (1, 4, 3)
    blocks: int = 4
    stem_width: int = 64
    stem_blocks: int = 4


class BasicBlock(nnx.Module):
    """Two 3x3 convolutions around a shortcut."""

    def __init__(self, width: int, *, rngs: Keys):
        self.conv1 = ConvBN(width, width, 3, rngs=rngs)
        self.conv2 = ConvBN(width, width, 3, act=None, rngs=rngs)

    def __call__(self, x):
        return jax.nn.relu(x + self.conv2(self.conv1(x)))


class Stem(nnx.Module):
    """Two strided convolutions, then bottlenecks (stage 1): 1/4 of the size, 4 `width` channels."""

    def __init__(self, width: int, blocks: int, *, rngs: Keys):
        self.conv1 = ConvBN(3, width, 3, stride=2, rngs=rngs)
        self.conv2 = ConvBN(width, width, 3, stride=2, rngs=rngs)
        inputs = [width] + [4 * width] * (blocks - 1)
        self.blocks = nnx.List([Bottleneck(n, width, 4 * width, rngs=rngs) for n in inputs])

    def __call__(self, images):
        x = self.conv2(self.conv1(images))
        for block in self.blocks:
            x = settle(block(x))
        return x


def build(config: HRNetConfig, *, rngs: Keys) -> HighResolutionNet:
    """The network of `config`."""

    def block(widths, _, *, rngs):
        return PerBranch([BasicBlock(width, rngs=rngs) for width in widths])

    return HighResolutionNet(
        Stem(config.stem_width, config.stem_blocks, rngs=rngs),
        inputs=4 * config.stem_width,
        width=config.width,
        modules=config.modules,
        blocks=config.blocks,
        num_joints=config.num_joints,
        block=block,
        transition=functools.partial(Transition, dense, act=jax.nn.relu),
        fuse=functools.partial(Fuse, dense, act=jax.nn.relu),
        head=None,
        rngs=rngs,
    )


VARIANTS = {
    "hrnet_w32": HRNetConfig(),
    "hrnet_w48": HRNetConfig(width=48),
    "hrnet_tiny": HRNetConfig(width=8, modules=(1, 1, 1), blocks=1, stem_width=16, stem_blocks=1),
}

TORCH_NAMES = (
    (r"^stages\.(\d)\.transition\.new", lambda m: f"transition{int(m[1]) + 1}.{int(m[1]) + 1}.0"),
    (r"^stages\.(\d)\.transition\.branches", lambda m: f"transition{int(m[1]) + 1}"),
    (r"^stages\.(\d)\.modules", lambda m: f"stage{int(m[1]) + 2}"),
    (r"blocks\.(\d+)\.branches\.(\d)", r"branches.\2.\1"),
    (r"fuse\.paths\.(\d)\.(\d)\.(?:steps|project)", r"fuse_layers.\1.\2"),
    (r"^(transition.*|stage.*fuse_layers.*)\.conv$", r"\1.0"),
    (r"^(transition.*|stage.*fuse_layers.*)\.bn$", r"\1.1"),
    (r"^stem\.blocks", "layer1"),
    (r"^stem\.", ""),
    *BOTTLENECK_NAMES,
    (r"^final$", "final_layer"),
)
