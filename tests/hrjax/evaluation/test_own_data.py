"""Files that users bring: perfect predictions score AP 1, whatever tools have written.

From the file over the reader, the metric and results.json, with both libraries and with pycocotools
on the user's own file.
"""

import contextlib
import copy
import io
import json
import pathlib
import sys
import tempfile

import coco_files
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from configs import hrnet_custom
from hrjax import experiment
from hrjax.detections import Predictions
from hrjax.evaluation import evaluate, metrics, protocols, reports

NAMES = ("tip", "left_edge", "right_edge", "left_foot", "right_foot")
CELL = 240  # pixels; each thing has a square of its own
PROPERTY = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


def recipe(root, joints, **data):
    config = hrnet_custom.get_config("hrnet_tiny")
    with config.unlocked():
        config.data.root, config.model.num_joints = str(root), joints
        config.data.update(data)
    return config


@contextlib.contextmanager
def library(name):
    """Lets AP be computed by pycocotools or by faster_coco_eval."""
    pytest.importorskip(name)
    with pytest.MonkeyPatch.context() as patch:
        if name == "pycocotools":
            patch.setitem(sys.modules, "faster_coco_eval", None)
        yield


LIBRARIES = pytest.mark.parametrize("name", ["pycocotools", "faster_coco_eval"])


