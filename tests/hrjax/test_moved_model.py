"""One step of a run is all that another machine needs: no data, no run, no repository."""

import json
import os
import pathlib
import shutil
import subprocess
import sys

import cv2
import jax
import numpy as np
import pytest

import hrjax
from hrjax import main, recipes
from hrjax.runtime import distributed
from hrjax.training import resume, train
from hrjax.weights import source
from scripts import convert_weights

ROOT = pathlib.Path(__file__).parent.parent.parent
NAMES = ("tail", "left_hoof", "right_hoof", "left_ear", "right_ear")
RECIPE = """
from hrjax import recipes

def get_config(variant=""):
    config = recipes.base("pose_resnet_50", "custom", (32, 32))
    config.model.update({"num_joints": 5, "width": 4, "blocks": (1,), "deconvs": 0})
    config.data.skeleton.limbs = ((0, 1), (0, 2))
    config.train.update({"batch_size": 8, "epochs": 2})
    config.eval.update({"batch_size": 8, "every_epochs": 2})
    config.heatmap.encoding = config.eval.decode = "udp"
    return config.lock()
"""


def write_data(root):
    """Pictures of five bright dots each, in the layout of a custom dataset."""
    random = np.random.default_rng(0)
    (root / "images").mkdir(parents=True)
    (root / "annotations").mkdir()
    images, people = [], []
    for number in range(1, 9):
        joints = random.integers(10, 54, (5, 2))
        picture = np.zeros((64, 64, 3), np.uint8)
        for x, y in joints.tolist():
            cv2.circle(picture, (x, y), 3, (255, 255, 255), cv2.FILLED)
        cv2.imwrite(str(root / "images" / f"{number}.png"), picture)
        images.append({"id": number, "file_name": f"{number}.png", "height": 64, "width": 64})
        keypoints = np.concatenate([joints, np.full((5, 1), 2)], axis=1).ravel().tolist()
        person = {"id": number, "image_id": number, "category_id": 1, "keypoints": keypoints}
        people.append(person | {"bbox": [4, 4, 56, 56], "area": 3136, "iscrowd": 0})
        people[-1]["num_keypoints"] = 5
    category = {"id": 1, "name": "horse", "keypoints": NAMES}
    contents = {"images": images, "annotations": people, "categories": [category]}
    for split in ("train", "val"):
        (root / "annotations" / f"{split}.json").write_text(json.dumps(contents))


@pytest.fixture(scope="module")
def moved(tmp_path_factory):
    """A folder with nothing but a step under another name, a recipe, and data elsewhere."""
    first = tmp_path_factory.mktemp("first machine")
    write_data(first / "data")
    (first / "recipe.py").write_text(RECIPE)
    config = recipes.read(str(first / "recipe.py"))
    with config.unlocked():
        config.data.root = str(first / "data")
    train.train(config, first / "run", mesh=distributed.make_mesh(jax.devices()[:1]))
    (step,) = (first / "run" / "checkpoints").iterdir()
    second = tmp_path_factory.mktemp("second machine")
    shutil.copytree(step, second / "empty" / "my horses")
    shutil.move(first / "data", second / "data")
    shutil.move(first / "recipe.py", second / "recipe.py")
    expected = json.loads((first / "run/eval/val/metrics.json").read_text())
    shutil.rmtree(first)
    return second, expected


def assert_alike(numbers, expected):
    """Of few steps only the distance of joints is not 0; devices differ by rounding."""
    assert expected["EPE"] > 1
    for name in ("PCK@0.2", "AUC", "AP"):
        assert numbers[name] == pytest.approx(expected[name], abs=1e-6)
    assert numbers["EPE"] == pytest.approx(expected["EPE"], abs=1e-3)


