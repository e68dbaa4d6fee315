"""Object keypoint similarity by hand; `test_matching` and `test_nms` compare it with references."""

import numpy as np
import pytest

from hrjax import oks


def test_one_sigma_away_is_the_textbook_value():
    first, second = np.array([[[0.0, 0.0]]]), np.array([[[3.0, 4.0]]])
    # d² = 25, area 100, k = 2 sigma = 0.5: exp(-25 / (2 * 0.25 * 100))
    alike = oks.object_keypoint_similarity(first, second, np.array([100.0]), (0.25,))
    assert alike[0] == pytest.approx(np.exp(-0.5))


def test_only_counted_joints_count():
    first, second = np.zeros((3, 2, 2)), np.zeros((3, 2, 2))
    second[:, 1] = 1e6
    counted = np.array([[True, True], [True, False], [False, False]])
    alike = oks.object_keypoint_similarity(first, second, np.ones(3), (0.1, 0.1), counted)
    np.testing.assert_allclose(alike, [0.5, 1, 0])


def test_without_area_only_the_same_place_is_alike():
    squared = np.array([[0.0, 1e-6]])
    assert oks.joint_similarity(squared, np.zeros(1), (0.25, 0.25)).tolist() == [[1, 0]]
