"""The page's scripts without a browser: crops equal OpenCV's, models say what they are."""

import json
import pathlib
import shutil
import subprocess

import cv2
import numpy as np
import pytest

from data_pipelines import geometry
from data_pipelines.transforms import ops
from hrjax.export import web_page

UNITS = pathlib.Path(__file__).with_name("units.test.js")
CROPS = """
import fs from "node:fs";
import { cropMatrix, warp } from "./crop.js";
for (const { file, width, height, box, udp, crop } of JSON.parse(fs.readFileSync("cases.json"))) {
  const facts = { inputSize: [64, 48], boxPadding: 1.25, udp };
  const picture = { data: new Uint8Array(fs.readFileSync(file)), width, height };
  const pixels = warp(picture, cropMatrix(box, facts), [64, 48], new Uint8Array(64 * 48 * 3));
  fs.writeFileSync(crop, pixels);
}
"""
FACTS = """
import fs from "node:fs";
import { readFacts } from "./model_file.js";
console.log(JSON.stringify(readFacts(fs.readFileSync(process.argv[2]))));
"""


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    """Runs node in a folder with the page's scripts: its output."""
    program = shutil.which("node")
    if program is None:
        pytest.skip("requires node")
    folder = tmp_path_factory.mktemp("scripts")
    for script in (*web_page.PAGE.glob("*.js"), UNITS):
        shutil.copy(script, folder)
    (folder / "package.json").write_text('{"type": "module"}')

    def run(*arguments):
        command = [program, *map(str, arguments)]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run.folder = folder
    return run


def test_units(node):
    assert "fail 0" in node("--test", UNITS.name)


def test_crops_equal_those_that_networks_are_trained_on(node):
    rng = np.random.default_rng(0)
    cases, crops = [], []
    for number in range(12):
        height, width = map(int, rng.integers(2, 300, 2))
        pixels = rng.integers(0, 256, (height, width, 4), np.uint8)
        (node.folder / f"{number}.rgba").write_bytes(pixels.tobytes())
        # From a few pixels to far beyond the picture, also beside it.
        box = [*rng.uniform(-100, 250, 2), *rng.uniform(1, 400, 2)]
        udp = bool(number % 2)
        files = {"file": f"{number}.rgba", "crop": f"{number}.rgb"}
        cases.append({"width": width, "height": height, "box": box, "udp": udp, **files})
        center, size = geometry.box_center_size(box)
        image = cv2.cvtColor(pixels, cv2.COLOR_RGBA2RGB)
        example = {"image": image, "center": center, "size": size, "keypoints": np.zeros((0, 2))}
        crops.append(ops.Crop((64, 48), udp)(example, None)["image"])
    (node.folder / "cases.json").write_text(json.dumps(cases))
    (node.folder / "crops.js").write_text(CROPS)
    node("crops.js")
    assert sum(crop.any() for crop in crops) > 6
    for case, crop in zip(cases, crops, strict=True):
        ours = np.frombuffer((node.folder / case["crop"]).read_bytes(), np.uint8)
        np.testing.assert_array_equal(ours.reshape(64, 48, 3), crop)


def test_the_facts_of_an_exported_network(node, portable):
    (node.folder / "facts.js").write_text(FACTS)
    facts = json.loads(node("facts.js", portable.onnx))
    card = portable.card
    assert facts["joints"] == [*card.skeleton.names]
    assert facts["limbs"] == [[*limb] for limb in card.skeleton.limbs]
    assert facts["inputSize"] == [*card.input_size]
    assert (facts["boxPadding"], facts["udp"], facts["license"]) == (1.25, False, "CC0")
    assert (facts["decode"], facts["variant"]) == (card.decode, card.variant)
