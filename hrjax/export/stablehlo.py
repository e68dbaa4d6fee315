"""A trained network as a StableHLO program of JAX, which runs without hrjax."""

import json
import os
import pathlib

import jax
import numpy as np
from ml_collections import ConfigDict

from data_pipelines import files
from data_pipelines.messages import choices
from hrjax import models
from hrjax.export import programs
from hrjax.export.programs import Plan
from hrjax.weights import source

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")


def export_stablehlo(
    checkpoint: str | os.PathLike | source.Source,
    output: str | os.PathLike,
    *,
    platform: str = "cpu",
    model: str = "",
    config: ConfigDict | None = None,
    decode: str = "",
    flip_test: bool | None = None,
    batch: int | None = None,
    half: bool = False,
    license_text: str = programs.LICENSE,
) -> pathlib.Path:
    """Writes a trained network as a program of `jax.export` for one platform; its path.

        exported = jax.export.deserialize(bytearray(pathlib.Path(output).read_bytes()))
        exported.call(crops)["keypoints"]

    Inputs, outputs and options are those of `export_onnx`; `platform` is cpu, cuda, rocm or tpu,
    and need not be present. `<output>.json` has the metadata that an ONNX file would carry. JAX
    promises that versions released within six months of the one in use read the file.
    """
    if platform not in PLATFORMS:
        raise ValueError(choices.unknown("platform", platform, PLATFORMS))
    plan = programs.prepare(
        *(checkpoint, output),
        model=model,
        config=config,
        decode=decode,
        flip_test=flip_test,
        batch=batch,
    )
    exported = lower(plan, platform, half=half)
    path = pathlib.Path(output)
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_bytes(path, bytes(exported.serialize()))
    told = programs.metadata(plan, license_text)
    files.write_text(path.with_name(f"{path.name}.json"), json.dumps(told, indent=1) + "\n")
    return path


def lower(plan: Plan, platform: str, *, half: bool = False) -> jax.export.Exported:
    """The program of a plan for a platform, which need not be present."""
    weights, function = programs.crops_to_results(plan, half=half)

    @jax.jit
    def run(crops):
        with models.lowering_for(platform), jax.default_matmul_precision("highest"):
            return function(weights, crops)

    count = plan.batch or jax.export.symbolic_shape("batch")[0]
    crops = jax.ShapeDtypeStruct((count, *plan.card.input_size, 3), np.uint8)
    return jax.export.export(run, platforms=[platform])(crops)
