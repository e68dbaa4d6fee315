"""HRNeXt: High-Resolution Context Network for Crowd Pose Estimation, IEEE TMM 2023."""

import dataclasses
import functools
from collections.abc import Sequence

import jax
import numpy as np
from flax import nnx

from hrjax.models.highres import (
    MMPOSE_NAMES,
    NUMBERED_NAMES,
    STAGE_NAMES,
    Branches,
    Fuse,
    HighResolutionNet,
    PerBranch,
    Transition,
)
from hrjax.models.joint.context_blocks import JointBlocks
from hrjax.models.layers import (
    BatchNorm,
    Conv,
    ConvBN,
    DropPath,
    DynamicConv,
    Initializer,
    LayerNorm,
    Separable,
    Sequential,
    constant,
    conv3x3,
    gelu,
    run_block,
)
from hrjax.models.layers.backend_ops import fusion_barrier
from hrjax.models.layers.resizing import bilinear_half_pixel


@dataclasses.dataclass(frozen=True)
class HRNeXtConfig:
    """HRNeXt: modules in stages 2, 3, … and blocks in each branch of a module.

    The dynamic convolutions of branch i mix `kernels[i]` kernels (1: an ordinary convolution); the
    stem's blocks have as many as the first branch. The rate of drop path grows linearly over the
    blocks, including the stem's, from 0 to `drop_path`.

    Every official config trains with activation checkpointing, which repeats a block's forward pass
    in the backward pass and so updates the running statistics inside blocks twice a step.
    `double_updates` does the same without the recomputation.
    """

    num_joints: int = 17
    width: int = 32
    modules: tuple[int, ...] = (2, 4, 2)
    blocks: int = 2
    kernels: tuple[int, ...] = (4, 2, 1, 1)
    mlp_ratio: int = 4
    drop_path: float = 0.1
    double_updates: bool = True
    stem_width: int = 64
    stem_blocks: int = 2


class GlobalMixer(nnx.Module):
    """Multiplies pixels by a wide depthwise context, without a sigmoid; residual."""

    def __init__(self, width: int, *, rngs: Initializer):
        plain = functools.partial(ConvBN, act=None, rngs=rngs)
        dilated = functools.partial(Conv, dilation=3)
        self.proj1 = ConvBN(width, width, act=gelu, rngs=rngs)
        self.gate = Sequential(
            plain(width, width, 5, groups=width),
            plain(width, width, 7, groups=width, conv=dilated),
            plain(width, width),
        )
        self.proj2 = plain(width, width)

    def __call__(self, x: jax.Array) -> jax.Array:
        y = self.proj1(x)
        return x + self.proj2(y * self.gate(y))


class ContextBlock(nnx.Module):
    """Local perception, a global mixer and a feed-forward network, each residual and scaled."""

    def __init__(
        self, width: int, kernels: int, config: HRNeXtConfig, *, rate: float, rngs: Initializer
    ):
        wide = width * config.mlp_ratio
        conv = functools.partial(DynamicConv, kernels=kernels, act=gelu) if kernels > 1 else Conv
        unit = functools.partial(ConvBN, conv=conv, rngs=rngs)
        self.local = unit(width, width, 3, groups=width, act=gelu)
        self.norm1 = BatchNorm(width, rngs=rngs)
        # Its shortcut starts after norm1 and lies inside the scale (hrnext.py).
        self.mixer = GlobalMixer(width, rngs=rngs)
        self.norm2 = BatchNorm(width, rngs=rngs)
        self.mlp = Sequential(
            unit(width, wide, act=None),
            unit(wide, wide, 3, groups=wide, act=gelu),
            unit(wide, width, act=None),
        )
        self.layer_scale_1 = nnx.Param(constant(rngs, (width,), 1e-2))
        self.layer_scale_2 = nnx.Param(constant(rngs, (width,), 1e-2))
        self.layer_scale_3 = nnx.Param(constant(rngs, (width,), 1e-2))
        self.drops = nnx.List([DropPath(rate, rngs=rngs) for _ in range(3)])
        if config.double_updates:
            for _, module in nnx.iter_modules(self):
                if isinstance(module, BatchNorm):
                    module.momentum = 1 - (1 - BatchNorm.momentum) ** 2

    def __call__(self, x: jax.Array) -> jax.Array:
        local, mixed, fed = self.drops
        x = x + local(self.layer_scale_1.get_value() * self.local(x))
        x = x + mixed(self.layer_scale_2.get_value() * self.mixer(self.norm1(x)))
        return x + fed(self.layer_scale_3.get_value() * self.mlp(self.norm2(x)))


class ContextBlocks(PerBranch):
    """A `ContextBlock` for each branch."""

    def __init__(self, blocks: Sequence[ContextBlock]):
        super().__init__(blocks)
        self.joint = None  # or the blocks of all branches as one, after `specialize`

    def __call__(self, branches: Branches) -> list[jax.Array]:
        return super().__call__(branches) if self.joint is None else self.joint(branches)

    def specialize(self) -> None:
        """Joins the attention of all branches, each layer of which would be a kernel."""
        self.joint = nnx.data(JointBlocks(self.branches))
        self.branches = nnx.List([])


