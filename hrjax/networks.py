"""Networks as ordinary nnx modules, with new weights or with weights from anywhere."""

import logging
import os
import typing

from flax import nnx

from hrjax import models
from hrjax.weights import source

logger = logging.getLogger(__name__)


def create(
    name: str,
    seed: int = 0,
    *,
    weights: str | os.PathLike | source.Source | None = None,
    rngs: nnx.Rngs | None = None,
    **overrides: typing.Any,
) -> nnx.Module:
    """A network in training mode: normalized images (n, h, w, 3) → heatmaps (n, h/s, w/s, k).

    The stride s is 4, EFENet's 2. `overrides` replace fields of the variant, for example
    `num_joints=16`. Initial values are drawn on the host from `seed`, which compiles nothing, or
    from the streams "params" and "dropout" of `rngs`; those of `weights`, anything that `load`
    takes or weights of a classifier, then replace them. A head for other joints starts fresh, and
    a line in the log says so. `model.eval()` switches to evaluation.
    """
    model = models.create(name, seed, rngs=rngs, **overrides)
    if weights is None:
        return model
    _, params, stats = models.split(model)
    start, text = source.open(weights).start_from(name, {"params": params, "stats": stats})
    models.update(model, start["params"], start["stats"])
    logger.info(text)
    return model


def load(path: str | os.PathLike | source.Source, *, model: str = "") -> nnx.Module:
    """A trained network in evaluation mode: normalized images (n, h, w, 3) → heatmaps.

    `path` leads to a run, one of its steps, converted weights or a file of weights, or is an https
    address or a published name. `model` names the variant of weights that do not say it.
    """
    return models.merge(*source.open(path, model=model).restore())
