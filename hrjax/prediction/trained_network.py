"""A network ready to predict: its weights, its joints and how keypoints are read from heatmaps."""

import dataclasses
import os

from ml_collections import ConfigDict

from data_pipelines.skeletons import Skeleton
from hrjax import models
from hrjax.calibration import Calibration
from hrjax.inference import PredictionSettings
from hrjax.weights import source


@dataclasses.dataclass(frozen=True)
class Network:
    """What `models.split` gives of an evaluating network, its joints and its settings.

    `joint_threshold` is the score from which a joint counts in a person's score. With a
    `calibration` scores are expected similarities.
    """

    settings: PredictionSettings
    skeleton: Skeleton
    graph: models.Graph
    params: dict
    stats: dict
    joint_threshold: float = 0.2
    calibration: Calibration | None = None


def load(
    checkpoint: str | os.PathLike, *, model: str = "", config: ConfigDict | None = None
) -> Network:
    """The network of anything that `hrjax.weights.source.open` takes.

    Its settings are those of the model card that was saved with the weights, or of the variant's
    recipe. `config` replaces them; `model` names the variant, with the input size or not.
    """
    opened = source.open(checkpoint, model=model)
    if config is not None:
        opened = opened.with_config(config)
    card = opened.card
    graph, params, stats = opened.restore()
    settings = PredictionSettings(
        input_size=card.input_size,
        color=card.color,
        encoding=card.encoding,
        sigma=card.sigma,
        decode=card.decode,
        flip_test=card.flip_test,
        fold_batch_norm=config is None or config.eval.fold_batch_norm,
        dtype="float32" if config is None else config.eval.dtype,
    )
    weights = (graph, params, stats)
    return Network(settings, card.skeleton, *weights, card.joint_threshold, card.calibration)
