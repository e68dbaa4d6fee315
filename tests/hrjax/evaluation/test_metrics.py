"""Metrics by name for every kind of dataset; predictions that are not numbers."""

import dataclasses
import json

import numpy as np
import pytest

from configs import common
from data_pipelines import ground_truth, skeletons
from data_pipelines.splits import Split
from hrjax.detections import Predictions
from hrjax.evaluation import metrics, protocols

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
    size = {"width": 300, "height": 300}
    images = [
        {"id": image, "file_name": f"{image}.jpg", "crowdIndex": 0.5, **size} for image in (4, 5, 6)
    ]
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
    known = ground_truth.read(path, skeleton, category="person")
    return Split("val", skeleton, str(path), columns, {}, truth=known)


def predict(split, off=0.0):
    """The truth, `off` pixels to the right."""
    keypoints = split.columns["keypoints"] + np.array([off, 0], np.float32)
    return Predictions(keypoints, np.full(keypoints.shape[:2], 0.9, np.float32))


@pytest.fixture
def config():
    return common.recipe("", default="hrnet_tiny", dataset="coco", input_size=(256, 192))


def score(config, split, predictions):
    return metrics.score(protocols.from_config(config), split, predictions)


COCO_FIELDS = {"num_keypoints": 17, "area": 6000.0, "iscrowd": 0}


def test_coco_is_scored_by_its_ten_numbers(config, tmp_path):
    split = make_split(tmp_path, **COCO_FIELDS)
    evaluation = score(config, split, predict(split))
    assert len(evaluation.numbers) == 10
    assert evaluation.numbers["AP"] == pytest.approx(1)
    assert evaluation.score == evaluation.numbers["AP"]
    assert evaluation.table.split()[:2] == ["AP", "AP"]


def test_crowdpose_is_scored_by_its_nine_numbers(config, tmp_path):
    sigmas = (0.05,) * 14
    skeleton = dataclasses.replace(
        skeletons.COCO, names=tuple("abcdefghijklmn"), sigmas=sigmas, flip_pairs=(), limbs=()
    )
    config.eval.metrics = "crowdpose_ap"
    split = make_split(tmp_path, skeleton, num_keypoints=12, iscrowd=0)
    evaluation = score(config, split, predict(split))
    assert len(evaluation.numbers) == 9
    assert evaluation.numbers["AP (M)"] == pytest.approx(1)
    assert evaluation.numbers["AP (E)"] == evaluation.numbers["AP (H)"] == -1
    assert evaluation.detections.keypoints.shape == (3, 14, 2)


HAND = skeletons.Skeleton(("wrist", "thumb", "tip"), (), ((0, 1), (1, 2)), (0.1,) * 3, ())


def test_your_own_dataset_is_scored_by_distances_and_ap(config, tmp_path):
    config.eval.metrics = "keypoints"
    split = make_split(tmp_path, HAND)
    evaluation = score(config, split, predict(split, off=7.0))
    # 7 of 100 pixels, the longest side; nearer than 7.5 pixels, the sixth of 20 thresholds.
    assert evaluation.numbers["PCK@0.05"] == 0
    assert evaluation.numbers["PCK@0.2"] == 1
    assert evaluation.numbers["AUC"] == pytest.approx(15 / 20)
    assert evaluation.numbers["EPE"] == pytest.approx(7, abs=1e-5)
    # OKS exp(-49 / (2 * 0.2² * 8000)) = 0.926 passes 9 of 10.
    assert evaluation.numbers["AP"] == pytest.approx(0.9)
    assert metrics.score_name(protocols.from_config(config)) == "PCK@0.05"


def test_jhmdb_is_scored_by_boxes_and_torsos(config, tmp_path):
    config.eval.metrics = "jhmdb"
    split = make_split(tmp_path, skeletons.JHMDB)
    predictions = predict(split)
    wrist, ankle = (split.skeleton.names.index(name) for name in ("left_wrist", "left_ankle"))
    predictions.keypoints[:, wrist, 0] += 19  # of 100 pixels, the longer side
    predictions.keypoints[:2, ankle, 0] += 21
    # The joints lie on a diagonal, a fourteenth of 0.8 sides apart; left shoulder and right hip are
    # neighbors: a torso of 7.3 pixels.
    evaluation = score(config, split, predictions)
    numbers = evaluation.numbers
    assert numbers["PCK@0.2 Wrist"] == numbers["PCK@0.2 Head"] == 1
    assert numbers["PCK@0.2 Ankle"] == pytest.approx((1 + 1 / 3) / 2)
    assert numbers["PCK@0.2"] == pytest.approx((14 + 1 / 3) / 15)
    assert numbers["tPCK@0.2 Wrist"] == pytest.approx(1 / 2)
    assert numbers["tPCK@0.2"] == pytest.approx((13 + 1 / 3) / 15)
    assert evaluation.score == numbers["PCK@0.2"]
    assert evaluation.table.split()[:3] == ["Head", "Shoulder", "Elbow"]
    predictions.keypoints[2, wrist, 0] += 1.4 - 19  # a fifth of 7.3 pixels is 1.46
    again = score(config, split, predictions).numbers
    assert again["tPCK@0.2 Wrist"] == pytest.approx((1 + 1 / 3) / 2)


