"""EFENet: HRFormer with an effective feature enhancement module; an INFERRED design.

Neither code nor text of the paper could be had. Its README alone says: HRFormer's backbone, a
module that joins the branches by sub-pixel convolution so that nothing is interpolated, heatmaps
that depend less on post-processing, 7.8 M parameters and 3.07 GFLOPs (small), 43.9 M and 12.9
(base). The module below is what fits all of that; its layers, its widths and the heatmaps at 1/2 of
the image are ours, so the accuracy that the authors report is not a claim about this network.
"""

import dataclasses
import functools

import jax.numpy as jnp
from flax import nnx

from hrjax.models import hrformer
from hrjax.models.highres import HighResolutionNet
from hrjax.models.layers import BasicBlock, Conv, ConvBN, Keys


@dataclasses.dataclass(frozen=True)
class EFENetConfig(hrformer.HRFormerConfig):
    """HRFormer's fields; channels that each smaller branch adds at 1/4, and channels at 1/2."""

    added: int = 4
    enhanced: int = 32


def pixel_shuffle(x, factor: int):
    """`x` (n, h, w, c factor²) as (n, h factor, w factor, c): channels become neighbours.

    As PyTorch's: each output channel comes from `factor`² adjacent ones, row by row.
    """
    n, height, width, channels = x.shape
    x = x.reshape(n, height, width, channels // factor**2, factor, factor)
    x = x.transpose(0, 1, 4, 2, 5, 3)
    return x.reshape(n, height * factor, width * factor, -1)


class Enhancement(nnx.Module):
    """The branches joined at the size of the largest, then enlarged, by pixel shuffles alone."""

    def __init__(self, widths: tuple[int, ...], *, added: int, enhanced: int, rngs: Keys):
        self.smaller = nnx.List(
            [ConvBN(n, added * 4**i, rngs=rngs) for i, n in enumerate(widths[1:], 1)]
        )
        self.enlarge = ConvBN(widths[0] + added * len(self.smaller), 4 * enhanced, rngs=rngs)
        self.refine = BasicBlock(enhanced, rngs=rngs)

    def __call__(self, branches):
        largest, *smaller = branches
        units = zip(self.smaller, smaller, strict=True)
        joined = [pixel_shuffle(unit(x), 2**i) for i, (unit, x) in enumerate(units, 1)]
        x = self.enlarge(jnp.concatenate([largest, *joined], axis=-1))
        return self.refine(pixel_shuffle(x, 2))


def build(config: EFENetConfig, *, rngs: Keys) -> HighResolutionNet:
    """The network of `config`: HRFormer, its last exchange unit replaced by the enhancement."""
    return hrformer.assemble(
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

# There are no official names beyond the backbone's, which are HRFormer's.
TORCH_NAMES = hrformer.TORCH_NAMES
