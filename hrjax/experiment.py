"""From a config to objects that training and evaluation share: splits, batches and networks."""

import dataclasses
import logging
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from data_pipelines import datasets, geometry
from data_pipelines.batching import loading
from data_pipelines.splits import Split
from data_pipelines.synthetic import drawing
from data_pipelines.transforms import chains
from hrjax import models
from hrjax.inference import PredictionSettings

logger = logging.getLogger(__name__)


def open_held_out(config: ConfigDict) -> Split:
    """The people that the config evaluates on, in ground-truth boxes or in a detector's."""
    options = {"boxes": config.eval.boxes, "threshold": config.eval.box_threshold}
    if config.eval.dataset:
        config = config.copy_and_resolve_references()
        with config.unlocked():
            config.data.dataset, config.data.root = config.eval.dataset, config.eval.root
            config.data.records, config.data.draw.train_images = False, 0
    split = open_split(config, config.eval.split, **options)
    if config.eval.boxes != "gt" or config.eval.clip_boxes or "box" not in split.columns:
        return split
    center, size = geometry.box_center_size(split.columns["box"])
    places = {"center": center.astype(np.float32), "size": size.astype(np.float32)}
    return dataclasses.replace(split, columns={**split.columns, **places})


def open_split(config: ConfigDict, name: str, **options: Any) -> Split:
    """The split `name` of the config's dataset, drawn first where the config asks for it.

    `options` are those of `datasets.read_config`.
    """
    data = config.data
    if data.draw.train_images:
        drawing.write_if_missing(
            data.root,
            train_images=data.draw.train_images,
            val_images=data.draw.val_images,
            seed=data.draw.seed,
        )
    split = datasets.read_config(data, name, **options)
    if split.skeleton.num_joints != config.model.num_joints:
        raise ValueError(
            f"the network has {config.model.num_joints} joints (config.model.num_joints) and the "
            f"people of {data.dataset} have {split.skeleton.num_joints}; make them the same"
        )
    dropped = ", ".join(f"{count} {reason}" for reason, count in split.dropped.items() if count)
    logger.info("%s %s: %d people%s", data.dataset, name, len(split), dropped and f" ({dropped})")
    return split


def without_drawing(config: ConfigDict) -> ConfigDict:
    """The config, of which no data are drawn: those of its data.root are read as they are."""
    config = config.copy_and_resolve_references()
    with config.unlocked():
        config.data.draw.train_images = 0
    return config.lock()


def eval_batches(config: ConfigDict, split: Split) -> loading.Batches:
    """Batches of a split for evaluation, this process's share of each."""
    settings = prediction_settings(config)
    return loading.eval_batches(
        split,
        chains.eval_ops(
            settings.input_size,
            strict=config.data.strict,
            max_pixels=config.data.max_pixels,
            udp=settings.udp,
        ),
        batch_size=config.eval.batch_size,
        workers=config.data.workers,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )


def create_model(config: ConfigDict) -> tuple[models.Graph, models.Graph, dict, dict]:
    """The config's network from its seed: training graph, evaluation graph, params, stats.

    In the training graph the first `config.train.freeze` parts of the backbone evaluate. Where
    `config.quantize` is enabled, the network is quantized.
    """
    model = models.create(config.model.name, config.seed, **model_fields(config))
    told = models.quantization_of(config.quantize)
    if told:
        alpha = told.alpha or models.PADDLE_ALPHA
        network = models.quantize(*models.split(model), alpha=alpha, keep=told.keep)
        model = models.merge(*network)
    models.freeze(model, config.train.freeze, batch_norm=config.train.batch_norm == "running")
    graph, params, stats = models.split(model)
    model.eval()
    eval_graph, _, _ = models.split(model)
    return graph, eval_graph, params, stats


def model_fields(config: ConfigDict) -> dict:
    """The fields of the config's network, without the name of the variant."""
    return {key: value for key, value in config.model.items() if key != "name"}


def prediction_settings(config: ConfigDict) -> PredictionSettings:
    """How the config's network predicts."""
    return PredictionSettings(
        input_size=tuple(config.data.input_size),
        color=config.data.color,
        encoding=config.heatmap.encoding,
        sigma=config.heatmap.sigma,
        decode=config.eval.decode,
        flip_test=config.eval.flip_test,
        fold_batch_norm=config.eval.fold_batch_norm,
        dtype=config.eval.dtype,
    )
