"""A trained network as one ONNX file: from crops to keypoints, or to heatmaps."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
from collections.abc import Callable
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from data_pipelines import files
from hrjax import inference, models
from hrjax.export import translate, writing
from hrjax.export.onnx_graph import Graph
from hrjax.export.values import Value
from hrjax.inference import PredictionSettings
from hrjax.weights import model_card, source
from hrjax.weights.model_card import ModelCard

if TYPE_CHECKING:
    import onnx

INPUT = "crops"
HEATMAPS = "none"  # the decoding of a file that returns heatmaps
LICENSE = (
    "The program in this file was written by hrjax, which is under the Apache License 2.0. Its "
    "weights have the license of their authors, which may depend on the data they are trained on."
)


def export_onnx(
    checkpoint: str | os.PathLike | source.Source,
    output: str | os.PathLike,
    *,
    model: str = "",
    config: ConfigDict | None = None,
    decode: str = "",
    flip_test: bool | None = None,
    batch: int | None = None,
    half: bool = False,
    license_text: str = LICENSE,
) -> pathlib.Path:
    """Writes a trained network as an ONNX file that needs neither JAX nor hrjax; its path.

    `checkpoint` is anything that `Predictor` takes. The file maps RGB crops (n, h, w, 3) uint8 to
    keypoints (n, k, 2), x and y in pixels of the crop, and their scores (n, k); with `decode`
    "none" to heatmaps (n, h/s, w/s, k). `decode` and `flip_test` default to the checkpoint's.
    `batch` fixes the number of crops. With `half`, weights and activations are float16. The file
    carries the model card, and the license of its weights as `license_text`.
    """
    if batch is not None and batch < 1:
        raise ValueError(f"batch must be a positive number of crops, or None for any; got {batch}")
    opened = source.open(checkpoint, model=model)
    if config is not None:
        opened = opened.with_config(config)
    card, returns_heatmaps = opened.card, decode == HEATMAPS
    card = dataclasses.replace(
        card,
        decode=card.decode if returns_heatmaps else decode or card.decode,
        flip_test=card.flip_test if flip_test is None else flip_test,
    )
    files.require_no_input([output], [opened.location])
    program = crops_to_heatmaps if returns_heatmaps else crops_to_keypoints
    built = build(opened.restore(), card, program, batch=batch or 0, half=half)
    describe(built, card, license_text=license_text, decode=HEATMAPS if returns_heatmaps else "")
    path = pathlib.Path(output)
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_bytes(path, built.SerializeToString())
    return path


def settings_of(card: ModelCard) -> PredictionSettings:
    """How crops become keypoints, as a model card says."""
    names = ("input_size", "color", "encoding", "sigma", "decode", "flip_test")
    return PredictionSettings(**{name: getattr(card, name) for name in names}, fold_batch_norm=True)


def crops_to_heatmaps(forward: Callable, crops: jax.Array, card: ModelCard) -> dict:
    """The heatmaps of crops, by the name of the output."""
    return {"heatmaps": inference.crop_heatmaps(forward, crops, settings_of(card), card.skeleton)}


def crops_to_keypoints(forward: Callable, crops: jax.Array, card: ModelCard) -> dict:
    """The keypoints of crops in their pixels, and the scores."""
    settings = settings_of(card)
    maps = inference.crop_heatmaps(forward, crops, settings, card.skeleton)
    cells, strides, scores = inference.read_cells(maps, crops.shape[1], settings)
    return {"keypoints": cells * strides, "scores": scores}


def build(
    network: tuple, card: ModelCard, program: Callable, *, batch: int = 0, half: bool = False
) -> onnx.ModelProto:
    """The ONNX program of a network (graph, params, stats) from crops to what `program` returns.

    `program` is `crops_to_keypoints`, `crops_to_heatmaps`, or a function like them. `batch` is the
    number of crops, 0 for any.
    """
    structure, params, stats = network
    dtype = jnp.float16 if half else jnp.float32

    def compute(weights, crops):
        folded = models.fold_batch_norm(structure, weights["params"], weights["stats"])
        # What remains of batch norm stays in float32: a large mean would cost digits.
        graph, params, stats = folded
        params = jax.tree.map(lambda x: x.astype(dtype), params)

        def forward(images):
            maps, _ = models.apply(graph, params, stats, images.astype(dtype))
            return maps.astype(jnp.float32)

        return program(forward, crops, card)

    shape = (batch or translate.BATCH, *card.input_size, 3)
    graph = Graph(0 if batch else translate.BATCH)
    (stored,) = graph.add("Transpose", [INPUT], perm=[0, 3, 1, 2])
    sizes = (shape[0], 3, *card.input_size)
    crops = Value(stored, shape, np.dtype(np.uint8), (0, 3, 1, 2), sizes)
    try:
        results = translate.trace(graph, compute, {"params": params, "stats": stats}, [crops])
    except ValueError as error:
        raise ValueError(f"{card.variant} cannot be exported to ONNX: {error}") from error
    return writing.to_model(graph, {INPUT: (shape, np.uint8)}, results, AXES)


AXES = {
    "crops": ("batch", "height", "width", "rgb"),
    "heatmaps": ("batch", "heatmap_height", "heatmap_width", "joint"),
    "keypoints": ("batch", "joint", "x_y"),
    "scores": ("batch", "joint"),
}


def describe(
    built: onnx.ModelProto, card: ModelCard, *, license_text: str, decode: str = ""
) -> None:
    """Adds the metadata: what a program that runs the file needs to know, and the model card."""
    skeleton = card.skeleton
    texts = {
        "joints": json.dumps(skeleton.names),
        "flip_pairs": json.dumps(skeleton.flip_pairs),
        "limbs": json.dumps(skeleton.limbs),
        "input_size": json.dumps(card.input_size),
        "box_padding": json.dumps(card.box_padding),
        "decode": decode or card.decode,
        "flip_test": json.dumps(card.flip_test),
        "license": license_text,
        model_card.FILE: model_card.to_text(card),
    }
    for key, value in texts.items():
        built.metadata_props.add(key=key, value=value)
