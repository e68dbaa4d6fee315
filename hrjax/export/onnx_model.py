"""A trained network as one ONNX file: from crops to keypoints, or to heatmaps."""

from __future__ import annotations

import dataclasses
import os
import pathlib
from typing import TYPE_CHECKING

import numpy as np
from ml_collections import ConfigDict

from data_pipelines import files
from hrjax.export import programs
from hrjax.export.programs import Plan
from hrjax.export.translation import translate, writing
from hrjax.export.translation.onnx_graph import Graph
from hrjax.export.translation.values import Value
from hrjax.weights import source

if TYPE_CHECKING:
    import onnx

CROPS = "crops"
# What the axes mean, for people who look into the file.
AXES = {
    "crops": ("batch", "height", "width", "rgb"),
    "heatmaps": ("batch", "heatmap_height", "heatmap_width", "joint"),
    "keypoints": ("batch", "joint", "x_y"),
    "scores": ("batch", "joint"),
}


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
    int8_crops: np.ndarray | None = None,
    license_text: str = programs.LICENSE,
) -> pathlib.Path:
    """Writes a trained network as an ONNX file that needs neither JAX nor hrjax; its path.

    `checkpoint` is anything that `Predictor` takes. The file maps RGB crops (n, h, w, 3) uint8 to
    keypoints (n, k, 2), x and y in pixels of the crop, and their scores (n, k); with `decode`
    "none" to heatmaps (n, h/s, w/s, k). `decode` and `flip_test` default to the checkpoint's.
    `batch` fixes the number of crops. With `half`, weights and activations are float16. With
    `int8_crops`, 64 or so crops (n, h, w, 3) uint8 of training images, they are in eight bits; see
    `hrjax.quantization.post_training`. A network that was trained in simulated eight bits is in
    eight bits in any case. The file carries the model card, and the license of its weights as
    `license_text`.
    """
    if half and int8_crops is not None:
        raise ValueError("half and int8_crops exclude each other: choose 16 or 8 bits")
    plan = programs.prepare(
        *(checkpoint, output),
        model=model,
        config=config,
        decode=decode,
        flip_test=flip_test,
        batch=batch,
    )
    if plan.card.quantization and int8_crops is not None:
        raise ValueError(f"the network {programs.IN_EIGHT_BITS}; leave out int8_crops")
    built = build(plan, half=half)
    describe(built, plan, license_text)
    if int8_crops is not None:
        built = _in_eight_bits(built, plan, int8_crops)
    path = pathlib.Path(output)
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_bytes(path, built.SerializeToString())
    return path


def build(plan: Plan, *, half: bool = False) -> onnx.ModelProto:
    """The ONNX program of a plan, without metadata."""
    weights, function = programs.crops_to_results(plan, half=half)
    shape = (translate.BATCH, *plan.card.input_size, 3)
    graph = Graph(translate.BATCH, plan.batch)
    (stored,) = graph.add("Transpose", [CROPS], perm=[0, 3, 1, 2])
    order = (0, 3, 1, 2)
    crops = Value(stored, shape, np.dtype(np.uint8), order, tuple(shape[axis] for axis in order))
    try:
        results = translate.trace(graph, function, weights, [crops])
    except ValueError as error:
        raise ValueError(f"{plan.card.variant} cannot be exported to ONNX: {error}") from error
    return writing.to_model(graph, {CROPS: (shape, np.uint8)}, results, AXES)


def _in_eight_bits(built, plan, crops):
    """The program quantized, as found best for the heatmaps of the crops without flip test."""
    from hrjax.quantization import post_training

    size = tuple(plan.card.input_size)
    if crops.ndim != 4 or crops.shape[1:] != (*size, 3) or crops.dtype != np.uint8:
        raise ValueError(
            f"int8_crops is {crops.dtype} {crops.shape}; expected uint8 {('n', *size, 3)}"
        )
    card = dataclasses.replace(plan.card, flip_test=False)
    plain = dataclasses.replace(plan, card=card, returns_heatmaps=True, batch=0)
    quantized, _ = post_training.quantize(built, build(plain), crops)
    return quantized


def describe(built: onnx.ModelProto, plan: Plan, license_text: str) -> None:
    """Adds the metadata to a program."""
    for key, value in programs.metadata(plan, license_text).items():
        built.metadata_props.add(key=key, value=value)
