"""PCKh, rescoring, NMS and AP against the official code's numbers and published scores."""

import contextlib
import io
import itertools
import json

import numpy as np
import pytest
import scipy.io

from data_pipelines.skeletons import COCO
from hrjax import metrics

TRUTH = ("pos_gt_src", "jnt_missing", "headboxes_src")


def from_mat(contents):
    """truth, present and head sizes from the fields of MPII's ground truth."""
    points, missing, boxes = (contents[key] for key in TRUTH)
    head_sizes = 0.6 * np.linalg.norm(boxes[1] - boxes[0], axis=0)
    return np.moveaxis(points, -1, 0) - 1, 1 - missing.T, head_sizes


def people(n=2):
    """Predictions that are right, and the rest of pckh's arguments, with heads of 10 pixels."""
    truth = np.arange(n * 32, dtype=float).reshape(n, 16, 2)
    return truth.copy(), truth, np.ones((n, 16)), np.full(n, 10.0)


def test_pckh_is_the_recorded_one(golden):
    recorded = np.load(golden / "metrics_pckh.npz")
    table = metrics.pckh_table(recorded["predictions"], *from_mat(recorded))
    expected = {name: float(recorded[f"official_{name}"]) for name in table["PCKh@0.5"]}
    assert table["PCKh@0.5"] == pytest.approx(expected, abs=1e-6)
    assert table["PCKh@0.10"]["Mean"] == pytest.approx(float(recorded["mean_0.1"]), abs=1e-6)
    assert table["PCKh@0.11"]["Mean"] == pytest.approx(float(recorded["mean_0.11"]), abs=1e-6)


def test_the_references_0_1_is_0_11(golden):
    recorded = np.load(golden / "metrics_pckh.npz")
    table = metrics.pckh_table(recorded["predictions"], *from_mat(recorded))
    reference = float(recorded["official_Mean@0.1"])
    assert table["PCKh@0.11"]["Mean"] == pytest.approx(reference, abs=1e-6)
    assert table["PCKh@0.10"]["Mean"] < reference - 2


def test_pckh_of_real_people_is_the_recorded_one(shared):
    folder = shared / "reference/golden"
    recorded = json.loads((folder / "metrics_pckh.json").read_text())["values"]["real_first500"]
    predictions = np.load(folder / "metrics/mpii_val_first500_preds.npz")["preds"]
    truth = from_mat(scipy.io.loadmat(folder / "metrics/mpii_val_first500_gt_valid.mat"))
    table = metrics.pckh_table(predictions, *truth)
    expected = recorded["official"]
    at_011 = expected.pop("Mean@0.1")
    assert table["PCKh@0.5"] == pytest.approx(expected, abs=1e-6)
    assert table["PCKh@0.10"]["Mean"] == pytest.approx(recorded["mean"]["0.1"], abs=1e-6)
    assert table["PCKh@0.11"]["Mean"] == pytest.approx(at_011, abs=1e-6)


@pytest.mark.parametrize(
    ("stacks", "at_05", "at_010"), [("s2", 87.299, 23.914), ("s8", 89.092, 24.494)]
)
def test_pckh_of_published_predictions_is_as_published(shared, stacks, at_05, at_010):
    published = shared / f"reference/published/evalmpii_bearpaw-hg_{stacks}_b1.mat"
    predictions = scipy.io.loadmat(published)["preds"] - 1.0
    truth = from_mat(scipy.io.loadmat(shared / "samples/mpii_annotations/mpii_gt_val.mat"))
    table = metrics.pckh_table(predictions, *truth)
    assert table["PCKh@0.5"]["Mean"] == pytest.approx(at_05, abs=5e-4)
    assert table["PCKh@0.10"]["Mean"] == pytest.approx(at_010, abs=5e-4)


def test_pckh_counts_a_distance_on_the_threshold():
    predictions, truth, present, head_sizes = people()
    predictions[0, 9, 0] += 5  # half a head size
    assert metrics.pckh(predictions, truth, present, head_sizes, 0.5)["Head"] == 100
    predictions[0, 9, 0] += 0.001
    assert metrics.pckh(predictions, truth, present, head_sizes, 0.5)["Head"] == 50


