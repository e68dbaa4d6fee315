"""PoseTrack's AP of joints, worked out by hand."""

import dataclasses

import numpy as np
import pytest
from truths import make_truth

from data_pipelines.skeletons import COCO, POSETRACK18
from hrjax import detections
from hrjax.evaluation import posetrack

K = POSETRACK18.num_joints
POSE = np.stack([10.0 * np.arange(K), 5.0 * np.arange(K)], axis=-1)
HEAD = (0.0, 0, 60, 80)  # a diagonal of 100 pixels: half of 0.6 times that is 30


def truth_of(poses, image_ids, **columns):
    return make_truth(
        poses, image_ids, POSETRACK18, heads=np.tile(HEAD, (len(poses), 1)), **columns
    )


def found(poses, image_ids, scores):
    poses = np.array(poses, float)
    scores = np.broadcast_to(np.array(scores, float).reshape(len(poses), -1), poses.shape[:2])
    return detections.make(np.array(image_ids), poses, scores, scores.mean(axis=1))


def test_joints_within_half_a_head_are_right():
    truth = truth_of([POSE], [1])
    moved = np.repeat(POSE[None], 1, axis=0)
    moved[0, POSETRACK18.names.index("left_knee")] += (18, 24)  # 30 pixels
    moved[0, POSETRACK18.names.index("left_ankle")] += (18, 24.1)
    numbers = posetrack.joint_ap(found(moved, [1], [0.9]), truth)
    assert numbers["Knee"] == 1
    assert numbers["Ankle"] == 0.5
    assert numbers["mAP"] == pytest.approx(14 / 15)


def test_a_pose_counts_for_one_person_and_a_person_for_one_pose():
    far = POSE + np.array((500, 0))
    truth = truth_of([POSE, far], [1, 1])
    # The second pose of the first person is a false positive that scores higher than the hit on the
    # other one: precision 1 at a recall of 1/2, then 2/3 at 1.
    three = found([POSE, POSE + 1, far], [1] * 3, [0.9, 0.8, 0.7])
    assert posetrack.joint_ap(three, truth)["mAP"] == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    # With the lowest score it costs nothing.
    three = found([POSE, POSE + 1, far], [1] * 3, [0.9, 0.6, 0.7])
    assert posetrack.joint_ap(three, truth)["mAP"] == 1


def test_poses_match_the_person_of_whom_most_joints_are_right():
    near = POSE + np.array((20, 0))  # every joint of both people is near enough
    truth = truth_of([POSE, near], [1, 1])
    half = np.where(np.arange(K)[:, None] < 9, POSE, near + 400)
    numbers = posetrack.joint_ap(found([near, half], [1, 1], [0.9, 0.8]), truth)
    # Of ties the first person counts, for both poses, and the first pose is the better one.
    assert numbers["mAP"] == pytest.approx(0.5)


def test_images_without_annotations_do_not_count_and_others_hold_false_positives():
    truth = truth_of([POSE, POSE], [1, 2])
    truth = dataclasses.replace(truth, image_ids=np.array([1, 2, 3]), image_names=("1", "2", "3"))
    elsewhere = found([POSE, POSE, POSE], [1, 2, 3], [0.5, 0.6, 0.9])
    assert posetrack.joint_ap(elsewhere, truth)["mAP"] == 1
    wrong = found([POSE + 300, POSE, POSE], [1, 2, 1], [0.9, 0.6, 0.5])
    # Precision 1/2 and then 2/3, of which the higher one counts for both.
    assert posetrack.joint_ap(wrong, truth)["mAP"] == pytest.approx(2 / 3)


def test_what_is_in_an_ignored_region_does_not_count():
    region = np.array([(400.0, -100), (900, -100), (900, 400), (400, 400)])
    there = POSE + np.array((500, 0))
    truth = truth_of([POSE, there], [1, 1], ignored=[(region,)])
    people = found([POSE, there + np.array((0, 50))], [1, 1], [0.5, 0.9])
    assert posetrack.joint_ap(people, truth)["mAP"] == 1
    assert posetrack.joint_ap(people, truth_of([POSE, there], [1, 1]))["mAP"] < 0.5


def test_unlabeled_joints_are_left_out():
    visibility = np.full((1, K), 2.0)
    visibility[0, [POSETRACK18.names.index(n) for n in ("left_hip", "left_knee", "right_knee")]] = 0
    truth = truth_of([POSE], [1], visibility=visibility)
    numbers = posetrack.joint_ap(found([POSE], [1], [0.9]), truth)
    assert numbers == {"mAP": 1, **dict.fromkeys(posetrack.GROUPS, 1), "Knee": -1}


def test_without_people_and_without_poses():
    nothing = detections.make(np.zeros(0), np.zeros((0, K, 2)), np.zeros((0, K)), np.zeros(0))
    assert posetrack.joint_ap(nothing, truth_of([POSE], [1]))["mAP"] == 0


def test_heads_and_joints_are_needed():
    people = found([POSE], [1], [0.9])
    heads = np.array([(0, 0, np.nan, np.nan)])
    with pytest.raises(ValueError, match=r"1 people of truth\.json have no bbox_head with a size"):
        posetrack.joint_ap(people, make_truth([POSE], [1], POSETRACK18, heads=heads))
    with pytest.raises(ValueError, match=r"sizes of heads, and truth\.json has no boxes of heads"):
        posetrack.joint_ap(people, make_truth([POSE], [1], POSETRACK18))
    with pytest.raises(ValueError, match=r"joints that the skeleton lacks: head_top, head_bottom"):
        posetrack.joint_ap(people, make_truth([POSE], [1], COCO))
