"""scripts/calibrate.py: who fits and who tests, what is compared, and where curves are saved."""

import argparse
import pathlib

import numpy as np
import pytest

from configs import common
from data_pipelines import datasets
from hrjax import models, oks, recipes
from hrjax.detections import Predictions
from hrjax.evaluation import protocols
from hrjax.prediction import trained_network
from hrjax.training import train
from hrjax.weights import checkpoints, file_formats, model_card, source, torch_names
from scripts import calibrate
from tests.conftest import micro_config


@pytest.fixture(scope="module")
def people(drawn):
    return datasets.read("coco", str(drawn), "train")


@pytest.fixture(scope="module")
def guesses(people):
    """Predictions that are off by a known amount and know it, but promise too little."""
    rng = np.random.default_rng(0)
    truth, areas = people.columns["keypoints"].astype(float), people.columns["area"]
    count = np.array(truth.shape[:2])
    off = rng.uniform(0, 0.2, (len(people), 1)) * np.sqrt(areas)[:, None]
    angles = rng.uniform(0, 2 * np.pi, count)
    direction = np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    alike = oks.joint_similarity(off**2 * np.ones(count), areas, people.skeleton.sigmas)
    keypoints = truth + off[..., None] * direction
    return Predictions(keypoints, 0.25 + 0.3 * alike), alike


def protocol():
    return protocols.from_config(recipes.find("litehrnet_18", "coco"))


def test_no_image_both_fits_and_tests(people):
    fitted, tested = calibrate.halves(people, 0.5, 0)
    images = people.columns["image_id"]
    assert not set(images[fitted]) & set(images[tested])
    assert sorted([*fitted, *tested]) == list(range(len(people)))
    assert len(set(images[fitted])) == 5
    again, _ = calibrate.halves(people, 0.5, 0)
    np.testing.assert_array_equal(again, fitted)
    few, _ = calibrate.halves(people, 1e-9, 0)
    assert len(set(images[few])) == 1


def test_a_part_of_a_split_has_the_truth_of_its_images(people, guesses):
    rows, _ = calibrate.halves(people, 0.5, 0)
    part = calibrate.take(people, rows)
    assert len(part) == len(rows) == part.truth.counted.sum()
    own = part.truth.image_ids[part.truth.image_rows]
    np.testing.assert_array_equal(own, part.columns["image_id"])
    np.testing.assert_allclose(part.truth.keypoints, part.columns["keypoints"], rtol=1e-6)
    assert len(part.truth.image_names) == len(set(own))


def test_similarities_are_those_of_oks(people, guesses):
    predictions, alike = guesses
    joints, labeled, whole = calibrate.similarities(people, predictions)
    np.testing.assert_allclose(joints, alike, rtol=1e-3, atol=1e-4)
    np.testing.assert_array_equal(labeled, people.columns["visible"] > 0)
    np.testing.assert_allclose(whole, (alike * labeled).sum(1) / labeled.sum(1), atol=1e-3)


def test_scores_are_nearer_to_what_comes_of_them_afterwards(people, guesses):
    predictions, _ = guesses
    found = calibrate.fit(people, predictions, protocol())
    assert found.people == len(people)
    header, before, after = calibrate.compare(people, predictions, protocol(), found).split("\n")
    assert header.split("  ")[-1] == "AR"
    before, after = (list(map(float, row.split()[1:])) for row in (before, after))
    for place in (0, 1):
        assert after[place] < 0.5 * before[place]
    assert after[2] == pytest.approx(before[2], abs=0.05)


def test_what_cannot_be_calibrated_is_an_error(people, drawn, tmp_path):
    mpii = datasets.read("mpii", str(drawn), "val")
    config = recipes.find("litehrnet_18", "mpii")
    with pytest.raises(ValueError, match="mpii val has no areas or no sigmas"):
        calibrate.check_split(mpii, config)
    config = recipes.find("litehrnet_18", "coco")
    config.eval.boxes = "detections.json"
    with pytest.raises(ValueError, match=r"config\.eval\.boxes is 'detections\.json'; scores are"):
        calibrate.check_split(people, config)
    options = argparse.Namespace(fit=1.5)
    with pytest.raises(ValueError, match=r"--fit=1\.5: expected a share between 0 and 1"):
        calibrate.calibrate(options)


def test_a_file_of_weights_needs_a_place_for_the_copy(tmp_path):
    opened = source.Source(tmp_path / "weights.npz", tensors={})
    with pytest.raises(ValueError, match=r"weights\.npz is a file, which stays as it is; name an"):
        calibrate.check_output(opened, None)
    with pytest.raises(ValueError, match="exists already; choose another --output"):
        calibrate.check_output(opened, tmp_path)
    assert not calibrate.check_output(opened, tmp_path / "copy")
    assert calibrate.check_output(source.Source(tmp_path / "step"), None)


@pytest.fixture
def run(monkeypatch, capsys):
    def command(*arguments):
        monkeypatch.setattr("sys.argv", ["calibrate.py", *map(str, arguments)])
        calibrate.main()
        return capsys.readouterr().out

    return command


@pytest.mark.long
def test_a_run_and_a_file_are_calibrated(run, drawn, tmp_path):
    config = micro_config(drawn)
    coco = common.recipe("", default="pose_resnet_50", dataset="coco", input_size=(32, 32))
    with config.unlocked():
        config.data.dataset, config.eval.split, config.train.epochs = "coco", "train", 1
        config.model.num_joints = coco.model.num_joints
        config.eval.every_epochs = 1
    train.train(config, tmp_path / "run")
    step = checkpoints.find(str(tmp_path / "run"))
    printed = run(f"--checkpoint={tmp_path}/run")
    assert f"saved in {step / 'model.json'}" in printed
    assert "logistic curves" in printed
    network = trained_network.load(tmp_path / "run")
    assert network.calibration.dataset == "coco"
    assert network.calibration.people + int(printed.split("tested on ")[1].split()[0]) == 19
    # Training goes on from a calibrated step, and a copy of it keeps its curves.
    copy = tmp_path / "copy.npz"
    assert f"{copy}: pose_resnet_50" in run(f"--checkpoint={step}", f"--output={copy}")
    assert trained_network.load(copy).calibration == network.calibration
    card = model_card.read(step / "model.json")
    _, params, stats = models.split(models.create("pose_resnet_50", **card.fields))
    plain = tmp_path / "plain.npz"
    file_formats.write(plain, torch_names.to_torch("pose_resnet_50", params, stats), None)
    recipe = tmp_path / "recipe.py"
    recipe.write_text(pathlib.Path("configs/resnet_coco.py").read_text())
    with pytest.raises(SystemExit, match=r"error: .*plain\.npz is a file, which stays as it is"):
        run(f"--checkpoint={plain}", f"--root={drawn}", f"--config={recipe}")
