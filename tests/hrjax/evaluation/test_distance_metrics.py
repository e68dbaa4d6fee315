"""PCKh against the official code's numbers and published scores; PCK, AUC and EPE by hand."""

import json

import numpy as np
import pytest
import scipy.io

from data_pipelines import skeletons
from hrjax.evaluation import distance_metrics

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
    table = distance_metrics.pckh_table(recorded["predictions"], *from_mat(recorded))
    expected = {name: float(recorded[f"official_{name}"]) for name in table["PCKh@0.5"]}
    assert table["PCKh@0.5"] == pytest.approx(expected, abs=1e-6)
    assert table["PCKh@0.10"]["Mean"] == pytest.approx(float(recorded["mean_0.1"]), abs=1e-6)
    assert table["PCKh@0.11"]["Mean"] == pytest.approx(float(recorded["mean_0.11"]), abs=1e-6)


def test_the_references_0_1_is_0_11(golden):
    recorded = np.load(golden / "metrics_pckh.npz")
    table = distance_metrics.pckh_table(recorded["predictions"], *from_mat(recorded))
    reference = float(recorded["official_Mean@0.1"])
    assert table["PCKh@0.11"]["Mean"] == pytest.approx(reference, abs=1e-6)
    assert table["PCKh@0.10"]["Mean"] < reference - 2


def test_pckh_of_real_people_is_the_recorded_one(shared):
    folder = shared / "reference/golden"
    recorded = json.loads((folder / "metrics_pckh.json").read_text())["values"]["real_first500"]
    predictions = np.load(folder / "metrics/mpii_val_first500_preds.npz")["preds"]
    truth = from_mat(scipy.io.loadmat(folder / "metrics/mpii_val_first500_gt_valid.mat"))
    table = distance_metrics.pckh_table(predictions, *truth)
    expected = recorded["official"]
    at_011 = expected.pop("Mean@0.1")
    assert table["PCKh@0.5"] == pytest.approx(expected, abs=1e-6)
    assert table["PCKh@0.10"]["Mean"] == pytest.approx(recorded["mean"]["0.1"], abs=1e-6)
    assert table["PCKh@0.11"]["Mean"] == pytest.approx(at_011, abs=1e-6)


def test_pckh_of_each_joint_is_the_recorded_one(shared):
    folder = shared / "reference/golden"
    recorded = json.loads((folder / "metrics_pckh.json").read_text())["values"]["synthetic200"]
    predictions = np.load(folder / "metrics/mpii_synthetic200_preds.npz")["preds"]
    truth = from_mat(scipy.io.loadmat(folder / "metrics/mpii_synthetic200_gt_valid.mat"))
    for threshold, expected in recorded["mean"].items():
        scores = distance_metrics.pckh(predictions, *truth, float(threshold))
        assert scores["Mean"] == pytest.approx(expected, abs=1e-6)
        joints = np.array(recorded["per_joint_pckh"][threshold])
        for name, members in distance_metrics.PCKH_GROUPS.items():
            assert scores[name] == pytest.approx(joints[list(members)].mean(), abs=1e-6)


def test_pckh_of_five_people_is_the_recorded_one(shared):
    folder = shared / "reference/golden"
    recorded = json.loads((folder / "metrics_pckh.json").read_text())["values"]["sample5"]
    predictions = np.load(folder / "metrics_pckh.npz")["sample5_preds"]
    truth = from_mat(scipy.io.loadmat(shared / "samples/mpii/annot/gt_valid.mat"))
    table = distance_metrics.pckh_table(predictions, *truth)
    expected = recorded["official"]
    assert table["PCKh@0.11"]["Mean"] == pytest.approx(expected.pop("Mean@0.1"), abs=1e-6)
    assert table["PCKh@0.5"] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("stacks", "at_05", "at_010"), [("s2", 87.299, 23.914), ("s8", 89.092, 24.494)]
)
def test_pckh_of_published_predictions_is_as_published(shared, stacks, at_05, at_010):
    published = shared / f"reference/published/evalmpii_bearpaw-hg_{stacks}_b1.mat"
    predictions = scipy.io.loadmat(published)["preds"] - 1.0
    truth = from_mat(scipy.io.loadmat(shared / "samples/mpii_annotations/mpii_gt_val.mat"))
    table = distance_metrics.pckh_table(predictions, *truth)
    assert table["PCKh@0.5"]["Mean"] == pytest.approx(at_05, abs=5e-4)
    assert table["PCKh@0.10"]["Mean"] == pytest.approx(at_010, abs=5e-4)


