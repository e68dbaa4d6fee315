"""COCO-WholeBody's 133 joints: body, feet, face and hands."""

import itertools

from data_pipelines.skeletons.joint_set import Skeleton
from data_pipelines.skeletons.people import COCO

# Where an annotation has the joints, in this order (github.com/jin-s13/COCO-WholeBody).
FIELDS = ("keypoints", "foot_kpts", "face_kpts", "lefthand_kpts", "righthand_kpts")
FEET, FACE, LEFT_HAND, RIGHT_HAND = 17, 23, 91, 112  # the first joint of each part

_FINGERS = ("thumb", "forefinger", "middle_finger", "ring_finger", "pinky_finger")
_HAND = ("hand_root", *(f"{finger}{place}" for finger in _FINGERS for place in (1, 2, 3, 4)))
# The usual 68 points of a face: which of them change places in a mirrored image.
_FACE_PAIRS = (
    *((point, 16 - point) for point in range(8)),  # jaw
    *((17 + point, 26 - point) for point in range(5)),  # eyebrows
    *((31, 35), (32, 34)),  # nose
    *((36, 45), (37, 44), (38, 43), (39, 42), (40, 47), (41, 46)),  # eyes
    *((48, 54), (49, 53), (50, 52), (55, 59), (56, 58)),  # outer lip
    *((60, 64), (61, 63), (65, 67)),  # inner lip
)
_FACE_LINES = ((0, 16), (17, 21), (22, 26), (27, 30), (31, 35), (36, 41), (42, 47), (48, 59))
_FACE_LINES += ((60, 67),)


def _hand_limbs(root):
    """The limbs of a hand: from its root along every finger."""
    chains = [(root, *range(root + 4 * f + 1, root + 4 * f + 5)) for f in range(len(_FINGERS))]
    return tuple(pair for chain in chains for pair in itertools.pairwise(chain))


_FACE_SIGMAS = (
    *(0.042, 0.043, 0.044, 0.043, 0.040, 0.035, 0.031, 0.025, 0.020, 0.023, 0.029, 0.032),
    *(0.037, 0.038, 0.043, 0.041, 0.045, 0.013, 0.012, 0.011, 0.011, 0.012, 0.012, 0.011),
    *(0.011, 0.013, 0.015, 0.009, 0.007, 0.007, 0.007, 0.012, 0.009, 0.008, 0.016, 0.010),
    *(0.017, 0.011, 0.009, 0.011, 0.009, 0.007, 0.013, 0.008, 0.011, 0.012, 0.010, 0.034),
    *(0.008, 0.008, 0.009, 0.008, 0.008, 0.007, 0.010, 0.008, 0.009, 0.009, 0.009, 0.007),
    *(0.007, 0.008, 0.011, 0.008, 0.008, 0.008, 0.010, 0.008),
)
_HAND_SIGMAS = (
    *(0.029, 0.022, 0.035, 0.037, 0.047, 0.026, 0.025, 0.024, 0.035, 0.018, 0.024),
    *(0.022, 0.026, 0.017, 0.021, 0.021, 0.032, 0.020, 0.019, 0.022, 0.031),
)

# Sigmas of the dataset's authors (COCO-WholeBody, evaluation/myeval_wholebody.py).
COCO_WHOLEBODY = Skeleton(
    names=(
        *COCO.names,
        *(
            f"{side}_{part}"
            for side in ("left", "right")
            for part in ("big_toe", "small_toe", "heel")
        ),
        *(f"face-{point}" for point in range(68)),
        *(f"{side}_{part}" for side in ("left", "right") for part in _HAND),
    ),
    flip_pairs=(
        *COCO.flip_pairs,
        *((FEET + joint, FEET + 3 + joint) for joint in range(3)),
        *((FACE + left, FACE + right) for left, right in _FACE_PAIRS),
        *((LEFT_HAND + joint, RIGHT_HAND + joint) for joint in range(21)),
    ),
    limbs=(
        *COCO.limbs,
        *((15, FEET), (15, FEET + 1), (15, FEET + 2), (16, FEET + 3), (16, FEET + 4)),
        (16, FEET + 5),
        *(
            (FACE + point, FACE + point + 1)
            for first, last in _FACE_LINES
            for point in range(first, last)
        ),
        *_hand_limbs(LEFT_HAND),
        *_hand_limbs(RIGHT_HAND),
    ),
    sigmas=(
        *(*COCO.sigmas, 0.068, 0.066, 0.066, 0.092, 0.094, 0.094),
        *(*_FACE_SIGMAS, *_HAND_SIGMAS, *_HAND_SIGMAS),
    ),
    upper_body=(*range(11), *range(FACE, RIGHT_HAND + 21)),
)
