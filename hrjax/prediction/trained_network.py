"""A network ready to predict: its weights, its joints and how keypoints are read from heatmaps."""

import dataclasses
import os

from ml_collections import ConfigDict

from data_pipelines import datasets
from data_pipelines.messages import sizes
from data_pipelines.skeletons import Skeleton
from hrjax import models
from hrjax.calibration import Calibration
from hrjax.inference import PredictionSettings
from hrjax.weights import source
from hrjax.weights.onnx_programs import Program

SHOWN_JOINTS = 3  # of a set that has no name


@dataclasses.dataclass(frozen=True)
class Network:
    """What `models.split` gives of an evaluating network, its joints and its settings.

    `joint_threshold` is the score from which a joint counts in a person's score. With a
    `calibration` scores are expected similarities. An exported network is a `program` instead of a
    graph with params and stats.
    """

    settings: PredictionSettings
    skeleton: Skeleton
    graph: models.Graph | None
    params: dict
    stats: dict
    joint_threshold: float = 0.2
    calibration: Calibration | None = None
    program: Program | None = None
    variant: str = ""


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
    graph, params, stats = (None, {}, {}) if opened.program else opened.restore()
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
    return Network(
        *(settings, card.skeleton, *weights, card.joint_threshold),
        calibration=card.calibration,
        program=opened.program,
        variant=card.variant,
    )


def describe(network: Network, settings: PredictionSettings) -> str:
    """What a network is and how it predicts with these settings, in one line."""
    names, dataset = network.skeleton.names, datasets.name_of(network.skeleton)
    joints = f"of {dataset}" if dataset else f"({', '.join(names[:SHOWN_JOINTS])}, …)"
    parts = [
        f"{network.variant or 'a network'}{' in ONNX' if network.program else ''}",
        f"{len(names)} joints {joints}",
        f"crops of {sizes.pixels(settings.input_size)}",
        f"decoding {settings.decode}",
        "flip test" if settings.flip_test else "no flip test",
    ]
    if network.calibration:
        parts.append("calibrated scores")
    return ", ".join(parts)
