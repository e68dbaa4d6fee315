"""How people move: a Kalman filter of constant velocity for each of them (Kalman 1960).

Both directions of the image are independent of each other and equally uncertain. Uncertainty is in
units of a person's size, so that the same numbers fit near and far people.
"""

import dataclasses

import numpy as np

CHANGE = 1.5  # of the velocity within a second, in sizes per second: the standard deviation
MEASUREMENT = 0.03  # of a person's place, in sizes: the standard deviation
FIRST_SPEED = 1.0  # of a person seen for the first time, in sizes per second: the deviation


@dataclasses.dataclass(frozen=True)
class Motion:
    """The motion of people: `place` (n, 2) in pixels and `velocity` (n, 2) in pixels per second.

    `covariance` (n, 2, 2) is that of place and velocity in either direction, in sizes.
    """

    place: np.ndarray
    velocity: np.ndarray
    covariance: np.ndarray


def start(places: np.ndarray) -> Motion:
    """The motion of people at `places` (n, 2) who are seen for the first time."""
    covariance = np.diag([MEASUREMENT**2, FIRST_SPEED**2])
    repeated = np.repeat(covariance[None], len(places), axis=0)
    return Motion(places, np.zeros_like(places), repeated)


def rows(motion: Motion, chosen: np.ndarray) -> Motion:
    """The motion of some of the people."""
    return Motion(motion.place[chosen], motion.velocity[chosen], motion.covariance[chosen])


def join(first: Motion, second: Motion) -> Motion:
    """The motion of all people of both."""
    return Motion(
        np.concatenate([first.place, second.place]),
        np.concatenate([first.velocity, second.velocity]),
        np.concatenate([first.covariance, second.covariance]),
    )


def move(motion: Motion, seconds: float) -> Motion:
    """The motion some seconds later."""
    step = np.array([[1, seconds], [0, 1]])
    # White noise of the acceleration, which gives the same for one long step as for two short ones.
    noise = np.array([[seconds**3 / 3, seconds**2 / 2], [seconds**2 / 2, seconds]])
    covariance = step @ motion.covariance @ step.T + CHANGE**2 * noise
    return Motion(motion.place + seconds * motion.velocity, motion.velocity, covariance)


def measure(motion: Motion, places: np.ndarray) -> Motion:
    """The motion of people once they have been seen at `places` (n, 2)."""
    expected = motion.covariance[:, 0]  # (n, 2): of the place, with place and velocity
    gain = expected / (expected[:, :1] + MEASUREMENT**2)
    difference = places - motion.place
    return Motion(
        motion.place + gain[:, :1] * difference,
        motion.velocity + gain[:, 1:] * difference,
        motion.covariance - gain[:, :, None] * expected[:, None],
    )