class Stem(nnx.Module):
    """Four convolutions, then `blocks` (stage 1) and a layer norm: 1/4 of the size."""

    def __init__(self, width: int, blocks: Sequence[nnx.Module], *, rngs: Initializer):
        self.conv1 = ConvBN(3, width, 3, stride=2, act=gelu, rngs=rngs)
        self.conv2 = ConvBN(width, width, 3, groups=width, act=gelu, rngs=rngs)
        self.conv3 = ConvBN(width, width, act=gelu, rngs=rngs)
        self.conv4 = ConvBN(width, width, 3, stride=2, groups=width, act=gelu, rngs=rngs)
        self.blocks = nnx.List(blocks)
        self.joint = nnx.List([])  # the blocks after `specialize`
        self.norm = LayerNorm(width, rngs=rngs)

    def __call__(self, images: jax.Array) -> jax.Array:
        x = fusion_barrier(self.conv4(self.conv3(self.conv2(self.conv1(images)))))
        for block in self.blocks:
            x = run_block(block, x)
        for block in self.joint:
            [x] = block([x])
        return self.norm(x)

    def specialize(self) -> None:
        """Joins layers of the blocks, each of which would be a kernel."""
        self.joint = nnx.List([JointBlocks([block]) for block in self.blocks])
        self.blocks = nnx.List([])


def build(config: HRNeXtConfig, *, rngs: Initializer) -> HighResolutionNet:
    """The network of `config`."""
    if len(config.kernels) <= len(config.modules):
        raise ValueError(
            f"kernels={config.kernels} must have a number for each of the "
            f"{len(config.modules) + 1} branches"
        )
    depth = config.stem_blocks + config.blocks * sum(config.modules)
    rates = [float(rate) for rate in np.linspace(0, config.drop_path, depth)]

    def context(width, branch, depth):
        kernels = config.kernels[branch]
        return ContextBlock(width, kernels, config, rate=rates[depth], rngs=rngs)

    def block(widths, depth, *, rngs):
        return ContextBlocks(
            [context(n, i, config.stem_blocks + depth) for i, n in enumerate(widths)]
        )

    def fuse(widths, outputs, *, rngs):
        # Every branch of every module ends with a layer norm (hrnext.py).
        options = {"act": gelu, "resize": bilinear_half_pixel, "rngs": rngs}
        norms = PerBranch([LayerNorm(width, rngs=rngs) for width in widths])
        return Sequential(norms, Fuse(Separable, widths, outputs, **options))

    stem_blocks = [context(config.stem_width, 0, i) for i in range(config.stem_blocks)]
    return HighResolutionNet(
        Stem(config.stem_width, stem_blocks, rngs=rngs),
        inputs=config.stem_width,
        width=config.width,
        modules=config.modules,
        blocks=config.blocks,
        num_joints=config.num_joints,
        block=block,
        transition=functools.partial(Transition, conv3x3, act=gelu),
        fuse=fuse,
        head=None,
        rngs=rngs,
    )


VARIANTS = {
    "hrnext_small": HRNeXtConfig(),
    "hrnext_base": HRNeXtConfig(width=48, kernels=(8, 4, 2, 1)),
}

TORCH_NAMES = (
    *STAGE_NAMES,
    # The layer norm counts as a third block.
    (r"fuse\.steps\.0\.branches\.(\d)", r"branches.\1.2.norm"),
    (r"fuse\.steps\.1\.paths", "fuse.paths"),
    (r"\.squeeze\.conv$", ".attention.conv1"),
    (r"\.squeeze\.bn$", ".attention.norm"),
    (r"\.attend$", ".attention.conv2"),
    (r"\.local\.conv", ".dlp.dw3x3.conv"),
    (r"\.local\.bn$", ".dlp.norm"),
    (r"\.mixer\.gate\.steps\.0\.conv$", ".mlp1.spatial_gate.dw"),
    (r"\.mixer\.gate\.steps\.1\.conv$", ".mlp1.spatial_gate.dwd"),
    (r"\.mixer\.gate\.steps\.2\.conv$", ".mlp1.spatial_gate.pw"),
    (r"\.mixer\.gate\.steps\.(\d)\.bn$", lambda m: f".mlp1.spatial_gate.norm{int(m[1]) + 1}"),
    (r"\.mixer\.proj(\d)\.conv$", r".mlp1.proj\1"),
    (r"\.mixer\.proj(\d)\.bn$", r".mlp1.norm\1"),
    (r"\.mlp\.steps\.0\.conv", ".mlp2.proj1.conv"),
    (r"\.mlp\.steps\.1\.conv", ".mlp2.dw.conv"),
    (r"\.mlp\.steps\.2\.conv", ".mlp2.proj2.conv"),
    (r"\.mlp\.steps\.(\d)\.bn$", lambda m: f".mlp2.norm{int(m[1]) + 1}"),
    *NUMBERED_NAMES,
    (r"^stem\.blocks", "layer1"),
    (r"^stem\.norm$", "layer1.2.norm"),
    (r"^stem\.conv(\d)\.conv$", r"conv\1"),
    (r"^stem\.conv(\d)\.bn$", r"bn\1"),
    *MMPOSE_NAMES,
)
