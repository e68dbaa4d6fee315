"""Matching and curves are pycocotools', on recorded and on crowded made-up people."""

import json

import numpy as np
import pytest
from pycocotools.cocoeval import Params

from data_pipelines.skeletons import COCO
from hrjax.error_analysis import matching
from hrjax.evaluation import average_precision


def solve(results, contents):
    """Curves of results in COCO's format against the contents of an annotation file."""
    truth, found = matching.read_truth(contents, 17), matching.read_found(results, 17)
    first, second = matching.pairs(found, truth)
    alike = matching.similarity(found.keypoints[first], truth, second, COCO.sigmas)
    matched = matching.match(found, truth, alike, first, second)
    return matching.curves(found, truth, matched), found, matched


def scene(seed, images=6, people=5, detections=30):
    """Annotations and results of people who stand so close that they are mistaken for others."""
    rng = np.random.default_rng(seed)
    poses = rng.uniform(0, 60, (images, people, 17, 2)) + 30 * np.arange(people)[:, None, None]
    labels = rng.integers(0, 3, (images, people, 17, 1))
    annotations, results = [], []
    for image, person in np.ndindex(images, people):
        flags = labels[image, person] * (person < people - 1)  # the last one has no labels
        joints = np.concatenate([poses[image, person] * (flags > 0), flags], -1)
        fields = {"id": len(annotations) + 1, "image_id": image + 1, "category_id": 1}
        fields |= {"iscrowd": int(person == 2), "num_keypoints": int((flags > 0).sum())}
        fields |= {"area": 3000.0, "bbox": [*poses[image, person].min(0).tolist(), 70, 70]}
        annotations.append({**fields, "keypoints": joints.ravel().tolist()})
    for image, _ in np.ndindex(images, detections):
        person, noise = rng.integers(people), rng.uniform(0, 8)
        points = poses[image, person] + rng.normal(0, noise, (17, 2))
        joints = np.concatenate([points, np.ones((17, 1))], -1)
        score = rng.integers(0, 10) / 10  # so that some are equal
        results.append({"image_id": image + 1, "category_id": 1, "score": score})
        results[-1]["keypoints"] = joints.ravel().tolist()
    contents = {"images": [{"id": image} for image in range(1, images + 2)]}
    contents |= {"annotations": annotations, "categories": [{"id": 1, "name": "person"}]}
    return contents, results


@pytest.mark.parametrize("seed", range(3))
def test_curves_are_those_of_pycocotools(tmp_path, seed):
    contents, results = scene(seed)
    path = tmp_path / "people.json"
    path.write_text(json.dumps(contents))
    expected = average_precision.coco_ap(results, str(path))
    assert 0.1 < expected["AP"] < 0.9
    curves, found, _ = solve(results, contents)
    assert curves.ap == pytest.approx(expected["AP"], abs=1e-12)
    assert curves.ar == pytest.approx(expected["AR"], abs=1e-12)
    assert np.bincount(found.images).max() == 20


def test_of_people_in_the_same_place_the_last_is_taken(tmp_path):
    contents, _ = scene(0, images=1, people=1, detections=0)
    joints = np.array(contents["annotations"][0]["keypoints"]).reshape(17, 3)
    joints[:, 2] = 2
    people = [
        {**contents["annotations"][0], "id": number, "area": area, "num_keypoints": 17}
        | {"keypoints": joints.ravel().tolist()}
        for number, area in ((1, 1000.0), (2, 30000.0))
    ]
    contents["annotations"] = people
    results = []
    for score, off in ((0.9, 0.0), (0.8, 6.0)):  # the second fits the larger person better
        entry = {"image_id": 1, "category_id": 1, "score": score}
        results.append({**entry, "keypoints": (joints + np.array([off, 0, 0])).ravel().tolist()})
    path = tmp_path / "people.json"
    path.write_text(json.dumps(contents))
    expected = average_precision.coco_ap(results, str(path))["AR"]
    curves, _, matched = solve(results, contents)
    assert curves.ar == pytest.approx(expected, abs=1e-12)
    assert set(matched[0]) == {1}


def test_curves_of_real_people_are_the_recorded_ones(shared):
    folder = shared / "reference/golden"
    recorded = np.load(folder / "metrics_ap.npz")
    results = json.loads((folder / "metrics/coco_val2017_sample_results.json").read_text())
    truth = shared / "samples/coco/annotations/person_keypoints_val2017.json"
    curves, _, _ = solve(results, average_precision.read_truth(str(truth)))
    np.testing.assert_allclose(curves.precision, recorded["coco_precision"][:, :, 0, 0, 0])
    np.testing.assert_allclose(curves.recall, recorded["coco_recall"][:, 0, 0, 0])


def test_similarities_of_one_image_are_the_recorded_ones(shared):
    folder = shared / "reference/golden"
    recorded = np.load(folder / "metrics_ap.npz")["coco_oks_785"]
    results = json.loads((folder / "metrics/coco_val2017_sample_results.json").read_text())
    results = [entry for entry in results if entry["image_id"] == 785]
    contents = average_precision.read_truth(
        str(shared / "samples/coco/annotations/person_keypoints_val2017.json")
    )
    truth, found = matching.read_truth(contents, 17), matching.read_found(results, 17)
    first, second = matching.pairs(found, truth)
    alike = matching.similarity(found.keypoints[first], truth, second, COCO.sigmas)
    np.testing.assert_allclose(alike.reshape(recorded.shape), recorded, atol=1e-12)


def test_thresholds_are_those_of_pycocotools():
    parameters = Params("keypoints")
    np.testing.assert_array_equal(matching.THRESHOLDS, parameters.iouThrs)
    np.testing.assert_array_equal(matching.RECALLS, parameters.recThrs)
    assert parameters.maxDets == [matching.BEST]


def test_no_results_find_nobody():
    contents, _ = scene(0)
    curves, _, matched = solve([], contents)
    assert curves.ap == curves.ar == 0
    assert matched.shape == (0, 10)


def test_nobody_to_find_is_minus_one():
    contents, results = scene(0)
    truth = matching.read_truth({**contents, "annotations": []}, 17)
    found = matching.read_found(results, 17)
    curves = matching.curves(found, truth, np.full((len(found.rows), 10), -1))
    assert curves.ap == curves.ar == -1
