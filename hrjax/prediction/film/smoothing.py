"""Smooth joints by the One Euro filter (Casiez, Roussel, Vogel: 1€ Filter, CHI 2012).

It is a low-pass filter whose cutoff frequency grows with the speed of a joint: joints at rest do
not tremble, and those that move lag little. Speeds are relative to the size of the person, so that
the same parameters fit near and far people.
"""

import dataclasses

import numpy as np

MEANINGS = {
    "min_cutoff": "the cutoff in Hz of joints at rest; lower is smoother",
    "beta": "how much the cutoff grows with speed; higher lags less",
    "d_cutoff": "the cutoff in Hz of the speed",
}
LONGEST_GAP = 0.5  # seconds; a joint that was not seen for longer starts anew


@dataclasses.dataclass(frozen=True)
class OneEuro:
    """The parameters of the filter, named as in the paper.

    `min_cutoff` in Hz is the cutoff of a joint at rest: lower is smoother. `beta` is by how many Hz
    it grows with each size of the person per second: higher lags less. A person's size is the
    square root of the area of the box. `d_cutoff` in Hz is the cutoff of the speed.
    """

    min_cutoff: float = 1.5
    beta: float = 3.0
    d_cutoff: float = 1.0

    def __post_init__(self):
        finite = np.isfinite(dataclasses.astuple(self)).all()
        if not finite or min(self.min_cutoff, self.d_cutoff) <= 0 or self.beta < 0:
            raise ValueError(
                f"{self} is not possible: min_cutoff and d_cutoff are frequencies above 0, and "
                "beta must not be negative"
            )


@dataclasses.dataclass(frozen=True)
class Smoothed:
    """What the filter knows of each track, a row each.

    `ids` (n,); `keypoints` (n, k, 2) and `speeds` (n, k, 2) in pixels per second, smoothed; `times`
    (n, k) in seconds, when each joint was seen last, NaN for never.
    """

    ids: np.ndarray
    keypoints: np.ndarray
    speeds: np.ndarray
    times: np.ndarray


def none(num_joints: int) -> Smoothed:
    """What the filter knows before the first frame."""
    empty = np.zeros((0, num_joints, 2))
    return Smoothed(np.zeros(0, np.int64), empty, empty, np.zeros((0, num_joints)))


def smooth(
    before: Smoothed,
    ids: np.ndarray,
    keypoints: np.ndarray,
    sizes: np.ndarray,
    time: float,
    parameters: OneEuro,
) -> tuple[Smoothed, np.ndarray]:
    """The filter after a frame, and the smooth keypoints (m, k, 2) of its poses.

    `ids` (m,) are the track ids of the poses, all different; `sizes` (m,) are those of the people
    in pixels. NaN stays NaN. Tracks without a pose are kept for a while, in case they come back.
    """
    last = _look_up(before, ids, keypoints.shape[1])
    seconds = time - last.times
    fresh = np.isfinite(keypoints).all(axis=-1)
    goes_on = fresh & (seconds > 0) & (seconds <= LONGEST_GAP)  # False where a time is NaN
    seconds = np.where(goes_on, seconds, 1.0)[..., None]
    change = np.where(goes_on[..., None], keypoints - last.keypoints, 0.0)
    speeds = last.speeds + _alpha(parameters.d_cutoff, seconds) * (change / seconds - last.speeds)
    pace = np.linalg.norm(speeds, axis=-1, keepdims=True) / np.maximum(sizes, 1.0)[:, None, None]
    alpha = _alpha(parameters.min_cutoff + parameters.beta * pace, seconds)
    smoothed = np.where(goes_on[..., None], last.keypoints + alpha * change, keypoints)
    speeds = np.where(goes_on[..., None], speeds, 0.0)
    seen = fresh[..., None]
    now = Smoothed(
        ids,
        np.where(seen, smoothed, last.keypoints),
        np.where(seen, speeds, last.speeds),
        np.where(fresh, time, last.times),
    )
    return _keep(before, now, time), np.where(seen, smoothed, keypoints)


def _alpha(cutoff, seconds):
    """The weight of what is new, for a cutoff in Hz and the seconds since the last sample."""
    turn = 2 * np.pi * cutoff * seconds
    return turn / (turn + 1)


def _look_up(before, ids, k):
    """What is known of some tracks; NaN times where nothing is."""
    n = len(ids)
    empty = Smoothed(ids, np.zeros((n, k, 2)), np.zeros((n, k, 2)), np.full((n, k), np.nan))
    rows, columns = np.nonzero(ids[:, None] == before.ids)
    empty.keypoints[rows] = before.keypoints[columns]
    empty.speeds[rows] = before.speeds[columns]
    empty.times[rows] = before.times[columns]
    return empty


def _keep(before, now, time):
    """What is known now, with the tracks that are out of sight for a short time."""
    with np.errstate(invalid="ignore"):
        recent = (time - before.times <= LONGEST_GAP).any(axis=1)
    waiting = recent & ~(before.ids[:, None] == now.ids).any(axis=1)
    if not waiting.any():
        return now
    return Smoothed(
        np.concatenate([now.ids, before.ids[waiting]]),
        np.concatenate([now.keypoints, before.keypoints[waiting]]),
        np.concatenate([now.speeds, before.speeds[waiting]]),
        np.concatenate([now.times, before.times[waiting]]),
    )