def test_pckh_weighs_sides_evenly_in_groups_and_by_people_in_the_mean():
    predictions, truth, present, head_sizes = people(3)
    predictions[:, 0] += 100  # the right ankle, which three people have
    present[1:, 5] = 0  # the left ankle, which one has
    scores = metrics.pckh(predictions, truth, present, head_sizes, 0.5)
    assert scores["Ankle"] == 50
    assert scores["Mean"] == pytest.approx(100 * 37 / 40)  # 14 joints of 3 people, less 2


def test_pckh_leaves_pelvis_and_thorax_out_but_not_the_neck():
    predictions, truth, present, head_sizes = people()
    predictions[:, 6:8] += 100
    assert metrics.pckh(predictions, truth, present, head_sizes, 0.5)["Mean"] == 100
    predictions[:, 8] += 100
    assert metrics.pckh(predictions, truth, present, head_sizes, 0.5)["Mean"] < 100


def test_pckh_ignores_absent_joints_and_marks_groups_that_nobody_has():
    predictions, truth, present, head_sizes = people()
    present[:, 9] = 0
    truth[:, 9] = np.nan
    scores = metrics.pckh(predictions, truth, present, head_sizes, 0.5)
    assert np.isnan(scores["Head"])
    assert scores["Mean"] == 100


def test_pckh_names_the_shapes_it_got():
    _, *rest = people()
    with pytest.raises(ValueError, match=r"got \(2, 17, 2\), \(2, 16, 2\), \(2, 16\), \(2,\)"):
        metrics.pckh(np.zeros((2, 17, 2)), *rest, 0.5)


def test_pckh_refuses_predictions_that_are_not_numbers():
    predictions, *rest = people()
    predictions[0, 3] = np.nan
    with pytest.raises(ValueError, match="predictions hold 2 numbers that are NaN or infinite"):
        metrics.pckh(predictions, *rest, 0.5)


def test_pckh_says_where_head_sizes_come_from():
    predictions, truth, present, head_sizes = people()
    head_sizes[1] = np.nan
    with pytest.raises(ValueError, match=r"1 of 2 head sizes are missing.*gt_valid\.mat"):
        metrics.pckh(predictions, truth, present, head_sizes, 0.5)


def test_pckh_of_nobody_is_an_error():
    predictions, truth, present, head_sizes = people()
    with pytest.raises(ValueError, match="none of the 2 people has an annotated joint"):
        metrics.pckh(predictions, truth, 0 * present, head_sizes, 0.5)


def test_mean_pose_is_relative_to_the_box_and_skips_invisible_joints():
    center, size = np.array([[100.0, 50.0], [10.0, 10.0]]), np.array([[40.0, 20.0], [80.0, 40.0]])
    keypoints = np.array([[[110.0, 60.0], [95.0, 50.0]], [[20.0, 10.0], [999.0, 999.0]]])
    pose = metrics.mean_pose(keypoints, np.array([[1, 1], [1, 0]]), center, size)
    # x in widths: 10/20 and 10/40; y in heights: 10/40 and 0; then -5/20 and 0 alone.
    np.testing.assert_allclose(pose, [[0.375, 0.125], [-0.25, 0]])
    placed = metrics.place_pose(pose, center[:1], size[:1])
    np.testing.assert_allclose(placed, [[[107.5, 55], [95, 50]]])


def test_mean_pose_names_the_shapes_it_got():
    with pytest.raises(ValueError, match=r"got \(2, 3, 2\), \(2, 3\), \(3, 2\), \(3, 2\)"):
        metrics.mean_pose(np.ones((2, 3, 2)), np.ones((2, 3)), np.ones((3, 2)), np.ones((3, 2)))


def test_rescoring_is_the_recorded_one(golden):
    recorded = np.load(golden / "rescore_nms.npz")
    scores = metrics.rescore(recorded["coco_keypoints"][..., 2], recorded["coco_box_score"])
    np.testing.assert_allclose(scores, recorded["coco_rescored"], atol=1e-6)


def test_rescoring_averages_the_joints_above_the_threshold():
    scores = metrics.rescore(np.array([[0.9, 0.5, 0.1], [0.1, 0.2, 0.0]]), np.array([0.5, 1.0]))
    np.testing.assert_allclose(scores, [0.35, 0.0])