def test_pckh_counts_a_distance_on_the_threshold():
    predictions, truth, present, head_sizes = people()
    predictions[0, 9, 0] += 5  # half a head size
    assert distance_metrics.pckh(predictions, truth, present, head_sizes, 0.5)["Head"] == 100
    predictions[0, 9, 0] += 0.001
    assert distance_metrics.pckh(predictions, truth, present, head_sizes, 0.5)["Head"] == 50


def test_pckh_weighs_sides_evenly_in_groups_and_by_people_in_the_mean():
    predictions, truth, present, head_sizes = people(3)
    predictions[:, 0] += 100  # the right ankle, which three people have
    present[1:, 5] = 0  # the left ankle, which one has
    scores = distance_metrics.pckh(predictions, truth, present, head_sizes, 0.5)
    assert scores["Ankle"] == 50
    assert scores["Mean"] == pytest.approx(100 * 37 / 40)  # 14 joints of 3 people, less 2


def test_pckh_leaves_pelvis_and_thorax_out_but_not_the_neck():
    predictions, truth, present, head_sizes = people()
    predictions[:, 6:8] += 100
    assert distance_metrics.pckh(predictions, truth, present, head_sizes, 0.5)["Mean"] == 100
    predictions[:, 8] += 100
    assert distance_metrics.pckh(predictions, truth, present, head_sizes, 0.5)["Mean"] < 100


def test_pckh_ignores_absent_joints_and_marks_groups_that_no_person_has():
    predictions, truth, present, head_sizes = people()
    present[:, 9] = 0
    truth[:, 9] = np.nan
    scores = distance_metrics.pckh(predictions, truth, present, head_sizes, 0.5)
    assert np.isnan(scores["Head"])
    assert scores["Mean"] == 100


def test_pckh_names_the_shapes_it_got():
    _, *rest = people()
    with pytest.raises(ValueError, match=r"got \(2, 17, 2\), \(2, 16, 2\), \(2, 16\), \(2,\)"):
        distance_metrics.pckh(np.zeros((2, 17, 2)), *rest, 0.5)


def test_pckh_refuses_predictions_that_are_not_numbers():
    predictions, *rest = people()
    predictions[0, 3] = np.nan
    with pytest.raises(ValueError, match="predictions hold 2 numbers that are NaN or infinite"):
        distance_metrics.pckh(predictions, *rest, 0.5)


def test_pckh_says_where_head_sizes_come_from():
    predictions, truth, present, head_sizes = people()
    head_sizes[1] = np.nan
    with pytest.raises(ValueError, match=r"1 of 2 head sizes are missing.*gt_valid\.mat"):
        distance_metrics.pckh(predictions, truth, present, head_sizes, 0.5)


def test_pckh_without_annotated_joints_is_an_error():
    predictions, truth, present, head_sizes = people()
    with pytest.raises(ValueError, match="none of the 2 people has an annotated joint"):
        distance_metrics.pckh(predictions, truth, 0 * present, head_sizes, 0.5)


def test_pck_averages_over_the_joints_that_people_have():
    distances = np.array([[0.1, 0.3, 0.0], [0.3, 0.2, 0.0]])
    labeled = np.array([[1, 1, 0], [1, 0, 0]])
    # One of two, and none of one; no person has the third joint.
    assert distance_metrics.pck(distances, labeled, 0.3) == pytest.approx((0.5 + 0) / 2)
    assert distance_metrics.pck(distances, labeled, 0.3001) == pytest.approx((1 + 1) / 2)