def test_a_moved_step_predicts_evaluates_converts_and_fine_tunes(moved, tmp_path, monkeypatch):
    second, expected = moved
    monkeypatch.chdir(second / "empty")
    monkeypatch.setattr(main.logging, "basicConfig", lambda **_: None)
    predictor = hrjax.Predictor("my horses")
    assert predictor.skeleton.names == NAMES
    assert predictor.skeleton.flip_pairs == ((1, 2), (3, 4))
    assert predictor.skeleton.limbs == ((0, 1), (0, 2))
    people = predictor(str(second / "data" / "images" / "1.png"))

    card = source.open("my horses").card
    assert (card.metric, card.dataset, card.decode) == ("PCK@0.05", "custom", "udp")
    assert card.score == expected["PCK@0.05"]

    data = f"--config.data.root={second / 'data'}"
    arguments = ["main", "--mode=eval", "--checkpoint=my horses", data, f"--workdir={tmp_path}"]
    monkeypatch.setattr(sys, "argv", arguments)
    assert main.main() == 0
    numbers = json.loads((tmp_path / "eval/val/metrics.json").read_text())
    assert_alike(numbers, expected)

    for output in ("folder", "file.npz", "file.safetensors"):
        convert_weights.convert("my horses", tmp_path / output)
        same = hrjax.Predictor(tmp_path / output)(str(second / "data" / "images" / "1.png"))
        np.testing.assert_array_equal(same.keypoints, people.keypoints)
        assert source.open(tmp_path / output).card == card

    config = recipes.read(str(second / "recipe.py"))
    with config.unlocked():
        config.data.root, config.init_from = str(second / "data"), "my horses"
    job, state = train.prepare(config)
    state = resume.load_weights(config, state)
    _, params, _ = source.open("my horses").restore()
    for name, leaf in params["final"].items():
        np.testing.assert_array_equal(state.params["final"][name], leaf)
    assert job.card.num_joints == 5


def run(site, folder, *command):
    """A process that finds the packages in `site` and works in `folder`."""
    environment = {**os.environ, "PYTHONPATH": str(site), "XLA_FLAGS": ""}
    done = subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@pytest.mark.long
def test_processes_that_see_the_step_alone_do_the_same(moved, tmp_path):
    second, expected = moved
    site, empty = tmp_path / "site", second / "empty"
    for package in ("hrjax", "configs", "data_pipelines"):
        shutil.copytree(ROOT / package, site / package)
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts")
    data, image = f"--config.data.root={second / 'data'}", second / "data" / "images" / "1.png"
    checkpoint = "--checkpoint=my horses"

    out = run(site, empty, "-m", "hrjax.main", "--mode=eval", checkpoint, data)
    assert "with the config of its model card, but data.root is " in out
    numbers = json.loads((empty / "runs/eval_my horses/eval/val/metrics.json").read_text())
    assert_alike(numbers, expected)

    output = f"--output={tmp_path / 'drawn'}"
    predict = tmp_path / "scripts" / "predict.py"
    run(site, empty, predict, checkpoint, f"--source={image}", output)
    (result,) = json.loads((tmp_path / "drawn" / "results.json").read_text())
    assert len(result["keypoints"]) == 15

    # Prediction needs no recipe: not even the packaged ones are imported.
    code = "import hrjax, sys; hrjax.Predictor('my horses'); print('configs' in sys.modules)"
    assert run(site, empty, "-c", code).split()[-1] == "False"

    convert = tmp_path / "scripts" / "convert_weights.py"
    run(site, empty, convert, "--source=my horses", f"--output={tmp_path / 'a.safetensors'}")
    code = "import hrjax, sys; print(hrjax.load(sys.argv[1]).final.kernel.shape[-1])"
    assert run(site, empty, "-c", code, tmp_path / "a.safetensors").split()[-1] == "5"

    recipe = f"--config={second / 'recipe.py'}"
    tuned = ("--config.init_from=my horses", "--config.train.epochs=1", "--workdir=tuned")
    out = run(site, empty, "-m", "hrjax.main", recipe, data, *tuned)
    assert f"starting from the weights of {empty / 'my horses'}\n" in out
    assert (empty / "tuned" / "checkpoints").is_dir()
