"""Matching and curves are pycocotools', on recorded and on crowded made-up people."""

import json

import numpy as np
import pytest
from pycocotools.cocoeval import Params

from data_pipelines import ground_truth
from data_pipelines.skeletons import COCO
from hrjax import detections
from hrjax.error_analysis import matching
from hrjax.evaluation import average_precision, result_files


def read(folder, contents, results):
    """The truth in the contents of an annotation file, and the results as detections."""
    for name, content in (("truth", contents), ("results", results)):
        (folder / f"{name}.json").write_text(json.dumps(content))
    known = ground_truth.read(folder / "truth.json", COCO, category="person")
    if not results:
        return known, detections.make([], np.zeros((0, 17, 2)), np.zeros((0, 17)), [])
    return known, result_files.read(folder / "results.json").detections()


def solve(known, people, max_people=20):
    """Curves of detections, the ranked ones, and the annotations that they match."""
    ranked = matching.rank(people, max_people)
    first, second = matching.pairs(ranked, known)
    points = ranked.detections.keypoints[first]
    alike = matching.similarity(points, known, second, COCO.sigmas)
    matched = matching.match(ranked, known, known.counted, alike, first, second)
    return matching.curves(ranked, known.counted, matched), ranked, matched


def scene(seed, images=6, people=5, detections=30):
    """Annotations and results of people that stand so close that they are confused."""
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
    size = {"width": 300, "height": 300}
    numbers = range(1, images + 2)
    contents = {"images": [{"id": x, "file_name": f"{x}.jpg", **size} for x in numbers]}
    contents |= {"annotations": annotations, "categories": [{"id": 1, "name": "person"}]}
    return contents, results


@pytest.mark.parametrize("max_people", [20, 5, 0])
@pytest.mark.parametrize("seed", range(3))
def test_curves_are_those_of_pycocotools(tmp_path, seed, max_people):
    known, people = read(tmp_path, *scene(seed))
    expected = average_precision.coco_ap(people, known, max_people=max_people)
    assert 0.1 < expected["AP"] < 0.9
    curves, ranked, _ = solve(known, people, max_people)
    assert curves.ap == pytest.approx(expected["AP"], abs=1e-12)
    assert curves.ar == pytest.approx(expected["AR"], abs=1e-12)
    assert np.bincount(ranked.detections.image_ids).max() == (max_people or 30)


def test_of_people_in_the_same_place_the_last_is_taken(tmp_path):
    contents, _ = scene(0, images=1, people=1, detections=0)
    joints = np.array(contents["annotations"][0]["keypoints"]).reshape(17, 3)
    joints[:, 2] = 2
    contents["annotations"] = [
        {**contents["annotations"][0], "id": number, "area": area, "num_keypoints": 17}
        | {"keypoints": joints.ravel().tolist()}
        for number, area in ((1, 1000.0), (2, 30000.0))
    ]
    results = []
    for score, off in ((0.9, 0.0), (0.8, 6.0)):  # the second fits the larger person better
        entry = {"image_id": 1, "category_id": 1, "score": score}
        results.append({**entry, "keypoints": (joints + np.array([off, 0, 0])).ravel().tolist()})
    known, people = read(tmp_path, contents, results)
    curves, _, matched = solve(known, people)
    expected = average_precision.coco_ap(people, known)["AR"]
    assert curves.ar == pytest.approx(expected, abs=1e-12)
    assert set(matched[0]) == {1}


def read_sample(shared):
    """The truth of recorded people of COCO and results about them."""
    results = shared / "reference/golden/metrics/coco_val2017_sample_results.json"
    annotations = shared / "samples/coco/annotations/person_keypoints_val2017.json"
    known = ground_truth.read(annotations, COCO, category="person")
    return known, result_files.read(results).detections()


def test_curves_of_real_people_are_the_recorded_ones(shared):
    recorded = np.load(shared / "reference/golden/metrics_ap.npz")
    curves, _, _ = solve(*read_sample(shared))
    np.testing.assert_allclose(curves.precision, recorded["coco_precision"][:, :, 0, 0, 0])
    np.testing.assert_allclose(curves.recall, recorded["coco_recall"][:, 0, 0, 0])


def test_similarities_of_one_image_are_the_recorded_ones(shared):
    recorded = np.load(shared / "reference/golden/metrics_ap.npz")["coco_oks_785"]
    known, people = read_sample(shared)
    ranked = matching.rank(people.take(np.flatnonzero(people.image_ids == 785)), 20)
    first, second = matching.pairs(ranked, known)
    points = ranked.detections.keypoints[first]
    alike = matching.similarity(points, known, second, COCO.sigmas)
    np.testing.assert_allclose(alike.reshape(recorded.shape), recorded, atol=1e-12)


def test_thresholds_are_those_of_pycocotools():
    parameters = Params("keypoints")
    np.testing.assert_array_equal(matching.THRESHOLDS, parameters.iouThrs)
    np.testing.assert_array_equal(matching.RECALLS, parameters.recThrs)


def test_no_detections_match_nothing(tmp_path):
    contents, _ = scene(0)
    curves, _, matched = solve(*read(tmp_path, contents, []))
    assert curves.ap == curves.ar == 0
    assert matched.shape == (0, 10)


def test_no_annotations_are_minus_one(tmp_path):
    contents, results = scene(0)
    curves, _, _ = solve(*read(tmp_path, {**contents, "annotations": []}, results))
    assert curves.ap == curves.ar == -1