def test_rescoring_names_the_shapes_it_got():
    with pytest.raises(ValueError, match=r"got \(2, 17\) and \(3,\)"):
        metrics.rescore(np.ones((2, 17)), np.ones(3))


def test_oks_and_nms_are_the_recorded_ones(golden):
    recorded = np.load(golden / "rescore_nms.npz")
    keypoints, areas = recorded["coco_keypoints"][..., :2], recorded["coco_area"]
    similarity = metrics.oks(keypoints, areas, COCO.sigmas)
    np.testing.assert_allclose(similarity, recorded["coco_oks"], atol=1e-9)
    for threshold in (0.9, 0.7, 0.5):
        kept = metrics.oks_nms(keypoints, recorded["coco_rescored"], areas, COCO.sigmas, threshold)
        assert kept.tolist() == recorded[f"coco_keep_hard_{threshold}"].tolist()


def test_nms_of_14_joints_is_the_recorded_one(shared):
    recorded = np.load(shared / "reference/golden/rescore_nms.npz")
    keypoints, areas, sigmas = (
        recorded[f"crowdpose_{key}"] for key in ("keypoints", "area", "sigmas")
    )
    scores = metrics.rescore(keypoints[..., 2], recorded["crowdpose_box_score"])
    np.testing.assert_allclose(scores, recorded["crowdpose_rescored"], atol=1e-6)
    similarity = metrics.oks(keypoints[..., :2], areas, sigmas)
    np.testing.assert_allclose(similarity, recorded["crowdpose_oks"], atol=1e-9)
    for threshold in (0.9, 0.7, 0.5):
        kept = metrics.oks_nms(keypoints[..., :2], scores, areas, sigmas, threshold)
        assert kept.tolist() == recorded[f"crowdpose_keep_hard_{threshold}"].tolist()


def test_oks_of_one_sigma_away_is_the_textbook_value():
    keypoints = np.array([[[0.0, 0.0]], [[3.0, 4.0]]])
    similarity = metrics.oks(keypoints, np.array([90.0, 110.0]), (0.25,))
    # d² = 25, area = 100, k = 2 sigma = 0.5: exp(-25 / (2 * 0.25 * 100))
    np.testing.assert_allclose(similarity, [[1, np.exp(-0.5)], [np.exp(-0.5), 1]])


def test_nms_of_nobody_keeps_nobody():
    kept = metrics.oks_nms(np.zeros((0, 17, 2)), np.zeros(0), np.zeros(0), COCO.sigmas, 0.9)
    assert kept.shape == (0,)


def test_nms_names_the_shapes_it_got():
    with pytest.raises(ValueError, match=r"got \(3,\) and \(2,\)"):
        metrics.oks_nms(np.zeros((2, 17, 2)), np.ones(3), np.ones(2), COCO.sigmas, 0.9)
    with pytest.raises(ValueError, match=r"for 2 areas and 17 sigmas; got \(2, 16, 2\)"):
        metrics.oks_nms(np.zeros((2, 16, 2)), np.ones(2), np.ones(2), COCO.sigmas, 0.9)


def person(annotation_id, image_id, at, **changes):
    """An annotation with 17 joints on a diagonal of 100 pixels from (`at`, `at`)."""
    line = np.linspace(at, at + 100, 17)
    joints = np.stack([line, line, np.full(17, 2.0)], axis=-1)
    fields = {"id": annotation_id, "image_id": image_id, "category_id": 1, "iscrowd": 0}
    fields |= {"bbox": [at, at, 100, 100], "area": 9500.0, "num_keypoints": 17}
    return {**fields, "keypoints": joints.ravel().tolist(), **changes}


@pytest.fixture
def annotation_file(tmp_path):
    """Two images with a large and a medium person each."""
    at = itertools.count(1)
    annotations = [
        person(next(at), image, at=at_pixel, area=area)
        for image in (7, 8)
        for at_pixel, area in ((50, 9500.0), (300, 5000.0))
    ]
    return write(tmp_path, annotations)


def write(folder, annotations):
    contents = {"info": {}, "images": [{"id": 7}, {"id": 8}], "annotations": annotations}
    contents["categories"] = [{"id": 1, "name": "person"}]
    path = folder / "person_keypoints.json"
    path.write_text(json.dumps(contents))
    return str(path)


