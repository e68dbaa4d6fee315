"""StableHLO programs are for one platform and need neither hrjax nor the checkpoint."""

import json
import subprocess
import sys

import jax
import numpy as np
import pytest
import tiny_networks

import hrjax
from hrjax import models
from hrjax.export import programs, stablehlo

RUN = """
import pathlib, sys
sys.modules.update(dict.fromkeys(["hrjax", "flax", "data_pipelines"]))
import jax, numpy
exported = jax.export.deserialize(bytearray(pathlib.Path(sys.argv[1]).read_bytes()))
results = exported.call(numpy.load(sys.argv[2]))
numpy.savez(sys.argv[3], **results)
"""


def test_a_program_runs_without_hrjax_for_any_number_of_crops(portable, tmp_path):
    file = hrjax.export_stablehlo(portable.weights, tmp_path / "model.cpu", license_text="CC0")
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    np.save(tmp_path / "crops.npy", np.stack([image] * 3))
    command = [sys.executable, "-c", RUN, file, tmp_path / "crops.npy", tmp_path / "results.npz"]
    subprocess.run(command, check=True)
    with np.load(tmp_path / "results.npz") as file:
        results = dict(file)
    predictor = hrjax.Predictor(portable.onnx)
    keypoints, scores = predictor._network.program.run(np.stack([image] * 3))
    np.testing.assert_allclose(results["keypoints"], keypoints, atol=1e-3)
    np.testing.assert_allclose(results["scores"], scores, rtol=1e-4)
    told = json.loads((tmp_path / "model.cpu.json").read_text())
    assert (told["input_size"], told["license"]) == ("[32, 32]", "CC0")


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_a_program_is_lowered_for_its_platform(portable, tmp_path, platform):
    file = hrjax.export_stablehlo(portable.weights, tmp_path / "model", platform=platform, batch=2)
    exported = jax.export.deserialize(bytearray(file.read_bytes()))
    assert exported.platforms == (platform,)
    assert 'inlineable = "false"' not in exported.mlir_module()
    assert exported.in_avals[0].shape == (2, 32, 32, 3)


def test_an_unknown_platform_lists_the_choices(portable, tmp_path):
    with pytest.raises(
        ValueError,
        match=r"unknown platform 'npu'; did you mean cpu or tpu\? Choose one of: cpu, cuda",
    ):
        hrjax.export_stablehlo(portable.weights, tmp_path / "model", platform="npu")


@pytest.mark.long
@pytest.mark.parametrize("name", tiny_networks.TINY)
def test_every_family_is_exported_for_any_number_of_crops(name, portable):
    import dataclasses

    model = hrjax.create(name, **tiny_networks.TINY[name])
    model.eval()
    card = dataclasses.replace(portable.card, variant=name, input_size=(64, 64), flip_test=False)
    plan = programs.Plan(models.split(model), card, returns_heatmaps=True)
    for platform in ("cpu", "cuda", "tpu"):
        exported = stablehlo.lower(plan, platform)
        assert str(exported.in_avals[0].shape[0]) == "batch"