def test_posetrack_is_scored_in_sizes_of_heads(config, tmp_path):
    config.eval.metrics = "posetrack"
    split = make_split(tmp_path, skeletons.POSETRACK18)
    evaluation = score(config, split, predict(split, off=7.0))
    assert "mAP" not in evaluation.numbers
    assert "annotations.json has no boxes of heads" in evaluation.table
    heads = np.tile([0.0, 0, 30, 40], (3, 1))  # half of 0.6 times 50 pixels is 15
    split = dataclasses.replace(split, truth=dataclasses.replace(split.truth, heads=heads))
    right = score(config, split, predict(split, off=7.0))
    assert right.score == right.numbers["mAP"] == right.numbers["mAP Head"] == 1
    assert right.numbers["PCK@0.2"] == 1
    assert right.table.split()[:3] == ["mAP", "Head", "Shoulder"]
    assert score(config, split, predict(split, off=16.0)).numbers["mAP"] == 0


def test_jhmdb_in_detected_boxes_has_only_ap(config, tmp_path):
    config.eval.metrics, config.eval.boxes = "jhmdb", "boxes.json"
    split = make_split(tmp_path, skeletons.JHMDB)
    evaluation = score(config, split, predict(split))
    assert "tPCK@0.2" not in evaluation.numbers
    assert evaluation.score == pytest.approx(1)


def test_joints_without_sigmas_have_no_ap_and_no_nms(config, tmp_path):
    config.eval.metrics = "keypoints"
    split = make_split(tmp_path, dataclasses.replace(HAND, sigmas=()))
    evaluation = score(config, split, predict(split))
    assert list(evaluation.numbers) == ["PCK@0.05", "PCK@0.2", "AUC", "EPE"]
    assert "without AP and NMS: OKS needs the sigmas" in evaluation.table
    assert len(evaluation.detections) == 3


def test_detected_boxes_of_your_own_dataset_have_only_ap(config, tmp_path):
    config.eval.metrics, config.eval.boxes = "keypoints", "boxes.json"
    split = make_split(tmp_path, HAND)
    evaluation = score(config, split, predict(split))
    assert "PCK@0.05" not in evaluation.numbers
    assert "a detected box does not say which person it is of" in evaluation.table
    assert evaluation.score == pytest.approx(1)


def test_detected_boxes_without_sigmas_leave_nothing_to_measure(config, tmp_path):
    config.eval.metrics, config.eval.boxes = "keypoints", "boxes.json"
    split = make_split(tmp_path, dataclasses.replace(HAND, sigmas=()))
    with pytest.raises(ValueError, match="nothing to measure: detected boxes"):
        score(config, split, predict(split))


@pytest.mark.parametrize(("nms", "kept"), [("hard", 3), ("soft", 4), ("none", 4)])
def test_people_detected_twice_are_dropped_as_asked(config, tmp_path, nms, kept):
    split = make_split(tmp_path, **COCO_FIELDS)
    columns = {key: np.append(value, value[:1], axis=0) for key, value in split.columns.items()}
    split = dataclasses.replace(split, columns={**columns, "box_score": [0.5, 0.6, 0.7, 0.9]})
    split.columns["box_score"] = np.array(split.columns["box_score"])
    config.eval.nms = nms
    evaluation = score(config, split, predict(split))
    assert len(evaluation.detections) == kept
    # The better of the two comes first, with the box's score times the joints'.
    assert evaluation.detections.person_scores[0] == pytest.approx(0.9 * 0.9)


def test_joints_below_the_threshold_do_not_count_in_the_score(config, tmp_path):
    split = make_split(tmp_path, **COCO_FIELDS)
    predictions = predict(split)
    predictions.joint_scores[:, 0] = 0.3
    config.eval.joint_threshold = 0.4
    evaluation = score(config, split, predictions)
    assert evaluation.detections.person_scores[0] == pytest.approx(0.9)