def found(annotations, scores):
    keypoints = np.array([entry["keypoints"] for entry in annotations]).reshape(-1, 17, 3)[..., :2]
    images = np.array([entry["image_id"] for entry in annotations])
    return metrics.coco_results(keypoints, np.ones((len(images), 17)), np.array(scores), images)


def annotations_of(path):
    with open(path) as file:
        return json.load(file)["annotations"]


def test_finding_everybody_is_ap_1(annotation_file):
    results = found(annotations_of(annotation_file), [0.9, 0.8, 0.7, 0.6])
    numbers = metrics.coco_ap(results, annotation_file)
    names = "AP, AP .5, AP .75, AP (M), AP (L), AR, AR .5, AR .75, AR (M), AR (L)"
    assert ", ".join(numbers) == names
    assert list(numbers.values()) == pytest.approx([1.0] * 10)


def test_finding_one_of_four_is_a_quarter(annotation_file):
    results = found(annotations_of(annotation_file)[:1], [0.9])
    numbers = metrics.coco_ap(results, annotation_file)
    # 101 recalls, of which 0, 0.01 … 0.25 are reached.
    assert numbers["AP"] == pytest.approx(26 / 101)
    assert numbers["AR"] == pytest.approx(0.25)
    assert numbers["AR (L)"] == pytest.approx(0.5)
    assert numbers["AR (M)"] == 0


def test_no_results_score_zero(annotation_file):
    assert set(metrics.coco_ap([], annotation_file).values()) == {0.0}


def test_sizes_that_nobody_has_are_minus_one(tmp_path):
    path = write(tmp_path, [person(1, 7, at=50)])
    numbers = metrics.coco_ap(found(annotations_of(path), [0.9]), path)
    assert numbers["AP"] == pytest.approx(1.0)
    assert numbers["AP (M)"] == numbers["AR (M)"] == -1


def test_ap_is_silent_and_leaves_the_results_alone(annotation_file):
    results = found(annotations_of(annotation_file), [0.9, 0.8, 0.7, 0.6])
    before = json.dumps(results)
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        metrics.coco_ap(results, annotation_file)
    assert printed.getvalue() == ""
    assert json.dumps(results) == before


def test_ap_refuses_images_of_another_split(annotation_file):
    results = found([person(1, 9, at=50)], [0.9])
    with pytest.raises(ValueError, match=r"1 images of the results are not in .*e\.g\. 9"):
        metrics.coco_ap(results, annotation_file)


def test_ap_refuses_other_joint_counts(annotation_file):
    results = metrics.coco_results(np.ones((1, 16, 2)), np.ones((1, 16)), np.ones(1), [7])
    with pytest.raises(ValueError, match=r"needs 51 keypoint numbers.*got 48"):
        metrics.coco_ap(results, annotation_file)


def test_ap_refuses_annotations_without_joints(tmp_path):
    box = person(1, 7, at=50)
    del box["keypoints"], box["num_keypoints"]
    path = write(tmp_path, [box])
    with pytest.raises(ValueError, match="has annotations without keypoints, num_keypoints"):
        metrics.coco_ap([], path)
    with pytest.raises(ValueError, match="has no annotations"):
        metrics.coco_ap([], write(tmp_path, []))


def test_ap_refuses_the_annotation_id_that_pycocotools_misreads(tmp_path):
    path = write(tmp_path, [person(0, 7, at=50)])
    with pytest.raises(ValueError, match=r"id 0, .* number the annotations from 1"):
        metrics.coco_ap([], path)


def test_results_are_plain_coco_entries():
    keypoints = np.array([[[1.5, 2.0], [3.0, 4.0]]], np.float32)
    results = metrics.coco_results(
        keypoints, np.array([[0.5, 0.25]], np.float32), np.float32([0.75]), np.int64([139])
    )
    expected = {"image_id": 139, "category_id": 1, "score": 0.75}
    expected["keypoints"] = [1.5, 2.0, 0.5, 3.0, 4.0, 0.25]
    assert json.loads(json.dumps(results)) == [expected]