def things(*, pictures=3, columns=2, rows=1):
    """The contents of an annotation file: things of five joints, each in a cell of its own."""
    rng = np.random.default_rng(0)
    size = {"width": CELL * columns, "height": CELL * rows}
    images = [{"id": n, "file_name": f"{n}.jpg", **size} for n in range(1, pictures + 1)]
    annotations = []
    for image, place in np.ndindex(pictures, columns * rows):
        corner = CELL * np.array([place % columns, place // columns])
        points = corner + rng.integers(60, 180, (5, 2))
        entry = {"id": len(annotations) + 1, "image_id": image + 1, "category_id": 1}
        entry |= {"bbox": [*(corner + 50).tolist(), 140, 140], "area": 140 * 140, "iscrowd": 0}
        entry |= {"num_keypoints": 5, "keypoints": np.insert(points, 2, 2, axis=1).ravel().tolist()}
        annotations.append(entry)
    category = {"id": 1, "name": "thing", "keypoints": list(NAMES), "skeleton": []}
    return {"images": images, "annotations": annotations, "categories": [category]}


def write(folder, document, split="val"):
    (folder / "images").mkdir(parents=True, exist_ok=True)
    (folder / "annotations").mkdir(exist_ok=True)
    (folder / f"annotations/{split}.json").write_text(json.dumps(document))


def perfect(split):
    """Predictions that are the truth."""
    keypoints = split.columns["keypoints"]
    return Predictions(np.array(keypoints), np.ones(keypoints.shape[:2], np.float32))


def evaluate_perfect(folder, **data):
    """The evaluation of perfect predictions on a file of things, and its results.json."""
    config = recipe(folder, 5, **data)
    split = experiment.open_held_out(config)
    protocol = protocols.from_config(config)
    evaluation, _ = evaluate.report(protocol, split, perfect(split), folder / "run")
    return evaluation, json.loads((folder / "run/eval/val/results.json").read_text())


def each(**fields):
    """An edit that sets fields of all annotations; a function is called with the entry."""

    def edit(document):
        for entry in document["annotations"]:
            entry |= {key: x(entry) if callable(x) else x for key, x in fields.items()}

    return edit


def other_category(*missing, **changes):
    """An edit that makes every second thing one of another category, and changes it."""

    def edit(document):
        document["categories"].append({"id": 2, "name": "other", "keypoints": list(NAMES)})
        for entry in document["annotations"][1::2]:
            entry |= {"category_id": 2, **changes}
            for name in missing:
                del entry[name]

    return edit


def first(*missing, **fields):
    """An edit of the first annotation."""

    def edit(document):
        document["annotations"][0] |= fields
        for name in missing:
            del document["annotations"][0][name]

    return edit


def whole_ids_as_floats(document):
    for entry in (*document["images"], *document["annotations"]):
        entry |= {name: float(entry[name]) for name in ("id", "image_id") if name in entry}


EDITS = {
    "a category that looks alike": (other_category(), 3),
    "a category without joints": (other_category("keypoints"), 3),
    "a category with empty joints": (other_category(keypoints=[]), 3),
    "a category with other joints": (other_category(keypoints=[1, 2, 2]), 3),
    "ids that begin anew in each image": (each(id=lambda entry: 2 - entry["id"] % 2), 6),
    "ids from 0 on": (each(id=lambda entry: entry["id"] - 1), 6),
    "negative ids": (each(id=lambda entry: -entry["id"]), 6),
    "ids of null": (each(id=None), 6),
    "an id of 21 digits": (first(id=10**20), 6),
    "a box without keypoints": (first("keypoints", "num_keypoints"), 5),
    "a box with empty keypoints": (first(keypoints=[], num_keypoints=0), 5),
    "counts of 0": (each(num_keypoints=0), 6),
    "counts as floats": (each(num_keypoints=5.0), 6),
    "crowds of null": (each(iscrowd=None), 6),
    "crowds of 0.0": (each(iscrowd=0.0), 6),
    "ids as floats": (whole_ids_as_floats, 6),
    "areas of 0": (each(area=0), 6),
    "areas of null": (each(area=None), 6),
}


@LIBRARIES
@pytest.mark.parametrize("case", EDITS)
def test_perfect_predictions_score_one_with(case, name, tmp_path):
    edit, people = EDITS[case]
    document = things()
    edit(document)
    write(tmp_path, document)
    with library(name):
        evaluation, results = evaluate_perfect(tmp_path, category="thing")
    assert evaluation.numbers["AP"] == pytest.approx(1)
    assert evaluation.numbers["PCK@0.05"] == 1
    assert len(results) == people


def test_results_carry_the_category_id_of_the_file(tmp_path):
    document = things()
    document["categories"][0]["id"] = 3
    each(category_id=3)(document)
    write(tmp_path, document)
    evaluation, results = evaluate_perfect(tmp_path)
    assert evaluation.numbers["AP"] == pytest.approx(1)
    assert {entry["category_id"] for entry in results} == {3}
    assert sorted(entry["image_id"] for entry in results) == [1, 1, 2, 2, 3, 3]


def test_thirty_things_in_an_image_all_count(tmp_path):
    write(tmp_path, things(pictures=1, columns=6, rows=5))
    evaluation, results = evaluate_perfect(tmp_path)
    assert evaluation.numbers["AP"] == pytest.approx(1)
    assert len(results) == 30


def test_soft_nms_keeps_thirty_things_too(tmp_path):
    write(tmp_path, things(pictures=1, columns=6, rows=5))
    config = recipe(tmp_path, 5)
    config.eval.nms = "soft"
    split = experiment.open_held_out(config)
    protocol = protocols.from_config(config)
    assert metrics.score(protocol, split, perfect(split)).numbers["AP"] == pytest.approx(1)


def test_a_split_without_annotations_gets_its_results_and_no_numbers(tmp_path):
    document = things()
    write(tmp_path, {**document, "annotations": []}, split="test")
    boxes = [
        {**{name: entry[name] for name in ("image_id", "category_id", "bbox")}, "score": 0.9}
        for entry in document["annotations"]
    ]
    (tmp_path / "boxes.json").write_text(json.dumps(boxes))
    config = recipe(tmp_path, 5)
    config.eval.split, config.eval.boxes = "test", str(tmp_path / "boxes.json")
    split = experiment.open_held_out(config)
    points = np.array([entry["keypoints"] for entry in document["annotations"]]).reshape(-1, 5, 3)
    predictions = Predictions(points[..., :2].astype(float), np.ones((6, 5)))
    protocol = protocols.from_config(config)
    evaluation, _ = evaluate.report(
        protocol, split, predictions, tmp_path / "run", error_analysis=True
    )
    folder = tmp_path / "run/eval/test"
    assert evaluation.numbers == {}
    assert len(json.loads((folder / "results.json").read_text())) == 6
    assert json.loads((folder / "metrics.json").read_text()).keys() == {"protocol"}


def test_image_ids_that_are_used_twice_are_refused(tmp_path):
    document = things()
    document["images"].append({**document["images"][0], "file_name": "again.jpg"})
    write(tmp_path, document)
    with pytest.raises(ValueError, match=r"image id 1 is used twice, by 1\.jpg and again\.jpg"):
        experiment.open_held_out(recipe(tmp_path, 5))


# Any file


def open_file(file, folder):
    """The protocol and the split of a file that a strategy drew."""
    file.write(folder)
    config = recipe(folder, len(file.names), category=file.category)
    return protocols.from_config(config), experiment.open_held_out(config)


def predict(file, noise=0.0):
    """The poses of the people that count, with `noise` of some pixels."""
    rng = np.random.default_rng(0)
    poses = file.poses[list(file.counted)]
    scores = rng.uniform(0.3, 1, poses.shape[:2])
    return Predictions(poses + noise * rng.standard_normal(poses.shape), scores)


@LIBRARIES
@PROPERTY
@given(file=coco_files.files())
def test_perfect_predictions_score_one_on_any_file(name, file):
    with tempfile.TemporaryDirectory() as folder, library(name):
        protocol, split = open_file(file, pathlib.Path(folder))
        numbers = metrics.score(protocol, split, predict(file)).numbers
    assert numbers["AP"] == pytest.approx(1)
    assert numbers["AR"] == pytest.approx(1)
    assert numbers["PCK@0.05"] == 1


@PROPERTY
@given(file=coco_files.flawed_files())
def test_a_file_with_a_flaw_is_refused_with_a_message_that_names_it(file):
    with tempfile.TemporaryDirectory() as folder, pytest.raises(ValueError, match=file.flaw):
        open_file(file, pathlib.Path(folder))


@LIBRARIES
@PROPERTY
@given(file=coco_files.plain_files())
def test_pycocotools_agrees_on_the_users_own_file(name, file):
    with tempfile.TemporaryDirectory() as folder, library(name):
        root = pathlib.Path(folder)
        protocol, split = open_file(file, root)
        predictions = predict(file, noise=4)
        evaluation = metrics.score(protocol, split, predictions)
        annotations, results = root / "annotations/val.json", root / "results.json"
        reports.save_results(split, predictions, evaluation, results)
        expected = ap_by_pycocotools(annotations, results, split.skeleton.sigmas, file.category_id)
    # faster-coco-eval adds no tiny number where pycocotools divides.
    tolerance = 0 if name == "pycocotools" else 1e-12
    assert evaluation.numbers["AP"] == pytest.approx(expected, rel=0, abs=tolerance)


def ap_by_pycocotools(annotations, results, sigmas, category_id):
    """AP of two files as its users compute it, with all people of an image."""
    with contextlib.redirect_stdout(io.StringIO()):
        known = COCO(str(annotations))
        evaluation = COCOeval(known, copy.deepcopy(known).loadRes(str(results)), "keypoints")
        evaluation.params.kpt_oks_sigmas = np.array(sigmas)
        evaluation.params.maxDets = [coco_files.MAX_ANNOTATIONS]
        evaluation.params.catIds = [category_id]
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"][:, :, :, 0]
    return precision[precision > -1].mean()
