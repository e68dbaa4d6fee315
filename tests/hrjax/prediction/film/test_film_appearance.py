"""Colors along limbs, and how alike people look by them."""

import numpy as np
import pytest

from hrjax.prediction.film import appearance

LIMBS = ((0, 1), (1, 2))
RED = (53.24, 80.09, 67.2)  # of (255, 0, 0) in CIE Lab, white point D65
BLUE = (32.3, 79.19, -107.86)


@pytest.fixture
def halves():
    """An image whose left half is red, and whose right half is blue."""
    image = np.zeros((40, 60, 3), np.uint8)
    image[:, :30], image[:, 30:] = (255, 0, 0), (0, 0, 255)
    return image


def colors(image, keypoints, scores=(0.9, 0.9, 0.9)):
    return appearance.limb_colors(
        image, np.array([keypoints], float), np.array([scores], float), LIMBS
    )[0]


def test_colors_are_those_along_the_limbs(halves):
    found = colors(halves, [(5, 5), (25, 30), (25, 5)])
    np.testing.assert_allclose(found, [RED, RED], atol=0.1)
    across = colors(halves, [(45, 5), (45, 35), (14.9, 35)])
    np.testing.assert_allclose(across[0], BLUE, atol=0.1)
    # Five of nine points are beyond x = 29.5.
    np.testing.assert_allclose(across[1], (5 * np.array(BLUE) + 4 * np.array(RED)) / 9, atol=0.1)


@pytest.mark.parametrize(
    ("keypoints", "scores"),
    [
        ([(5, 5), (25, 30), (25, 5)], (0.9, 0.9, 0.4)),
        ([(5, 5), (25, 30), (25, 45)], (0.9, 0.9, 0.9)),
        ([(5, 5), (25, 30), (np.nan, np.nan)], (0.9, 0.9, 0.0)),
    ],
)
def test_limbs_that_are_uncertain_or_outside_have_no_color(halves, keypoints, scores):
    first, second = colors(halves, keypoints, scores)
    np.testing.assert_allclose(first, RED, atol=0.1)
    assert np.isnan(second).all()


def test_what_is_certain_is_relative_to_the_best_joint(halves):
    found = colors(halves, [(5, 5), (25, 30), (25, 5)], (0.2, 0.15, 0.12))
    assert np.isfinite(found).all()
    assert np.isnan(colors(halves, [(5, 5), (25, 30), (25, 5)], (0, 0, 0))).all()


def test_no_people_and_no_limbs(halves):
    none = appearance.limb_colors(halves, np.zeros((0, 3, 2)), np.zeros((0, 3)), LIMBS)
    assert none.shape == (0, 2, 3)
    assert appearance.limb_colors(halves, np.zeros((1, 3, 2)), np.ones((1, 3)), ()).shape == (
        *(1, 0, 3),
    )


def test_likeness_is_the_mean_over_common_limbs():
    first = np.array([[RED, RED, BLUE, (np.nan,) * 3]])
    near = np.add(RED, (15 / 0.5, 0, 0))  # one deviation lighter
    second = np.array([[RED, near, RED, RED], [RED, *[(np.nan,) * 3] * 3]])
    alike = appearance.likeness(first, second)
    assert alike[0, 0] == pytest.approx((1 + np.exp(-0.5) + 0) / 3, abs=1e-9)
    assert np.isnan(alike[0, 1])  # one limb says too little


def test_colors_adapt_slowly_and_unknown_ones_at_once():
    before = np.array([[RED, (np.nan,) * 3, RED]])
    now = np.array([[BLUE, BLUE, (np.nan,) * 3]])
    after = appearance.adapted(before, now)[0]
    np.testing.assert_allclose(after[0], np.add(RED, 0.05 * np.subtract(BLUE, RED)))
    np.testing.assert_allclose(after[1], BLUE)
    np.testing.assert_allclose(after[2], RED)
