"""Networks in simulated eight bits: which layers round, and over which ranges."""

import dataclasses
import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from ml_collections import ConfigDict

from hrjax.models.layers import Conv, FakeQuantization, Linear
from hrjax.models.pure_functions import Graph, fold_batch_norm, merge, split

PADDLE_ALPHA = 100.0
AT_ONCE = 4  # images that go through the network together in `calibrate`


@dataclasses.dataclass(frozen=True)
class Quantization:
    """How a network is quantized.

    `keep` names layers, or parts of the network, that stay in float32. `alpha` is what activations
    are clipped at in the beginning. With an `alpha` of 0 that is, in each layer, what holds
    `percentile` percent of the activations on crops of training images.
    """

    keep: tuple[str, ...] = ()
    alpha: float = 0.0
    percentile: float = 99.99


def quantization_of(settings: ConfigDict) -> Quantization | None:
    """What the config's section `quantize` asks for, None where it is not enabled."""
    if not settings.enabled:
        return None
    alpha, percentile = float(settings.alpha), float(settings.percentile)
    return Quantization(tuple(settings.keep), alpha, percentile)


def quantize(
    graph: Graph,
    params: dict,
    stats: dict,
    *,
    alpha: float = PADDLE_ALPHA,
    keep: Sequence[str] = (),
) -> tuple[Graph, dict, dict]:
    """The network with fake quantization in all layers but those of `keep`, to train or evaluate.

    Batch norms are folded into the convolutions first, and the network trains without them. Each
    convolution and linear layer then rounds what it reads and its weights to eight bits; `alpha`
    is what activations are clipped at in the beginning, before `calibrate`. `keep` names layers or
    parts of the network, such as "stem" or "head.projects.3". Transposed convolutions and kernels
    that are mixed for each sample, as Dite-HRNet's, are not rounded. The graph has the mode of
    `graph`.
    """
    model = merge(*fold_batch_norm(graph, params, stats))
    layers = _layers(model)
    unknown = _unknown(layers, keep)
    if unknown:
        raise ValueError(
            f"the network has no layers {', '.join(unknown)} to keep in float32; it has: "
            f"{_choices(layers)}"
        )
    for name, layer in layers.items():
        if not any(_is_in(name, part) for part in keep):
            layer.rounding = nnx.data(FakeQuantization(alpha))
    model.train() if graph.training else model.eval()
    return split(model)


def unknown_parts(graph: Graph, params: dict, stats: dict, keep: Sequence[str]) -> tuple[str, str]:
    """The entries of `keep` that the network does not have, and those it has, as texts."""
    layers = _layers(merge(graph, params, stats))
    return ", ".join(map(repr, _unknown(layers, keep))), _choices(layers)


def calibrate(
    graph: Graph, params: dict, stats: dict, images: jax.Array, *, percentile: float | None = None
) -> tuple[dict, dict]:
    """Params and stats of a quantized network, with ranges of activations that `images` show.

    `images` (n, h, w, 3) are normalized. With a `percentile`, alpha becomes what holds so many
    percent of the magnitudes of what a layer reads, exactly; without one it stays as it is. The
    scale, which evaluation rounds by and training follows, becomes the largest magnitude or alpha,
    if that is lower. Nothing is rounded meanwhile.
    """
    tops = _largest(functools.partial(_read, graph, params, stats), images, percentile)
    model = merge(graph, params, stats)
    for name, layer in _layers(model).items():
        if name not in tops:
            continue
        rounding, (bound, largest) = layer.rounding, tops[name]
        if percentile is not None:
            rounding.alpha.set_value(_like(rounding.alpha, bound or largest or 1.0))
        scale = min(float(abs(rounding.alpha.get_value())), largest)
        rounding.total.set_value(_like(rounding.total, scale or 1.0))
        rounding.count.set_value(_like(rounding.count, 1.0))
    _, params, stats = split(model)
    return params, stats


def _largest(read, images, percentile):
    """By layer: the magnitude that holds `percentile` percent of those that it reads, and the last.

    `read` gives the magnitudes of a batch by layer.
    """
    read, found = jax.jit(read), {}
    with jax.default_matmul_precision("highest"):
        for start in range(0, len(images), AT_ONCE):
            batch = images[start : start + AT_ONCE]
            for name, values in jax.device_get(read(batch)).items():
                count = len(values) // len(batch) * len(images)
                above = 0 if percentile is None else int((1 - percentile / 100) * count)
                both = np.concatenate([found.get(name, values[:0]), values])
                found[name] = _top(both, above + 1)
    return {name: (float(x.min()), float(x.max())) for name, x in found.items()}


def _top(values, count):
    """The `count` largest values, in any order."""
    if len(values) <= count:
        return values
    return np.partition(values, len(values) - count)[-count:]


def _read(graph, params, stats, images):
    """The magnitudes of what each rounding layer reads, by layer, of a network in float32."""
    model, seen = merge(graph, params, stats), {}
    model.eval()

    for name, layer in _layers(model).items():
        if layer.rounding is not None:
            layer.rounding = _Watch(name, seen)
    model(images)
    return {name: jnp.concatenate(arrays) for name, arrays in seen.items()}


@dataclasses.dataclass(frozen=True, eq=False)
class _Watch:
    """Stands in the place of a layer's `FakeQuantization`: notes what the layer reads in `seen`."""

    name: str
    seen: dict

    def __call__(self, x, weights):
        self.seen.setdefault(self.name, []).append(jnp.abs(x).ravel())
        return x, weights

    def round_bias(self, bias, weights):
        del weights
        return bias


def _like(variable, value):
    return jnp.asarray(value, variable.get_value().dtype)


def _layers(model):
    """The layers that can round, by the names of `keep`."""
    return {
        ".".join(map(str, path)): module
        for path, module in nnx.iter_modules(model)
        if isinstance(module, Conv | Linear)
    }


def _unknown(layers, keep):
    return [part for part in keep if not any(_is_in(name, part) for name in layers)]


def _choices(layers):
    """The parts at the top, and an example of a layer inside of one."""
    parts = sorted({name.partition(".")[0] for name in layers})
    return f"{', '.join(parts)}, or parts of these such as {max(layers, key=len)}"


def _is_in(name, part):
    return f"{name}.".startswith(f"{part}.")
