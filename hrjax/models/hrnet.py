"""HRNet: Sun, Xiao, Liu, Wang, Deep High-Resolution Representation Learning, CVPR 2019."""

import dataclasses
import functools

import jax

from hrjax.models.highres import (
    NUMBERED_NAMES,
    STAGE_NAMES,
    BottleneckStem,
    Fuse,
    HighResolutionNet,
    PerBranch,
    Transition,
)
from hrjax.models.layers import BOTTLENECK_NAMES, BasicBlock, Initializer, conv3x3


@dataclasses.dataclass(frozen=True)
class HRNetConfig:
    """HRNet-W`width`: modules in stages 2, 3, … and blocks in each branch of a module."""

    num_joints: int = 17
    width: int = 32
    modules: tuple[int, ...] = (1, 4, 3)
    blocks: int = 4
    stem_width: int = 64
    stem_blocks: int = 4


def build(config: HRNetConfig, *, rngs: Initializer) -> HighResolutionNet:
    """The network of `config`."""

    def block(widths, _, *, rngs):
        return PerBranch([BasicBlock(width, rngs=rngs) for width in widths])

    return HighResolutionNet(
        BottleneckStem(config.stem_width, config.stem_blocks, rngs=rngs),
        inputs=4 * config.stem_width,
        width=config.width,
        modules=config.modules,
        blocks=config.blocks,
        num_joints=config.num_joints,
        block=block,
        transition=functools.partial(Transition, conv3x3, act=jax.nn.relu),
        fuse=functools.partial(Fuse, conv3x3, act=jax.nn.relu),
        head=None,
        rngs=rngs,
    )


VARIANTS = {
    "hrnet_w32": HRNetConfig(),
    "hrnet_w48": HRNetConfig(width=48),
    "hrnet_tiny": HRNetConfig(width=8, modules=(1, 1, 1), blocks=1, stem_width=16, stem_blocks=1),
}

TORCH_NAMES = (
    *STAGE_NAMES,
    *NUMBERED_NAMES,
    (r"^stem\.blocks", "layer1"),
    (r"^stem\.", ""),
    *BOTTLENECK_NAMES,
    (r"^final$", "final_layer"),
)
