"""What evaluations leave behind: files for people, for servers and for other tools."""

import json
import re

import numpy as np
import pytest
import scipy.io

from hrjax import experiment
from hrjax.detections import Predictions
from hrjax.evaluation import metrics, protocols, reports


def perfect(split):
    """Predictions that are the truth."""
    keypoints = split.columns.get("truth_keypoints", split.columns["keypoints"])
    return Predictions(np.array(keypoints), np.ones(keypoints.shape[:2]))


def use_coco(config):
    config.data.dataset = "coco"
    config.model.num_joints = 17
    config.eval.oks_threshold = 1.0  # drawn people may stand close; none is dropped


def write(config, folder):
    split = experiment.open_held_out(config)
    write_predictions(config, split, perfect(split), folder)
    return split


def write_predictions(config, split, predictions, folder):
    protocol = protocols.from_config(config)
    evaluation = metrics.score(protocol, split, predictions)
    asked = config.eval.report
    reports.write(protocol, split, predictions, evaluation, folder, error_analysis=asked)


def test_metrics_say_how_they_came_about(tiny, tmp_path):
    use_coco(tiny)
    split = write(tiny, tmp_path)
    written = json.loads((tmp_path / "metrics.json").read_text())
    assert written["AP"] == pytest.approx(1)
    assert written["protocol"] == {
        "model": "widehrnet_18",
        "dataset": "coco",
        "split": "val",
        "people": len(split),
        "boxes": "ground truth",
        "flip_test": False,
        "decode": "quarter",
        "nms": "hard",
        "oks_threshold": 1.0,
        "joint_threshold": 0.2,
        "box_threshold": 0.0,
        "clip_boxes": False,
        "max_people": 20,
        "metric": "coco_ap",
        "input_size": [32, 32],
    }


def test_results_are_what_the_coco_server_takes(tiny, tmp_path):
    use_coco(tiny)
    split = write(tiny, tmp_path)
    entries = json.loads((tmp_path / "results.json").read_text())
    assert len(entries) == len(split)
    for entry in entries:
        assert list(entry) == ["image_id", "category_id", "keypoints", "score"]
        assert type(entry["image_id"]) is int
        assert entry["category_id"] == 1
        assert len(entry["keypoints"]) == 51
        assert all(type(number) is float for number in (*entry["keypoints"], entry["score"]))


def test_mpii_gets_the_official_pred_mat(tiny, tmp_path):
    split = write(tiny, tmp_path)
    predictions = scipy.io.loadmat(tmp_path / "pred.mat")["preds"]
    assert predictions.shape == (len(split), 16, 2)
    np.testing.assert_allclose(predictions, split.columns["truth_keypoints"] + 1)


def test_what_cannot_be_told_is_null(tiny, tmp_path):
    split = experiment.open_held_out(tiny)
    split.columns["truth_visible"][:, 9] = 0  # no person has a head
    write_predictions(tiny, split, perfect(split), tmp_path)
    text = (tmp_path / "metrics.json").read_text()
    assert json.loads(text)["PCKh@0.5 Head"] is None
    assert "NaN" not in text


def test_the_report_of_drawn_people_is_written_where_it_is_asked_for(tiny, tmp_path):
    use_coco(tiny)
    write(tiny, tmp_path / "without")
    assert not (tmp_path / "without/report.html").exists()
    tiny.eval.report = True
    write(tiny, tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert "ground-truth boxes, without flip test, quarter decoding, hard OKS-NMS" in page
    assert "data:image/jpeg" in page


@pytest.mark.parametrize(
    ("boxes", "nms", "expected"),
    [
        ("gt", "hard", "ground-truth boxes, with flip test, dark decoding, hard OKS-NMS"),
        ("x/d.json", "none", "detected boxes (d.json), with flip test, dark decoding, without NMS"),
    ],
)
def test_tables_name_boxes_flip_test_and_decoding(tiny, boxes, nms, expected):
    use_coco(tiny)
    split = experiment.open_held_out(tiny)
    tiny.eval.update(boxes=boxes, nms=nms, decode="dark", flip_test=True)
    assert (
        protocols.from_config(tiny).title("val", len(split))
        == f"coco val: {len(split)} people, {expected}"
    )


def test_outputs_have_endings_that_fit(tiny):
    reports.check_output(protocols.from_config(tiny), "")
    reports.check_output(protocols.from_config(tiny), "pred.mat")
    with pytest.raises(ValueError, match=r"--output=preds\.csv must end in one of: \.json, \.mat"):
        reports.check_output(protocols.from_config(tiny), "preds.csv")
    use_coco(tiny)
    reports.check_output(protocols.from_config(tiny), "results.json")
    with pytest.raises(ValueError, match=r"--output=pred\.mat: \.mat is MPII's format; .* coco"):
        reports.check_output(protocols.from_config(tiny), "pred.mat")


def test_mpii_has_a_report_too(tiny, tmp_path):
    tiny.eval.report = True
    split = experiment.open_held_out(tiny)
    predictions = perfect(split)
    rows = np.flatnonzero((split.columns["truth_visible"][:, [10, 15]] > 0).all(axis=1))
    predictions.keypoints[rows[:, None], [10, 15]] = predictions.keypoints[rows[:, None], [15, 10]]
    write_predictions(tiny, split, predictions, tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert "PCKh@0.11" in page
    assert "areas estimated from the heights" in page
    share = float(re.search(r"right_wrist: ([0-9.]+)% inversion", page).group(1))
    assert share > 30  # of those whose wrists are apart
