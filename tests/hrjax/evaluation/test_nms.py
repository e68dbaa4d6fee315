"""OKS-NMS against the official code's numbers."""

import numpy as np
import pytest

from data_pipelines.skeletons import COCO
from hrjax import detections
from hrjax.evaluation import nms


def every_two(keypoints, areas, sigmas):
    """The OKS of every two people, (n, n)."""
    first, second = (index.ravel() for index in np.indices((len(areas), len(areas))))
    return nms.similarity(keypoints, areas, sigmas, first, second).reshape(len(areas), -1)


def check_people_of_one_image(recorded, name, sigmas):
    keypoints, areas = recorded[f"{name}_keypoints"], recorded[f"{name}_area"]
    scores = detections.rescore(keypoints[..., 2], recorded[f"{name}_box_score"])
    np.testing.assert_allclose(scores, recorded[f"{name}_rescored"], atol=1e-6)
    similarity = every_two(keypoints[..., :2], areas, sigmas)
    np.testing.assert_allclose(similarity, recorded[f"{name}_oks"], atol=1e-9)
    arguments = (keypoints[..., :2], scores, areas, np.full(len(areas), 7), sigmas)
    for threshold in (0.9, 0.7, 0.5):
        hard = nms.hard_nms(*arguments, threshold)
        assert hard.tolist() == recorded[f"{name}_keep_hard_{threshold}"].tolist()
        soft = nms.soft_nms(*arguments, threshold)
        assert soft.tolist() == recorded[f"{name}_keep_soft_{threshold}"].tolist()


def test_nms_and_its_similarity_are_the_recorded_ones(golden):
    recorded = np.load(golden / "rescore_nms.npz")
    check_people_of_one_image(recorded, "coco", COCO.sigmas)


def test_soft_nms_of_few_people_is_the_recorded_one(golden):
    recorded = np.load(golden / "rescore_nms.npz")
    keypoints, areas, scores = (
        recorded[f"coco_{key}"][:15] for key in ("keypoints", "area", "rescored")
    )
    kept = nms.soft_nms(keypoints[..., :2], scores, areas, np.zeros(15, int), COCO.sigmas, 0.5)
    assert kept.tolist() == recorded["coco_keep_soft_0.5_first15"].tolist()


def test_similarity_and_nms_of_14_joints_are_the_recorded_ones(golden):
    recorded = np.load(golden / "rescore_nms.npz")
    check_people_of_one_image(recorded, "crowdpose", recorded["crowdpose_sigmas"])


def crowd(people=300, images=40):
    """Keypoints, scores, areas and images of people, many of them detected twice or more."""
    rng = np.random.default_rng(0)
    poses, image_of_pose = (
        rng.uniform(0, 300, (people // 3, 17, 2)),
        rng.integers(0, images, people),
    )
    pose = rng.integers(0, len(poses), people)
    keypoints = poses[pose] + rng.normal(0, 3, (people, 17, 2))
    return keypoints, rng.integers(0, 50, people) / 50, np.full(people, 2e4), image_of_pose[pose]


def suppress_one_by_one(keypoints, scores, areas, image_ids, threshold):
    """The references' loop over images, detections and the remaining ones."""
    kept = []
    for image in np.unique(image_ids):
        rows = np.flatnonzero(image_ids == image)
        order = rows[np.argsort(scores[rows], kind="stable")[::-1]]
        while len(order):
            best, order = order[0], order[1:]
            kept.append(best)
            pairs = np.full(len(order), best), order
            alike = nms.similarity(keypoints, areas, COCO.sigmas, *pairs)
            order = order[alike <= threshold]
    return kept


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.5, 0.9, 0.95])
def test_nms_of_many_images_is_that_of_each_image(threshold):
    keypoints, scores, areas, image_ids = crowd()
    kept = nms.hard_nms(keypoints, scores, areas, image_ids, COCO.sigmas, threshold)
    expected = suppress_one_by_one(keypoints, scores, areas, image_ids, threshold)
    assert kept.tolist() == expected
    assert len(np.unique(image_ids)) <= len(kept) < len(scores)


def test_nms_relies_on_no_joint_alone():
    # All the strict joints are in place and all the others are not, and the other way round.
    keypoints = np.zeros((4, 17, 2))
    strict = np.argsort(COCO.sigmas)[:9]
    keypoints[1, strict] += 1000
    keypoints[3] += 1e5
    keypoints[2] = keypoints[3]
    keypoints[3, np.setdiff1d(np.arange(17), strict)] += 1000
    people = (keypoints, np.array([4, 3, 2, 1]), np.full(4, 1e4), np.zeros(4, int), COCO.sigmas)
    assert nms.hard_nms(*people, 0.46).tolist() == [0, 2]  # of 17 joints 8 are alike, and 9
    assert nms.hard_nms(*people, 0.48).tolist() == [0, 1, 2]
    assert nms.hard_nms(*people, 0.54).tolist() == [0, 1, 2, 3]


