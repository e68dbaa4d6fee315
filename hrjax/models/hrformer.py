"""HRFormer: Yuan et al., HRFormer: High-Resolution Transformer for Dense Prediction, NeurIPS 2021.

As in the authors' pose code.
"""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from hrjax.models.functional import attend, gelu
from hrjax.models.highres import (
    MMPOSE_NAMES,
    NUMBERED_NAMES,
    STAGE_NAMES,
    BottleneckStem,
    Fuse,
    HighResolutionNet,
    PerBranch,
    Transition,
)
from hrjax.models.layers import (
    BOTTLENECK_NAMES,
    Conv,
    ConvBN,
    DropPath,
    Keys,
    LayerNorm,
    Linear,
    Separable,
    Steps,
    dense,
)
from hrjax.models.resizing import bilinear_areas


@dataclasses.dataclass(frozen=True)
class HRFormerConfig:
    """HRFormer: modules in stages 2, 3, … and transformer blocks in each branch of a module.

    The first branch has `width` channels and `heads` heads, each further one twice as many. Drop
    path's rate grows linearly over the blocks, from 0 up to `drop_path`.

    The relative position bias of attention has its parameters in any case; the authors' pose code
    leaves the addition out (multihead_isa_attention.py), their ImageNet code and mmpose 1 have it:
    `position_bias`.
    """

    num_joints: int = 17
    width: int = 32
    heads: int = 1
    modules: tuple[int, ...] = (1, 4, 2)
    blocks: int = 2
    window: int = 7
    mlp_ratio: int = 4
    drop_path: float = 0.1
    position_bias: bool = False
    stem_width: int = 64
    stem_blocks: int = 2


class WindowAttention(nnx.Module):
    """Multi-head self-attention within windows of `window` x `window` pixels.

    Images are padded with zeros on all sides up to whole windows; the padding takes part as if it
    were image (its keys and values are the biases).
    """

    def __init__(self, width: int, heads: int, *, window: int, position_bias: bool, rngs: Keys):
        if width % heads:
            raise ValueError(f"{heads} heads do not divide {width} channels")
        self.heads = heads
        self.window = window
        self.position_bias = position_bias
        self.q = Linear(width, width, rngs=rngs)
        self.k = Linear(width, width, rngs=rngs)
        self.v = Linear(width, width, rngs=rngs)
        # The reference truncates the normal distribution only at a hundred deviations.
        table = rngs.normal(((2 * window - 1) ** 2, heads), 0.02)
        self.relative_position_bias_table = nnx.Param(table)
        self.out = Linear(width, width, rngs=rngs)

    def __call__(self, x):
        n, height, width, channels = x.shape
        (top, bottom), (left, right) = (_padding(size, self.window) for size in (height, width))
        x = jnp.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)))
        rows, columns = x.shape[1] // self.window, x.shape[2] // self.window
        x = x.reshape(n, rows, self.window, columns, self.window, channels)
        x = self._attend(x.swapaxes(2, 3).reshape(-1, self.window**2, channels))
        x = x.reshape(n, rows, columns, self.window, self.window, channels).swapaxes(2, 3)
        x = x.reshape(n, rows * self.window, columns * self.window, channels)
        return x[:, top : top + height, left : left + width]

    def _attend(self, x):
        """Attention among the tokens of each window, (windows, tokens, channels)."""
        split = (*x.shape[:2], self.heads, x.shape[2] // self.heads)
        q, k, v = (layer(x).reshape(split).swapaxes(1, 2) for layer in (self.q, self.k, self.v))
        outputs = attend(q / math.sqrt(split[-1]), k, v, self._position_bias())
        return self.out(outputs.swapaxes(1, 2).reshape(x.shape))

    def _position_bias(self):
        if not self.position_bias:
            return None
        table = self.relative_position_bias_table.get_value()
        return jnp.moveaxis(table[relative_positions(self.window)], -1, 0)


def _padding(size, window):
    missing = -size % window
    return missing // 2, missing - missing // 2


def relative_positions(window: int) -> np.ndarray:
    """The row of the bias table for each query and key, (window², window²)."""
    y, x = np.divmod(np.arange(window**2), window)
    dy, dx = y[:, None] - y, x[:, None] - x
    return (dy + window - 1) * (2 * window - 1) + dx + window - 1


class TransformerBlock(nnx.Module):
    """Window attention, then a feed-forward network with a depthwise convolution; residual both.

    The feed-forward network ends with GELU too, and its convolutions have biases although batch
    norm follows (transformer_block.py, MlpDWBN).
    """

    def __init__(self, width: int, heads: int, config: HRFormerConfig, *, rate: float, rngs: Keys):
        wide = width * config.mlp_ratio
        unit = functools.partial(
            ConvBN, act=gelu, conv=functools.partial(Conv, bias=True), rngs=rngs
        )
        options = {"window": config.window, "position_bias": config.position_bias}
        self.norm1 = LayerNorm(width, rngs=rngs)
        self.attention = WindowAttention(width, heads, **options, rngs=rngs)
        self.drop1 = DropPath(rate)
        self.norm2 = LayerNorm(width, rngs=rngs)
        self.mlp = Steps(unit(width, wide), unit(wide, wide, 3, groups=wide), unit(wide, width))
        self.drop2 = DropPath(rate)

    def __call__(self, x):
        x = x + self.drop1(self.attention(self.norm1(x)))
        return x + self.drop2(self.mlp(self.norm2(x)))


def build(config: HRFormerConfig, *, rngs: Keys) -> HighResolutionNet:
    """The network of `config`."""
    return assemble(config, head=None, rngs=rngs)


def assemble(config: HRFormerConfig, *, rngs: Keys, **ending) -> HighResolutionNet:
    """The network of `config` up to its end, which `ending` says to `HighResolutionNet`."""
    rates = np.linspace(0, config.drop_path, config.blocks * sum(config.modules))

    def block(widths, depth, *, rngs):
        return PerBranch(
            [
                TransformerBlock(
                    width, config.heads * 2**branch, config, rate=float(rates[depth]), rngs=rngs
                )
                for branch, width in enumerate(widths)
            ]
        )

    return HighResolutionNet(
        BottleneckStem(config.stem_width, config.stem_blocks, rngs=rngs),
        inputs=4 * config.stem_width,
        width=config.width,
        modules=config.modules,
        blocks=config.blocks,
        num_joints=config.num_joints,
        block=block,
        transition=functools.partial(Transition, dense, act=jax.nn.relu),
        fuse=functools.partial(Fuse, Separable, act=jax.nn.relu, resize=bilinear_areas),
        **ending,
        rngs=rngs,
    )


VARIANTS = {
    "hrformer_small": HRFormerConfig(),
    "hrformer_base": HRFormerConfig(width=78, heads=2, drop_path=0.2),
}

TORCH_NAMES = (
    *STAGE_NAMES,
    (r"\.attention", ".attn.attn"),
    (r"\.attn\.(q|k|v|out)$", r".attn.\1_proj"),
    (r"\.mlp\.steps\.0\.conv", ".mlp.fc1"),
    (r"\.mlp\.steps\.1\.conv", ".mlp.dw3x3"),
    (r"\.mlp\.steps\.2\.conv", ".mlp.fc2"),
    (r"\.mlp\.steps\.(\d)\.bn", lambda m: f".mlp.norm{int(m[1]) + 1}"),
    *NUMBERED_NAMES,
    (r"^stem\.blocks", "layer1"),
    (r"^stem\.", ""),
    *BOTTLENECK_NAMES,
    *MMPOSE_NAMES,
)
