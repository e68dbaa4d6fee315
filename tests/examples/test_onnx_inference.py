"""The example finds what Predictor finds, in a process that cannot import JAX or hrjax."""

import pathlib
import subprocess
import sys

import cv2
import numpy as np
import pytest

import hrjax

EXAMPLE = pathlib.Path(__file__).parents[2] / "examples" / "onnx_inference.py"
BLOCKED = ("jax", "jaxlib", "flax", "hrjax", "data_pipelines", "onnx", "scipy")
RUN = f"""
import runpy, sys
sys.modules.update(dict.fromkeys({BLOCKED}))
sys.argv[:] = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.parametrize("encoding", ["msra", "udp"])
def test_the_example_finds_the_same_keypoints_without_jax(portable, tmp_path, encoding):
    photo, picture = tmp_path / "photo.png", tmp_path / "pose.png"
    image = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    cv2.imwrite(str(photo), image[..., ::-1])
    file = portable.onnx
    if encoding == "udp":
        file = export_udp(portable, tmp_path)
    command = [sys.executable, "-c", RUN, EXAMPLE, file, photo, picture, "--box=10,5,30,50"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines()]
    poses = hrjax.Predictor(file)(image, [(10, 5, 30, 50)])
    assert [row[0] for row in rows] == [*portable.card.skeleton.names]
    keypoints = [[float(number) for number in row[1:3]] for row in rows]
    np.testing.assert_allclose(keypoints, poses.keypoints[0], atol=0.051)  # printed to 0.1
    assert cv2.imread(str(picture)).shape == image.shape


def export_udp(portable, folder):
    import dataclasses

    from hrjax.weights import source

    card = dataclasses.replace(portable.card, encoding="udp", decode="udp")
    opened = dataclasses.replace(source.open(portable.weights), saved_card=card)
    return hrjax.export_onnx(opened, folder / "udp.onnx")


def test_the_example_is_short():
    assert len(EXAMPLE.read_text().splitlines()) <= 70