def test_auc_is_the_share_of_thresholds_up_to_30_pixels():
    # Nearer than 4.5, 6 … 28.5 pixels, 17 of the 20 thresholds; and than none.
    assert distance_metrics.auc(np.array([[3.0]]), np.ones((1, 1))) == pytest.approx(17 / 20)
    assert distance_metrics.auc(np.array([[30.0]]), np.ones((1, 1))) == 0


def test_epe_is_the_mean_distance_of_labeled_joints():
    distances = np.array([[1.0, 5.0], [3.0, 100.0]])
    assert distance_metrics.epe(distances, np.array([[1, 1], [1, 0]])) == pytest.approx(3)


def test_distances_without_labeled_joints_are_an_error():
    with pytest.raises(ValueError, match="none of the 2 people has a labeled joint"):
        distance_metrics.pck(np.zeros((2, 3)), np.zeros((2, 3)), 0.5)
    with pytest.raises(ValueError, match=r"must both be \(n, k\); got \(2, 3\) and \(2, 2\)"):
        distance_metrics.epe(np.zeros((2, 3)), np.zeros((2, 2)))


def test_pck_of_groups_averages_left_and_right_evenly():
    names = skeletons.JHMDB.names
    labeled, distances = np.ones((4, 15)), np.zeros((4, 15))
    distances[:, names.index("left_hip")] = (0.1, 0.3, 0.3, 0.3)  # 1/4, and the right one 1
    distances[0, names.index("neck")] = 9
    labeled[1:, names.index("head")], distances[0, names.index("head")] = 0, 0.2  # not below 0.2
    groups = distance_metrics.pck_of_groups(distances, labeled, 0.2, names)
    assert groups.pop("Hip") == pytest.approx((1 / 4 + 1) / 2)
    assert groups.pop("Head") == 0
    assert groups.pop("Mean") == pytest.approx((12 + 1 / 4 + 3 / 4 + 0) / 15)
    assert groups == dict.fromkeys(("Shoulder", "Elbow", "Wrist", "Knee", "Ankle"), 1)


def test_pck_of_groups_names_the_joints_it_misses():
    with pytest.raises(ValueError, match=r"joints that the skeleton lacks: head; config\.eval"):
        distance_metrics.pck_of_groups(
            np.zeros((1, 17)), np.ones((1, 17)), 0.2, skeletons.COCO.names
        )


def test_a_torso_is_from_shoulder_to_hip_and_the_predicted_one_where_that_is_unknown():
    names = ("right_hip", "nose", "left_shoulder")
    truth = np.zeros((3, 3, 2))
    truth[0, 2] = (30, 40)
    truth[1, 2] = (0.6, 0.7)  # less than a pixel
    truth[2, 2] = (30, 40)
    labeled = np.array([[1, 0, 1], [1, 1, 1], [0, 1, 1]])
    predictions = np.zeros((3, 3, 2))
    predictions[:, 2] = (5, 12)
    sizes = distance_metrics.torso_sizes(predictions, truth, labeled, names)
    np.testing.assert_allclose(sizes, (50, 13, 13))


def test_mean_pose_is_relative_to_the_box_and_skips_invisible_joints():
    center, size = np.array([[100.0, 50.0], [10.0, 10.0]]), np.array([[40.0, 20.0], [80.0, 40.0]])
    keypoints = np.array([[[110.0, 60.0], [95.0, 50.0]], [[20.0, 10.0], [999.0, 999.0]]])
    pose = distance_metrics.mean_pose(keypoints, np.array([[1, 1], [1, 0]]), center, size)
    # x in widths: 10/20 and 10/40; y in heights: 10/40 and 0; then -5/20 and 0 alone.
    np.testing.assert_allclose(pose, [[0.375, 0.125], [-0.25, 0]])
    placed = distance_metrics.place_pose(pose, center[:1], size[:1])
    np.testing.assert_allclose(placed, [[[107.5, 55], [95, 50]]])


def test_mean_pose_names_the_shapes_it_got():
    with pytest.raises(ValueError, match=r"got \(2, 3, 2\), \(2, 3\), \(3, 2\), \(3, 2\)"):
        distance_metrics.mean_pose(
            np.ones((2, 3, 2)), np.ones((2, 3)), np.ones((3, 2)), np.ones((3, 2))
        )
