"""Metrics by name for every kind of dataset; predictions that are not numbers."""

import dataclasses
import json

import numpy as np
import pytest

from configs import common
from data_pipelines import skeletons
from data_pipelines.splits import Split
from hrjax.evaluation import scoring

BOXES = np.array([[10.0, 10, 80, 100], [120, 10, 80, 100], [10, 200, 80, 100]])


def make_split(tmp_path, skeleton=skeletons.COCO, **annotation):
    """Three people in two images, whose joints lie on diagonals, and the file they are from."""
    k = skeleton.num_joints
    steps = np.linspace(0.1, 0.9, k)[:, None]
    keypoints = BOXES[:, None, :2] + steps * BOXES[:, None, 2:]
    annotations = [
        {
            "id": row + 1,
            "image_id": image,
            "category_id": 1,
            "bbox": BOXES[row].tolist(),
            "keypoints": np.append(keypoints[row], np.full((k, 1), 2.0), axis=1).ravel().tolist(),
            **annotation,
        }
        for row, image in enumerate((4, 4, 5))
    ]
    images = [{"id": image, "file_name": f"{image}.jpg", "crowdIndex": 0.5} for image in (4, 5, 6)]
    path = tmp_path / "annotations.json"
    contents = {"images": images, "annotations": annotations}
    path.write_text(json.dumps({**contents, "categories": [{"id": 1, "name": "person"}]}))
    columns = {
        "image_path": np.array(["4.jpg", "4.jpg", "5.jpg"]),
        "center": (BOXES[:, :2] + BOXES[:, 2:] / 2).astype(np.float32),
        "size": (1.25 * BOXES[:, :1:-1]).astype(np.float32),
        "keypoints": keypoints.astype(np.float32),
        "visible": np.ones((3, k), np.float32),
        "image_id": np.array([4, 4, 5]),
    }
    return Split("val", skeleton, str(path), columns, {})


def predict(split, off=0.0):
    """The truth, but for `off` pixels to the right."""
    keypoints = split.columns["keypoints"] + np.array([off, 0], np.float32)
    return scoring.Predictions(keypoints, np.full(keypoints.shape[:2], 0.9, np.float32))


@pytest.fixture
def config():
    return common.recipe("", default="hrnet_tiny", dataset="coco", input_size=(256, 192))


COCO_FIELDS = {"num_keypoints": 17, "area": 6000.0, "iscrowd": 0}


def test_coco_is_scored_by_its_ten_numbers(config, tmp_path):
    split = make_split(tmp_path, **COCO_FIELDS)
    found = scoring.score(config, split, predict(split))
    assert len(found.numbers) == 10
    assert found.numbers["AP"] == pytest.approx(1)
    assert found.numbers[scoring.score_name(config)] == found.numbers["AP"]
    assert found.table.split()[:2] == ["AP", "AP"]


def test_crowdpose_is_scored_by_its_nine_numbers(config, tmp_path):
    sigmas = (0.05,) * 14
    skeleton = dataclasses.replace(
        skeletons.COCO, names=tuple("abcdefghijklmn"), sigmas=sigmas, flip_pairs=(), limbs=()
    )
    config.eval.metrics = "crowdpose_ap"
    split = make_split(tmp_path, skeleton, num_keypoints=12, iscrowd=0)
    found = scoring.score(config, split, predict(split))
    assert len(found.numbers) == 9
    assert found.numbers["AP (M)"] == pytest.approx(1)
    assert found.numbers["AP (E)"] == found.numbers["AP (H)"] == -1
    assert len(found.results[0]["keypoints"]) == 42


HAND = skeletons.Skeleton(("wrist", "thumb", "tip"), (), ((0, 1), (1, 2)), (0.1,) * 3, ())


def test_your_own_dataset_is_scored_by_distances_and_ap(config, tmp_path):
    config.eval.metrics = "keypoints"
    split = make_split(tmp_path, HAND)
    found = scoring.score(config, split, predict(split, off=7.0))
    # 7 of 100 pixels, the longest side; nearer than 7.5 pixels, the sixth of 20 thresholds.
    assert found.numbers["PCK@0.05"] == 0
    assert found.numbers["PCK@0.2"] == 1
    assert found.numbers["AUC"] == pytest.approx(15 / 20)
    assert found.numbers["EPE"] == pytest.approx(7, abs=1e-5)
    # OKS exp(-49 / (2 * 0.2² * 0.53 * 8000)) = 0.866 passes 8 of 10.
    assert found.numbers["AP"] == pytest.approx(0.8)
    assert scoring.score_name(config) == "PCK@0.05"