@pytest.mark.parametrize("metric", ["coco_ap", "keypoints"])
def test_people_with_broken_heatmaps_count_as_not_detected(config, tmp_path, caplog, metric):
    config.eval.metrics = metric
    split = make_split(tmp_path, **COCO_FIELDS)
    predictions = predict(split)
    predictions.joint_scores[1, 3] = np.nan
    evaluation = score(config, split, predictions)
    assert "the heatmaps of 1 of 3 people hold NaN or infinite numbers" in caplog.text
    assert len(evaluation.detections) == 2
    assert evaluation.numbers["AR"] == pytest.approx(2 / 3)
    assert evaluation.numbers.get("PCK@0.2", 2 / 3) == pytest.approx(2 / 3)
    assert np.isfinite(list(evaluation.numbers.values())).all()


def test_nothing_but_broken_heatmaps_is_an_error(config, tmp_path):
    split = make_split(tmp_path, **COCO_FIELDS)
    predictions = Predictions(predict(split).keypoints, np.full((3, 17), np.nan))
    with pytest.raises(ValueError, match="all predictions of coco val hold NaN or infinite"):
        score(config, split, predictions)


@pytest.mark.parametrize("metric", ["coco_ap", "crowdpose_ap", "keypoints"])
def test_without_annotations_there_are_detections_and_no_numbers(config, tmp_path, metric):
    config.eval.metrics, config.eval.boxes = metric, "boxes.json"
    split = make_split(tmp_path, **COCO_FIELDS)
    split = dataclasses.replace(split, truth=dataclasses.replace(split.truth, annotated=False))
    evaluation = score(config, split, predict(split))
    assert evaluation.numbers == {}
    assert np.isnan(evaluation.score)
    assert len(evaluation.detections) == 3
    assert "no ground truth" in evaluation.table


@pytest.mark.parametrize(("off", "within"), [(4.9, 1), (5.1, 0)])
def test_pck_measures_in_sides_of_the_box_without_its_padding(config, tmp_path, off, within):
    config.eval.metrics = "keypoints"
    split = make_split(tmp_path, HAND)
    # 0.05 of the longer side, 100 pixels; with the padding of the crop it would be 6.25 pixels.
    assert score(config, split, predict(split, off)).numbers["PCK@0.05"] == within


def test_people_beyond_the_limit_are_named_in_the_log(config, tmp_path, caplog):
    caplog.set_level("INFO")
    split = make_split(tmp_path, **COCO_FIELDS)
    config.eval.max_people = 1
    evaluation = score(config, split, predict(split))
    assert evaluation.numbers["AR"] == pytest.approx(2 / 3)
    assert "1 images have more than 1 annotated people" in caplog.text
    assert "set config.eval.max_people=2 or more" in caplog.text


def test_detections_beyond_the_limit_are_counted_in_the_log(config, tmp_path, caplog):
    caplog.set_level("INFO")
    split = make_split(tmp_path, **COCO_FIELDS)
    columns = {key: np.append(value, value[:1], axis=0) for key, value in split.columns.items()}
    split = dataclasses.replace(split, columns=columns)
    config.eval.max_people, config.eval.nms = 2, "none"
    score(config, split, predict(split))
    assert "AP leaves out 1 detections of 1 images with more than 2" in caplog.text


def test_only_metrics_of_benchmarks_compare_twenty_people(config):
    assert protocols.from_config(config).max_people == 20
    config.eval.metrics = "keypoints"
    assert protocols.from_config(config).max_people == 0
    config.eval.max_people = 7
    assert protocols.from_config(config).max_people == 7


def test_an_unknown_metric_or_nms_lists_the_choices(config):
    config.eval.metrics = "map"
    with pytest.raises(ValueError, match=r"config.eval.metrics 'map'; choose one of: coco_ap, cro"):
        metrics.check(protocols.from_config(config))
    config.eval.metrics, config.eval.nms = "", "greedy"
    with pytest.raises(ValueError, match=r"config.eval.nms 'greedy'; choose one of: hard, soft"):
        metrics.check(protocols.from_config(config))


def test_a_metric_of_another_dataset_says_what_is_missing(config, tmp_path):
    config.eval.metrics = "pckh"
    split = make_split(tmp_path, **COCO_FIELDS)
    with pytest.raises(ValueError, match="coco val does not have: truth_keypoints, truth_visible"):
        score(config, split, predict(split))
