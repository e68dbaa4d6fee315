"""Three-dimensional bodies in random postures, for synthetic datasets.

The projection is orthographic: x points right in the image, y down, z toward the viewer. A body
that stands upright and faces the viewer has its left side at positive x. Joints have the names
used in `skeletons`. Lengths are in standing heights, and in pixels after `Body.placed`.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np

# Each row is the probability of a posture, then the ranges of its angles in degrees.
# Trunk: forward lean, roll, forward bend of the spine, side bend, twist.
TRUNKS = (
    (0.85, (-6, 12), (-12, 12), (-5, 15), (-12, 12), (-20, 20)),  # upright
    (0.12, (10, 40), (-15, 15), (0, 30), (-15, 15), (-30, 30)),  # leaning
    (0.02, (35, 70), (-10, 10), (10, 35), (-15, 15), (-30, 30)),  # bending down
    (0.005, (-10, 15), (65, 115), (-5, 20), (-15, 15), (-20, 20)),  # lying, head to the right
    (0.005, (-10, 15), (-115, -65), (-5, 20), (-15, 15), (-20, 20)),  # lying, head to the left
)
# Leg: forward, spread, outward rotation, knee. Which of the two legs is the left one is random.
_STAND = ((-6, 12), (0, 9), (-5, 25), (0, 12))
_SIT = ((65, 100), (0, 25), (-10, 30), (55, 105))
_CROUCH = ((75, 120), (5, 35), (5, 40), (85, 140))
LEGS = (
    (0.34, _STAND, _STAND),
    (0.28, ((5, 35), (0, 6), (-5, 15), (0, 35)), ((-30, -3), (0, 6), (-5, 15), (3, 50))),  # walk
    (0.09, ((30, 85), (0, 8), (-5, 15), (30, 110)), ((-35, 5), (0, 8), (-5, 15), (5, 95))),  # run
    (0.17, ((-5, 25), (12, 40), (0, 35), (0, 30)), ((-5, 25), (12, 40), (0, 35), (0, 30))),
    (0.06, _SIT, _SIT),
    (0.02, _CROUCH, _CROUCH),
    (
        0.04,
        ((30, 100), (0, 45), (-10, 40), (0, 90)),
        ((-15, 8), (0, 15), (-5, 25), (0, 20)),
    ),  # kick
)
# Arm: forward, spread, inward rotation, elbow.
ARMS = (
    (0.20, (-10, 15), (2, 16), (-10, 45), (0, 30)),  # hanging
    (0.20, (-45, 50), (2, 18), (0, 35), (10, 105)),  # swinging
    (0.05, (45, 100), (-10, 25), (-25, 40), (0, 70)),  # reaching forward
    (0.22, (-10, 25), (50, 105), (-40, 40), (0, 70)),  # sideways
    (0.18, (-10, 30), (120, 175), (-40, 40), (0, 60)),  # raised
    (0.05, (-15, 25), (60, 110), (-110, -60), (40, 135)),  # hand above the shoulder
    (0.08, (-25, 5), (28, 52), (45, 85), (80, 120)),  # on the hip
    (0.02, (10, 45), (0, 18), (45, 90), (65, 115)),  # across the chest
    (0.01, (-40, -15), (8, 25), (50, 100), (30, 85)),  # behind the back
)
# Facial joints on the head, modeled as an ellipsoid: the direction (left, down, forward), and the
# smallest z of that direction at which the joint is not yet hidden behind the head.
FACE = {
    "nose": ((0.0, 0.22, 1.0), -0.15),
    "left_eye": ((0.40, -0.08, 0.9), 0.0),
    "right_eye": ((-0.40, -0.08, 0.9), 0.0),
    "left_ear": ((1.0, 0.10, -0.10), -0.35),
    "right_ear": ((-1.0, 0.10, -0.10), -0.35),
}
HEAD_LENGTH = 0.165  # from the upper neck to the top
HEAD_RADII = np.array([0.056, HEAD_LENGTH / 2, 0.066])
SIDES = (("left", 1), ("right", -1))


@dataclasses.dataclass(frozen=True)
class Body:
    """A posture: points (3,) by joint name, and frames (3, 3) by body part.

    The columns of a frame are the directions left, down and forward of the part.
    """

    points: Mapping[str, np.ndarray]
    frames: Mapping[str, np.ndarray]
    size: float = 1.0  # the standing height

    def placed(self, size: float, offset: np.ndarray) -> "Body":
        """The body scaled to `size` pixels, with its pelvis at `offset` (x, y)."""
        offset = np.array([*offset, 0.0])
        points = {name: point * size + offset for name, point in self.points.items()}
        return Body(points, self.frames, size)

    def is_behind_head(self, name: str) -> bool:
        """Whether a facial joint is hidden by the head itself."""
        direction, limit = FACE[name]
        direction = np.array(direction) / np.linalg.norm(direction)
        return bool((self.frames["head"] @ direction)[2] < limit)


def rotation(*, x: float = 0.0, y: float = 0.0, z: float = 0.0) -> np.ndarray:
    """The rotation about z, then about the rotated x, then about the rotated y, in degrees."""
    (cx, cy, cz), (sx, sy, sz) = np.cos(np.deg2rad([x, y, z])), np.sin(np.deg2rad([x, y, z]))
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return about_z @ about_x @ about_y


def _choose_posture(rng: np.random.Generator, table: tuple) -> tuple:
    weights = np.array([row[0] for row in table])
    return table[rng.choice(len(table), p=weights / weights.sum())][1:]


def _draw_angles(rng: np.random.Generator, ranges: tuple) -> list[float]:
    return [rng.uniform(*limits) for limits in ranges]


@dataclasses.dataclass(frozen=True)
class Posture:
    """The angles of a body in degrees, and how its bones differ from the average ones.

    `trunk` is forward lean, roll, forward bend of the spine, side bend, twist; `tilt` is the
    camera's, `yaw` turns the whole body, 90 to the right in the image. `head` is turn, nod, roll.
    `arms` (2, 4) are forward, spread, inward rotation and elbow of the left and the right arm;
    `legs` (2, 5) are forward, spread, outward rotation, knee and foot. `stretch` (5,) are factors
    of the trunk, shoulders, upper arms, hips and thighs.
    """

    trunk: np.ndarray
    tilt: float
    yaw: float
    head: np.ndarray
    arms: np.ndarray
    legs: np.ndarray
    stretch: np.ndarray


def random_posture(rng: np.random.Generator) -> Posture:
    """A random posture and orientation."""
    trunk = _draw_angles(rng, _choose_posture(rng, TRUNKS))
    # Most people face the camera, some face away, and few are seen from the side.
    views = (rng.normal(0, 30), rng.normal(180, 30), rng.uniform(0, 360))
    yaw = views[rng.choice(3, p=(0.92, 0.05, 0.03))]
    tilt = rng.uniform(-3, 15)
    head = (rng.normal(0, 20), rng.normal(-5, 12), rng.normal(0, 7))
    stretch = rng.normal(1, 0.04, 5).clip(0.9, 1.1)
    left, right = _choose_posture(rng, ARMS), _choose_posture(rng, ARMS)
    arms = (left, left if rng.random() < 0.35 else right)
    arms = [_draw_angles(rng, ranges) for ranges in arms]
    legs = _choose_posture(rng, LEGS)
    legs = legs[::-1] if rng.random() < 0.5 else legs
    legs = [[*_draw_angles(rng, ranges), rng.uniform(-25, 10)] for ranges in legs]
    return Posture(np.array(trunk), tilt, yaw, *map(np.array, (head, arms, legs)), stretch)


def random_body(rng: np.random.Generator) -> Body:
    """A body in a random posture and orientation, with its pelvis at the origin."""
    return build_body(random_posture(rng))


def build_body(posture: Posture) -> Body:
    """The body in a posture, with its pelvis at the origin."""
    lean, roll, bend, side_bend, twist = posture.trunk
    turn, nod, head_roll = posture.head
    root = rotation(x=-posture.tilt) @ rotation(z=roll) @ rotation(y=posture.yaw)
    pelvis = root @ rotation(x=-lean)
    chest = pelvis @ rotation(x=-bend) @ rotation(y=twist, z=side_bend)
    head = chest @ rotation(y=turn)
    head = head @ rotation(x=nod, z=head_roll)

    waist = pelvis @ np.array([0, -0.14, 0]) * posture.stretch[0]
    thorax = waist + chest @ np.array([0, -0.145, 0]) * posture.stretch[0]
    neck = thorax + (chest + head) @ np.array([0, -0.025, 0.006])
    points = {"pelvis": np.zeros(3), "waist": waist, "thorax": thorax, "upper_neck": neck}
    points["head_top"] = neck + head @ np.array([0, -HEAD_LENGTH, 0])
    middle = (neck + points["head_top"]) / 2
    for name, (direction, _) in FACE.items():
        direction = np.array(direction) / np.linalg.norm(direction)
        points[name] = middle + head @ (HEAD_RADII * direction)
    frames = {"pelvis": pelvis, "chest": chest, "head": head}
    _add_arms(posture, points, frames)
    _add_legs(posture, points, frames, root)
    return Body(points, frames)


def _add_arms(posture: Posture, points: dict, frames: dict) -> None:
    chest, thorax, stretch = frames["chest"], points["thorax"], posture.stretch
    for (side, sign), angles in zip(SIDES, posture.arms, strict=True):
        forward, spread, inward, elbow = angles
        # A raised arm lifts its shoulder.
        shrug = 0.03 * max(spread - 60, 0) / 90
        upper = chest @ rotation(z=-sign * spread, x=forward, y=-sign * inward)
        fore = upper @ rotation(x=elbow)
        shoulder = thorax + chest @ np.array([sign * 0.108 * stretch[1], 0.012 - shrug, 0])
        points[f"{side}_shoulder"] = shoulder
        points[f"{side}_elbow"] = shoulder + upper @ np.array([0, 0.172, 0]) * stretch[2]
        points[f"{side}_wrist"] = points[f"{side}_elbow"] + fore @ np.array([0, 0.15, 0])
        points[f"{side}_fingers"] = points[f"{side}_wrist"] + fore @ np.array([0, 0.055, 0.008])
        frames[f"{side}_arm"], frames[f"{side}_forearm"] = upper, fore


def _add_legs(posture: Posture, points: dict, frames: dict, root: np.ndarray) -> None:
    stretch = posture.stretch
    for (side, sign), angles in zip(SIDES, posture.legs, strict=True):
        forward, spread, outward, knee, ankle = angles
        thigh = root @ rotation(z=-sign * spread, x=forward, y=sign * outward)
        shin = thigh @ rotation(x=-knee)
        foot = shin @ rotation(x=ankle)
        hip = frames["pelvis"] @ np.array([sign * 0.056 * stretch[3], 0, 0])
        points[f"{side}_hip"] = hip
        points[f"{side}_knee"] = hip + thigh @ np.array([0, 0.245, 0]) * stretch[4]
        points[f"{side}_ankle"] = points[f"{side}_knee"] + shin @ np.array([0, 0.24, 0])
        points[f"{side}_heel"] = points[f"{side}_ankle"] + foot @ np.array([0, 0.02, -0.012])
        points[f"{side}_toes"] = points[f"{side}_ankle"] + foot @ np.array([0, 0.03, 0.1])
        frames[f"{side}_thigh"], frames[f"{side}_shin"] = thigh, shin
        frames[f"{side}_foot"] = foot @ rotation(x=90)  # as in every limb, down points along it