def test_joints_without_sigmas_have_no_ap_and_no_nms(config, tmp_path):
    config.eval.metrics = "keypoints"
    split = make_split(tmp_path, dataclasses.replace(HAND, sigmas=()))
    found = scoring.score(config, split, predict(split))
    assert list(found.numbers) == ["PCK@0.05", "PCK@0.2", "AUC", "EPE"]
    assert "without AP and NMS: OKS needs the sigmas" in found.table
    assert len(found.results) == 3


def test_detected_boxes_of_your_own_dataset_have_only_ap(config, tmp_path):
    config.eval.metrics, config.eval.boxes = "keypoints", "boxes.json"
    split = make_split(tmp_path, HAND)
    found = scoring.score(config, split, predict(split))
    assert "PCK@0.05" not in found.numbers
    assert "a detected box does not say whose it is" in found.table
    assert found.numbers[scoring.score_name(config)] == pytest.approx(1)


def test_detected_boxes_without_sigmas_leave_nothing_to_measure(config, tmp_path):
    config.eval.metrics, config.eval.boxes = "keypoints", "boxes.json"
    split = make_split(tmp_path, dataclasses.replace(HAND, sigmas=()))
    with pytest.raises(ValueError, match="nothing to measure: detected boxes"):
        scoring.score(config, split, predict(split))


@pytest.mark.parametrize(("nms", "kept"), [("hard", 3), ("soft", 4), ("none", 4)])
def test_people_found_twice_are_dropped_as_asked(config, tmp_path, nms, kept):
    split = make_split(tmp_path, **COCO_FIELDS)
    columns = {key: np.append(value, value[:1], axis=0) for key, value in split.columns.items()}
    split = dataclasses.replace(split, columns={**columns, "box_score": [0.5, 0.6, 0.7, 0.9]})
    split.columns["box_score"] = np.array(split.columns["box_score"])
    config.eval.nms = nms
    found = scoring.score(config, split, predict(split))
    assert len(found.results) == kept
    # The better of the two comes first, with the box's score times the joints'.
    assert found.results[0]["score"] == pytest.approx(0.9 * 0.9)


def test_joints_below_the_threshold_do_not_count_in_the_score(config, tmp_path):
    split = make_split(tmp_path, **COCO_FIELDS)
    predictions = predict(split)
    predictions.scores[:, 0] = 0.3
    config.eval.joint_threshold = 0.4
    found = scoring.score(config, split, predictions)
    assert found.results[0]["score"] == pytest.approx(0.9)


@pytest.mark.parametrize("metric", ["coco_ap", "keypoints"])
def test_people_with_broken_heatmaps_count_as_not_found(config, tmp_path, caplog, metric):
    config.eval.metrics = metric
    split = make_split(tmp_path, **COCO_FIELDS)
    predictions = predict(split)
    predictions.scores[1, 3] = np.nan
    found = scoring.score(config, split, predictions)
    assert "the heatmaps of 1 of 3 people hold NaN or infinite numbers" in caplog.text
    assert len(found.results) == 2
    assert found.numbers["AR"] == pytest.approx(2 / 3)
    assert found.numbers.get("PCK@0.2", 2 / 3) == pytest.approx(2 / 3)
    assert np.isfinite(list(found.numbers.values())).all()


def test_nothing_but_broken_heatmaps_is_an_error(config, tmp_path):
    split = make_split(tmp_path, **COCO_FIELDS)
    predictions = scoring.Predictions(predict(split).keypoints, np.full((3, 17), np.nan))
    with pytest.raises(ValueError, match="all predictions of coco val hold NaN or infinite"):
        scoring.score(config, split, predictions)


def test_without_annotations_there_are_results_and_no_numbers(config, tmp_path):
    split = make_split(tmp_path, **COCO_FIELDS)
    with open(split.annotation_file, "w") as file:
        json.dump({"images": [{"id": 4}, {"id": 5}], "categories": []}, file)
    found = scoring.score(config, split, predict(split))
    assert found.numbers == {}
    assert len(found.results) == 3
    assert "no ground truth" in found.table


def test_an_unknown_metric_or_nms_lists_the_choices(config):
    config.eval.metrics = "map"
    with pytest.raises(ValueError, match=r"config.eval.metrics 'map'; choose one of: coco_ap, cro"):
        scoring.check(config)
    config.eval.metrics, config.eval.nms = "", "greedy"
    with pytest.raises(ValueError, match=r"config.eval.nms 'greedy'; choose one of: hard, soft"):
        scoring.check(config)


def test_a_metric_of_another_dataset_says_what_is_missing(config, tmp_path):
    config.eval.metrics = "pckh"
    split = make_split(tmp_path, **COCO_FIELDS)
    with pytest.raises(ValueError, match="coco val does not have: truth_keypoints, truth_visible"):
        scoring.score(config, split, predict(split))
