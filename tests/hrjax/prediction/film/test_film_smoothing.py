"""The One Euro filter, by the equations of its paper."""

import math

import numpy as np
import pytest

from hrjax.prediction.film import smoothing
from hrjax.prediction.film.smoothing import OneEuro

RATE = 30.0


def smooth(frames, *, parameters, ids=(1,), rate=RATE, size=1.0):
    """The smooth keypoints of frames (m, k, 2)."""
    state, every = smoothing.none(frames[0].shape[1]), []
    for number, keypoints in enumerate(frames):
        sizes = np.full(len(keypoints), size)
        state, now = smoothing.smooth(
            state, np.array(ids), keypoints, sizes, number / rate, parameters
        )
        every.append(now)
    return np.array(every)


def reference(values, parameters, rate=RATE):
    """One coordinate by the paper's algorithm, step by step."""
    alpha = lambda cutoff: 1 / (1 + 1 / (2 * math.pi * cutoff) * rate)  # noqa: E731
    filtered, speed, every = values[0], 0.0, [values[0]]
    for value in values[1:]:
        change = (value - filtered) * rate
        speed = alpha(parameters.d_cutoff) * change + (1 - alpha(parameters.d_cutoff)) * speed
        cutoff = parameters.min_cutoff + parameters.beta * abs(speed)
        filtered = alpha(cutoff) * value + (1 - alpha(cutoff)) * filtered
        every.append(filtered)
    return every


def test_one_coordinate_is_filtered_as_in_the_paper():
    rng = np.random.default_rng(0)
    values = np.cumsum(rng.normal(size=50))
    parameters = OneEuro(min_cutoff=0.8, beta=0.05, d_cutoff=1.2)
    frames = np.zeros((50, 1, 1, 2))
    frames[:, 0, 0, 0] = values
    np.testing.assert_allclose(
        smooth(frames, parameters=parameters)[:, 0, 0, 0], reference(values, parameters)
    )


def test_near_and_far_people_are_smoothed_alike():
    frames = np.cumsum(np.random.default_rng(1).normal(size=(20, 1, 3, 2)), axis=0)
    far = smooth(frames, parameters=OneEuro(), size=50.0)
    near = smooth(frames * 4, parameters=OneEuro(), size=200.0)
    np.testing.assert_allclose(near, 4 * far)


def test_each_person_has_a_filter_in_whatever_row():
    rng = np.random.default_rng(2)
    first, second = rng.normal(size=(2, 9, 1, 3, 2))
    alone = smooth(first, parameters=OneEuro(), ids=(7,))
    state = smoothing.none(3)
    for number in range(9):
        both = np.concatenate([first[number], second[number]])
        ids = np.array([7, 3])
        if number % 2:
            both, ids = both[::-1], ids[::-1]
        state, now = smoothing.smooth(state, ids, both, np.ones(2), number / RATE, OneEuro())
        np.testing.assert_allclose(now[ids == 7], alone[number])


def test_missing_joints_stay_missing_and_come_back():
    frames = np.ones((40, 1, 2, 2))
    frames[10:14, 0, 1] = np.nan
    frames[14:, 0, 1] = 2.0
    seen = smooth(frames, parameters=OneEuro())
    assert np.isnan(seen[10:14, 0, 1]).all()
    assert np.isfinite(seen[14:]).all()
    assert 1 < seen[14, 0, 1, 0] < 2  # a short gap: filtered across it
    frames[10:30, 0, 1] = np.nan
    # Two thirds of a second: the joint starts anew.
    np.testing.assert_array_equal(smooth(frames, parameters=OneEuro())[30, 0, 1], 2.0)


def test_a_person_who_comes_back_soon_is_filtered_on_and_memory_does_not_grow():
    state = smoothing.none(1)
    for number in range(300):
        ids = np.array([1 + number])  # a new person in each frame
        state, _ = smoothing.smooth(
            state, ids, np.ones((1, 1, 2)), np.ones(1), number / RATE, OneEuro()
        )
    assert len(state.ids) <= 0.5 * RATE + 2


@pytest.mark.parametrize("wrong", [{"min_cutoff": 0}, {"beta": -1}, {"d_cutoff": float("nan")}])
def test_impossible_parameters_are_refused(wrong):
    with pytest.raises(ValueError, match="min_cutoff and d_cutoff are frequencies above 0"):
        OneEuro(**wrong)