def test_results_name_the_shapes_they_got():
    with pytest.raises(ValueError, match=r"got \(1, 17, 2\), \(1, 16\), \(1,\), \(1,\)"):
        metrics.coco_results(np.ones((1, 17, 2)), np.ones((1, 16)), np.ones(1), np.ones(1))


def test_results_refuse_scores_that_are_not_numbers():
    with pytest.raises(ValueError, match="joint_scores hold 1 numbers that are NaN"):
        metrics.coco_results(np.ones((1, 1, 2)), np.full((1, 1), np.nan), np.ones(1), [1])


@pytest.mark.parametrize(
    ("name", "results", "truth"),
    [
        (
            "coco",
            "coco_val2017_sample_results.json",
            "coco/annotations/person_keypoints_val2017.json",
        ),
        (
            "ochuman",
            "ochuman_sample_results.json",
            "ochuman/annotations/ochuman_coco_format_val_range_0.00_1.00.json",
        ),
    ],
)
def test_ap_of_samples_is_the_recorded_one(shared, name, results, truth):
    folder = shared / "reference/golden"
    expected = json.loads((folder / "metrics_ap.json").read_text())["values"][name]["pycocotools"]
    entries = json.loads((folder / "metrics" / results).read_text())
    numbers = metrics.coco_ap(entries, str(shared / "samples" / truth))
    assert numbers == pytest.approx(expected, abs=1e-6)


def test_ap_of_a_real_network_is_the_recorded_one(shared, tmp_path):
    folder = shared / "reference/golden"
    recorded = json.loads((folder / "metrics_ap.json").read_text())["values"]
    truth = shared / "samples/coco/annotations/person_keypoints_val2017.json"
    contents = json.loads(truth.read_text())
    used = {785, 40083, 196141, 197388}
    contents["images"] = [entry for entry in contents["images"] if entry["id"] in used]
    contents["annotations"] = [
        entry for entry in contents["annotations"] if entry["image_id"] in used
    ]
    path = tmp_path / "four.json"
    path.write_text(json.dumps(contents))
    results = json.loads((folder / "metrics/coco_4images_real_results.json").read_text())
    numbers = metrics.coco_ap(results, str(path))
    expected = recorded["coco_4_images_real_model_results"]["pycocotools"]
    assert numbers == pytest.approx(expected, abs=1e-6)


def test_ap_of_published_results_is_as_published(shared):
    folder = shared / "reference/published"
    results = json.loads(
        (folder / "person_keypoints_val2014_fakekeypoints100_results.json").read_text()
    )
    truth = folder / "person_keypoints_val2014_100_rebuilt.json"
    numbers = metrics.coco_ap(results, str(truth))
    published = [0.372, 0.636, 0.348, 0.384, 0.386, 0.514, 0.734, 0.504, 0.508, 0.522]
    assert list(numbers.values()) == pytest.approx(published, abs=5e-4)


def test_the_whole_official_evaluation_is_reproduced(shared):
    folder = shared / "reference/golden"
    recorded = np.load(folder / "metrics_ap.npz")
    predictions, boxes = recorded["pipe_preds"], recorded["pipe_boxes"]
    images = recorded["pipe_image_id"]
    scores = metrics.rescore(predictions[..., 2], boxes[:, 5])
    kept = []
    for image in np.unique(images):
        rows = np.flatnonzero(images == image)
        best_first = metrics.oks_nms(
            predictions[rows, :, :2], scores[rows], boxes[rows, 4], COCO.sigmas, 0.9
        )
        kept.extend(rows[best_first])
    assert len(kept) == 256
    results = metrics.coco_results(
        predictions[kept, :, :2], predictions[kept, :, 2], scores[kept], images[kept]
    )
    truth = shared / "samples/coco/annotations/person_keypoints_val2017.json"
    numbers = metrics.coco_ap(results, str(truth))
    expected = json.loads((folder / "metrics_ap.json").read_text())["values"]["coco_full_evaluate"]
    assert list(numbers.values()) == pytest.approx(list(expected["stats"].values()), abs=1e-6)


def test_tables_align_names_left_and_numbers_right():
    table = metrics.format_table([["", "Head", "Mean"], ["PCKh@0.5", "97.10", "9.00"]])
    assert table.split("\n") == ["           Head  Mean", "PCKh@0.5  97.10  9.00"]
