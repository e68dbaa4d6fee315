"""What an exported program computes, from crops to results, and what its metadata say."""

import dataclasses
import json
import os
import pathlib
from collections.abc import Callable

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from data_pipelines import files
from data_pipelines.messages import choices
from hrjax import heatmaps, inference, models
from hrjax.export import running
from hrjax.weights import model_card, source
from hrjax.weights.model_card import ModelCard

HEATMAPS = "none"  # the decoding of a program that returns heatmaps
LICENSE = (
    "The program in this file was written by hrjax, which is under the Apache License 2.0. Its "
    "weights have the license of their authors, which may depend on the data they are trained on."
)


@dataclasses.dataclass(frozen=True)
class Plan:
    """A network (graph, params, stats), its card with the settings to export, and what to return.

    `batch` is the number of crops, 0 for any.
    """

    network: tuple
    card: ModelCard
    returns_heatmaps: bool = False
    batch: int = 0


def prepare(
    checkpoint: str | os.PathLike | source.Source,
    output: str | os.PathLike,
    *,
    model: str = "",
    config: ConfigDict | None = None,
    decode: str = "",
    flip_test: bool | None = None,
    batch: int | None = None,
) -> Plan:
    """The plan of an export to `output`; the options are those of `hrjax.export_onnx`."""
    if batch is not None and batch < 1:
        raise ValueError(f"batch must be a positive number of crops, or None for any; got {batch}")
    known = (*heatmaps.DECODERS, HEATMAPS)
    if decode and decode not in known:
        raise ValueError(choices.unknown("decoding", decode, known))
    if pathlib.Path(output).is_dir():
        raise ValueError(f"{output} is a folder; name the file to write, as in {output}/model.onnx")
    opened = source.open(checkpoint, model=model)
    if config is not None:
        opened = opened.with_config(config)
    files.require_no_input([output], [opened.location])
    card, returns_heatmaps = opened.card, decode == HEATMAPS
    card = dataclasses.replace(
        card,
        decode=card.decode if returns_heatmaps else decode or card.decode,
        flip_test=card.flip_test if flip_test is None else flip_test,
    )
    return Plan(opened.restore(), card, returns_heatmaps, batch or 0)


def crops_to_results(plan: Plan, *, half: bool = False) -> tuple[dict, Callable]:
    """The weights, and a function (weights, crops (n, h, w, 3) uint8) → results by name.

    They are the keypoints in pixels of the crop and their scores, or the heatmaps. With `half`, the
    network computes in float16.
    """
    structure, *arrays = plan.network
    weights = dict(zip(("params", "stats"), arrays, strict=True))
    settings, skeleton = running.settings_of(plan.card), plan.card.skeleton
    dtype = jnp.float16 if half else jnp.float32

    def compute(weights, crops):
        network = models.fold_batch_norm(structure, weights["params"], weights["stats"])
        graph, params, stats = network
        # What remains of batch norm stays in float32: a large mean would cost digits.
        params = jax.tree.map(lambda x: x.astype(dtype), params)

        def forward(images):
            maps, _ = models.apply(graph, params, stats, images.astype(dtype))
            return maps.astype(jnp.float32)

        maps = inference.crop_heatmaps(forward, crops, settings, skeleton)
        if plan.returns_heatmaps:
            return {"heatmaps": maps}
        cells, strides, scores = inference.read_cells(maps, crops.shape[1], settings)
        return {"keypoints": cells * strides, "scores": scores}

    return weights, compute


def metadata(plan: Plan, license_text: str) -> dict[str, str]:
    """What a program that runs the file needs to know, and the model card, as texts by name."""
    card, skeleton = plan.card, plan.card.skeleton
    return {
        "joints": json.dumps(skeleton.names),
        "flip_pairs": json.dumps(skeleton.flip_pairs),
        "limbs": json.dumps(skeleton.limbs),
        "input_size": json.dumps(card.input_size),
        "box_padding": json.dumps(card.box_padding),
        "udp": json.dumps(card.encoding == "udp"),
        "decode": HEATMAPS if plan.returns_heatmaps else card.decode,
        "flip_test": json.dumps(card.flip_test),
        "license": license_text,
        model_card.FILE: model_card.to_text(card),
    }