def test_soft_nms_of_many_images_is_that_of_each_image():
    keypoints, scores, areas, image_ids = crowd(images=10)
    kept = nms.soft_nms(keypoints, scores, areas, image_ids, COCO.sigmas, 0.9)
    alone = []
    for image in np.unique(image_ids):
        rows = np.flatnonzero(image_ids == image)
        arguments = (values[rows] for values in (keypoints, scores, areas, image_ids))
        alone.extend(rows[nms.soft_nms(*arguments, COCO.sigmas, 0.9)])
    assert kept.tolist() == alone
    assert np.bincount(image_ids[kept]).max() == 20


def test_soft_nms_keeps_as_many_of_each_image_as_asked_for():
    keypoints, scores, areas, image_ids = crowd(images=10)
    arguments = (keypoints, scores, areas, image_ids, COCO.sigmas, 0.9)
    assert np.bincount(image_ids[nms.soft_nms(*arguments, max_people=3)]).max() == 3
    assert len(nms.soft_nms(*arguments, max_people=0)) == len(scores)


def test_without_nms_all_stay_best_first():
    keypoints, _, areas, _ = crowd(people=6)
    scores = np.array([0.1, 0.5, 0.9, 0.3, 0.3, 0.2])
    image_ids = np.array([2, 1, 2, 2, 1, 1])
    kept = nms.keep_all(keypoints, scores, areas, image_ids, COCO.sigmas, 0.9)
    assert kept.tolist() == [1, 4, 5, 2, 3, 0]


def test_of_equals_the_last_is_kept():
    keypoints = np.zeros((3, 17, 2))
    kept = nms.hard_nms(keypoints, np.ones(3), np.ones(3), np.zeros(3, int), COCO.sigmas, 0.9)
    assert kept.tolist() == [2]


def test_oks_of_one_sigma_away_is_the_textbook_value():
    keypoints = np.array([[[0.0, 0.0]], [[3.0, 4.0]]])
    similarity = every_two(keypoints, np.array([90.0, 110.0]), (0.25,))
    # d² = 25, area = 100, k = 2 sigma = 0.5: exp(-25 / (2 * 0.25 * 100))
    np.testing.assert_allclose(similarity, [[1, np.exp(-0.5)], [np.exp(-0.5), 1]])


def test_people_in_boxes_without_area_are_alike_only_in_the_same_place():
    keypoints = np.array([[[5.0, 5.0]], [[5.0, 5.0]], [[6.0, 5.0]]])
    np.testing.assert_array_equal(
        every_two(keypoints, np.zeros(3), (0.25,)), [[1, 1, 0], [1, 1, 0], [0, 0, 1]]
    )


@pytest.mark.parametrize("name", nms.METHODS)
def test_nms_of_no_detections_keeps_none(name):
    nothing = (np.zeros((0, 17, 2)), np.zeros(0), np.zeros(0), np.zeros(0, int))
    assert nms.METHODS[name](*nothing, COCO.sigmas, 0.9).shape == (0,)


@pytest.mark.parametrize("name", nms.METHODS)
def test_nms_names_the_shapes_it_got(name):
    with pytest.raises(ValueError, match=r"for 2 detections; got \(3,\), \(2,\), \(2,\)"):
        nms.METHODS[name](
            np.zeros((2, 17, 2)), np.ones(3), np.ones(2), np.ones(2, int), COCO.sigmas, 0.9
        )


def test_similarity_names_the_shapes_it_got():
    with pytest.raises(ValueError, match=r"for 2 areas and 17 sigmas; got \(2, 16, 2\)"):
        every_two(np.zeros((2, 16, 2)), np.ones(2), COCO.sigmas)


@pytest.mark.parametrize("name", nms.METHODS)
def test_nms_refuses_keypoints_that_are_not_numbers(name):
    keypoints = np.full((1, 17, 2), np.nan)
    with pytest.raises(ValueError, match="keypoints hold 34 numbers that are NaN or infinite"):
        nms.METHODS[name](keypoints, np.ones(1), np.ones(1), np.ones(1, int), COCO.sigmas, 0.9)
