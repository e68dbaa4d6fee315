"""EFENet: HRFormer with an effective feature enhancement module; an INFERRED design.

Neither the paper's text nor its code was available. Its README states: HRFormer's backbone, a
module that joins the branches by sub-pixel convolution instead of interpolation, heatmaps that
depend less on post-processing, 7.8 M parameters and 3.07 GFLOPs (small), 43.9 M and 12.9 (base).
The module below fits all of that. Its layers, its widths and heatmaps at 1/2 of the image are our
design, so the accuracy that the authors report says nothing about this network.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from flax import nnx

from hrjax.models import hrformer
from hrjax.models.highres import Branches, HighResolutionNet
from hrjax.models.layers import BasicBlock, Conv, ConvBN, Initializer


@dataclasses.dataclass(frozen=True)
class EFENetConfig(hrformer.HRFormerConfig):
    """HRFormer's fields, the channels that each smaller branch adds at 1/4, and those at 1/2."""

    added: int = 4
    enhanced: int = 32


def pixel_shuffle(x: jax.Array, factor: int) -> jax.Array:
    """`x` (n, h, w, c factor²) as (n, h factor, w factor, c): channels become pixels.

    As in PyTorch, each output channel comes from `factor`² adjacent channels, row by row.
    """
    n, height, width, channels = x.shape
    x = x.reshape(n, height, width, channels // factor**2, factor, factor)
    x = x.transpose(0, 1, 4, 2, 5, 3)
    return x.reshape(n, height * factor, width * factor, -1)


class Enhancement(nnx.Module):
    """Joins the branches at the size of the largest, then doubles it, all by pixel shuffles."""

    def __init__(self, widths: tuple[int, ...], *, added: int, enhanced: int, rngs: Initializer):
        self.smaller = nnx.List(
            [ConvBN(n, added * 4**i, rngs=rngs) for i, n in enumerate(widths[1:], 1)]
        )
        self.enlarge = ConvBN(widths[0] + added * len(self.smaller), 4 * enhanced, rngs=rngs)
        self.refine = BasicBlock(enhanced, rngs=rngs)

    def __call__(self, branches: Branches) -> jax.Array:
        largest, *smaller = branches
        units = zip(self.smaller, smaller, strict=True)
        joined = [pixel_shuffle(unit(x), 2**i) for i, (unit, x) in enumerate(units, 1)]
        x = self.enlarge(jnp.concatenate([largest, *joined], axis=-1))
        return self.refine(pixel_shuffle(x, 2))


def build(config: EFENetConfig, *, rngs: Initializer) -> HighResolutionNet:
    """The network of `config`: HRFormer, its last exchange unit replaced by the enhancement."""
    return hrformer.build_with_end(
        config,
        head=functools.partial(Enhancement, added=config.added, enhanced=config.enhanced),
        final=functools.partial(Conv, config.enhanced, kernel=3),
        last_fuse=False,
        rngs=rngs,
    )


VARIANTS = {
    "efenet_small": EFENetConfig(),
    "efenet_base": EFENetConfig(width=78, heads=2, drop_path=0.2, added=16, enhanced=52),
}

# Only the backbone has official names, those of HRFormer.
TORCH_NAMES = hrformer.TORCH_NAMES
