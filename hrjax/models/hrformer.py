"""HRFormer: Yuan et al., HRFormer: High-Resolution Transformer for Dense Prediction, NeurIPS 2021.

Follows the authors' code for pose estimation.
"""

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

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
    Initializer,
    LayerNorm,
    Linear,
    Separable,
    Sequential,
    attend,
    conv3x3,
    gelu,
    normal,
    with_all_outputs,
)
from hrjax.models.layers.backend_ops import matmul
from hrjax.models.layers.resizing import bilinear_half_pixel


@dataclasses.dataclass(frozen=True)
class HRFormerConfig:
    """HRFormer: modules in stages 2, 3, … and transformer blocks in each branch of a module.

    The first branch has `width` channels and `heads` heads, and each further branch twice as many.
    The rate of drop path grows linearly over the blocks, from 0 to `drop_path`.

    Attention always has the parameters of a relative position bias. `position_bias` adds it, as the
    authors' ImageNet code and mmpose 1 do; their pose code does not (multihead_isa_attention.py).
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

    Images are padded with zeros on all sides to whole windows. The padding takes part in attention
    like the image (its keys and values are the biases).
    """

    def __init__(
        self, width: int, heads: int, *, window: int, position_bias: bool, rngs: Initializer
    ):
        if width % heads:
            raise ValueError(f"{heads} heads do not divide {width} channels")
        self.heads = heads
        self.window = window
        self.position_bias = position_bias
        self.q = Linear(width, width, rngs=rngs)
        self.k = Linear(width, width, rngs=rngs)
        self.v = Linear(width, width, rngs=rngs)
        # The reference truncates this normal distribution, but at a hundred standard deviations.
        table = normal(rngs, ((2 * window - 1) ** 2, heads), 0.02)
        self.relative_position_bias_table = nnx.Param(table)
        self.out = Linear(width, width, rngs=rngs)
        self.qkv = None  # or q, k and v as one layer, after `specialize`

    def __call__(self, x: jax.Array) -> jax.Array:
        n, height, width, channels = x.shape
        q, k, v = self._from_windows(x) if self.qkv is None else self._from_pixels(x)
        q = q / math.sqrt(channels // self.heads)
        x = attend(q, k, v, self._position_bias()).swapaxes(1, 2)
        x = self.out(x.reshape(-1, self.window**2, channels))
        rows, columns = (-(-size // self.window) for size in (height, width))
        x = x.reshape(n, rows, columns, self.window, self.window, channels).swapaxes(2, 3)
        x = x.reshape(n, rows * self.window, columns * self.window, channels)
        top, left = (_padding(size, self.window)[0] for size in (height, width))
        return x[:, top : top + height, left : left + width]

    def specialize(self) -> None:
        """Makes one layer of queries, keys and values.

        It multiplies the pixels before they are padded and cut into windows, so that one kernel
        adds the biases and arranges all three. On CPUs and in ONNX Runtime that is not faster.
        """
        self.qkv = nnx.data(with_all_outputs([self.q, self.k, self.v]))
        self.q = self.k = self.v = None

    def _from_windows(self, x):
        """Queries, keys and values, each (windows, heads, tokens, channels)."""
        x = self._tiled(x).swapaxes(2, 3).reshape(-1, self.window**2, x.shape[-1])
        split = (*x.shape[:2], self.heads, x.shape[2] // self.heads)
        return [layer(x).reshape(split).swapaxes(1, 2) for layer in (self.q, self.k, self.v)]

    def _from_pixels(self, x):
        """The same by the joined layer."""
        x = self._tiled(matmul(x, self.qkv.matrix.get_value())) + self.qkv.bias.get_value()
        parts = (part.reshape(*x.shape[:5], self.heads, -1) for part in jnp.split(x, 3, -1))
        parts = (part.transpose(0, 1, 3, 5, 2, 4, 6) for part in parts)
        return [part.reshape(-1, self.heads, self.window**2, part.shape[-1]) for part in parts]

    def _tiled(self, x):
        """`x` padded to whole windows (n, rows, window, columns, window, c)."""
        n, height, width, channels = x.shape
        x = jnp.pad(x, ((0, 0), *(_padding(n, self.window) for n in (height, width)), (0, 0)))
        return x.reshape(n, x.shape[1] // self.window, self.window, -1, self.window, channels)

    def _position_bias(self):
        if not self.position_bias:
            return None
        table = self.relative_position_bias_table.get_value()
        return jnp.moveaxis(table[relative_positions(self.window)], -1, 0)


def _padding(size, window):
    missing = -size % window
    return missing // 2, missing - missing // 2


def relative_positions(window: int) -> np.ndarray:
    """The row of the position bias table for each query and key, (window², window²)."""
    y, x = np.divmod(np.arange(window**2), window)
    dy, dx = y[:, None] - y, x[:, None] - x
    return (dy + window - 1) * (2 * window - 1) + dx + window - 1


class TransformerBlock(nnx.Module):
    """Window attention and a feed-forward network with a depthwise convolution, both residual.

    The feed-forward network also ends with GELU, and its convolutions have biases although batch
    norms follow (transformer_block.py, MlpDWBN).
    """

    def __init__(
        self, width: int, heads: int, config: HRFormerConfig, *, rate: float, rngs: Initializer
    ):
        wide = width * config.mlp_ratio
        unit = functools.partial(
            ConvBN, act=gelu, conv=functools.partial(Conv, bias=True), rngs=rngs
        )
        options = {"window": config.window, "position_bias": config.position_bias}
        self.norm1 = LayerNorm(width, rngs=rngs)
        self.attention = WindowAttention(width, heads, **options, rngs=rngs)
        self.drop1 = DropPath(rate, rngs=rngs)
        self.norm2 = LayerNorm(width, rngs=rngs)
        self.mlp = Sequential(
            unit(width, wide), unit(wide, wide, 3, groups=wide), unit(wide, width)
        )
        self.drop2 = DropPath(rate, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = x + self.drop1(self.attention(self.norm1(x)))
        return x + self.drop2(self.mlp(self.norm2(x)))


def build(config: HRFormerConfig, *, rngs: Initializer) -> HighResolutionNet:
    """The network of `config`."""
    return build_with_end(config, head=None, rngs=rngs)


def build_with_end(config: HRFormerConfig, *, rngs: Initializer, **end: Any) -> HighResolutionNet:
    """The backbone of `config`; `end` has the arguments of `HighResolutionNet` for what follows."""
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
        transition=functools.partial(Transition, conv3x3, act=jax.nn.relu),
        fuse=functools.partial(Fuse, Separable, act=jax.nn.relu, resize=bilinear_half_pixel),
        **end,
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
