"""Joint sets of people: COCO, MPII, CrowdPose, AI Challenger, JHMDB, PoseTrack18, Halpe-26."""

from data_pipelines.skeletons.joint_set import Skeleton

COCO = Skeleton(
    names=(
        "nose",
        "left_eye",
        "right_eye",
        "left_ear",
        "right_ear",
        "left_shoulder",
        "right_shoulder",
        "left_elbow",
        "right_elbow",
        "left_wrist",
        "right_wrist",
        "left_hip",
        "right_hip",
        "left_knee",
        "right_knee",
        "left_ankle",
        "right_ankle",
    ),
    flip_pairs=((1, 2), (3, 4), (5, 6), (7, 8), (9, 10), (11, 12), (13, 14), (15, 16)),
    limbs=(
        *((15, 13), (13, 11), (16, 14), (14, 12), (11, 12), (5, 11), (6, 12), (5, 6), (5, 7)),
        *((6, 8), (7, 9), (8, 10), (1, 2), (0, 1), (0, 2), (1, 3), (2, 4), (3, 5), (4, 6)),
    ),
    sigmas=(
        *(0.026, 0.025, 0.025, 0.035, 0.035, 0.079, 0.079, 0.072, 0.072),
        *(0.062, 0.062, 0.107, 0.107, 0.087, 0.087, 0.089, 0.089),
    ),
    upper_body=tuple(range(11)),
)

MPII = Skeleton(
    names=(
        "right_ankle",
        "right_knee",
        "right_hip",
        "left_hip",
        "left_knee",
        "left_ankle",
        "pelvis",
        "thorax",
        "upper_neck",
        "head_top",
        "right_wrist",
        "right_elbow",
        "right_shoulder",
        "left_shoulder",
        "left_elbow",
        "left_wrist",
    ),
    flip_pairs=((0, 5), (1, 4), (2, 3), (10, 15), (11, 14), (12, 13)),
    limbs=(
        *((0, 1), (1, 2), (2, 6), (6, 3), (3, 4), (4, 5), (6, 7), (7, 8), (8, 9)),
        *((8, 12), (12, 11), (11, 10), (8, 13), (13, 14), (14, 15)),
    ),
    # mmpose's values; PCKh does not use them.
    sigmas=(
        *(0.089, 0.083, 0.107, 0.107, 0.083, 0.089, 0.026, 0.026),
        *(0.026, 0.026, 0.062, 0.072, 0.179, 0.179, 0.072, 0.062),
    ),
    upper_body=tuple(range(7, 16)),
)

CROWDPOSE = Skeleton(
    names=(
        "left_shoulder",
        "right_shoulder",
        "left_elbow",
        "right_elbow",
        "left_wrist",
        "right_wrist",
        "left_hip",
        "right_hip",
        "left_knee",
        "right_knee",
        "left_ankle",
        "right_ankle",
        "top_head",
        "neck",
    ),
    flip_pairs=((0, 1), (2, 3), (4, 5), (6, 7), (8, 9), (10, 11)),
    # The files' own limbs are COCO's by mistake.
    limbs=(
        *((10, 8), (8, 6), (11, 9), (9, 7), (6, 7), (0, 6), (1, 7), (0, 1)),
        *((0, 2), (1, 3), (2, 4), (3, 5), (12, 13), (1, 13), (0, 13)),
    ),
    sigmas=(
        *(0.079, 0.079, 0.072, 0.072, 0.062, 0.062, 0.107),
        *(0.107, 0.087, 0.087, 0.089, 0.089, 0.079, 0.079),
    ),
    upper_body=(0, 1, 2, 3, 4, 5, 12, 13),
)

# Names as in the files that mmpose converts; sigmas are AI Challenger's own (AI_Challenger_2017,
# Evaluation/keypoint_eval/keypoint_eval.py).
AI_CHALLENGER = Skeleton(
    names=(
        *("right_shoulder", "right_elbow", "right_wrist"),
        *("left_shoulder", "left_elbow", "left_wrist"),
        *("right_hip", "right_knee", "right_ankle"),
        *("left_hip", "left_knee", "left_ankle"),
        *("head_top", "neck"),
    ),
    flip_pairs=((0, 3), (1, 4), (2, 5), (6, 9), (7, 10), (8, 11)),
    limbs=(
        *((2, 1), (1, 0), (0, 13), (13, 3), (3, 4), (4, 5), (8, 7), (7, 6), (6, 9)),
        *((9, 10), (10, 11), (12, 13), (0, 6), (3, 9)),
    ),
    sigmas=(
        *(0.01388152, 0.01515228, 0.01057665, 0.01417709, 0.01497891, 0.01402144, 0.03909642),
        *(0.03686941, 0.01981803, 0.03843971, 0.03412318, 0.02415081, 0.01291456, 0.01236173),
    ),
    upper_body=(0, 1, 2, 3, 4, 5, 12, 13),
)

# Sigmas adapted from COCO's by mmpose (configs/_base_/datasets/jhmdb.py).
JHMDB = Skeleton(
    names=(
        *("neck", "belly", "head", "right_shoulder", "left_shoulder", "right_hip", "left_hip"),
        *("right_elbow", "left_elbow", "right_knee", "left_knee", "right_wrist", "left_wrist"),
        *("right_ankle", "left_ankle"),
    ),
    flip_pairs=((3, 4), (5, 6), (7, 8), (9, 10), (11, 12), (13, 14)),
    limbs=(
        *((0, 2), (0, 3), (0, 4), (0, 1), (3, 7), (7, 11), (4, 8), (8, 12), (1, 5), (1, 6)),
        *((5, 9), (9, 13), (6, 10), (10, 14)),
    ),
    sigmas=(
        *(0.025, 0.107, 0.025, 0.079, 0.079, 0.107, 0.107, 0.072, 0.072),
        *(0.087, 0.087, 0.062, 0.062, 0.089, 0.089),
    ),
    upper_body=(0, 1, 2, 3, 4, 7, 8, 11, 12),
)

# The ears are never labeled. Sigmas are COCO's, place by place (mmpose,
# configs/_base_/datasets/posetrack18.py); the files' own limbs are COCO's by mistake.
POSETRACK18 = Skeleton(
    names=("nose", "head_bottom", "head_top", *COCO.names[3:]),
    flip_pairs=COCO.flip_pairs[1:],
    limbs=(
        *COCO.limbs[:12],
        *((0, 1), (0, 2), (1, 5), (1, 6)),
    ),
    sigmas=COCO.sigmas,
    upper_body=COCO.upper_body,
)

# The body and the feet of Halpe's 136 joints. Sigmas are mmpose's
# (configs/_base_/datasets/halpe26.py).
HALPE_26 = Skeleton(
    names=(
        *COCO.names,
        *("head", "neck", "hip", "left_big_toe", "right_big_toe", "left_small_toe"),
        *("right_small_toe", "left_heel", "right_heel"),
    ),
    flip_pairs=(*COCO.flip_pairs, (20, 21), (22, 23), (24, 25)),
    limbs=(
        *((15, 13), (13, 11), (11, 19), (16, 14), (14, 12), (12, 19), (17, 18), (18, 19)),
        *((18, 5), (5, 7), (7, 9), (18, 6), (6, 8), (8, 10), (1, 2), (0, 1), (0, 2), (1, 3)),
        *((2, 4), (3, 5), (4, 6), (15, 20), (15, 22), (15, 24), (16, 21), (16, 23), (16, 25)),
    ),
    sigmas=(*COCO.sigmas, 0.026, 0.026, 0.066, *6 * (0.079,)),
    upper_body=(*COCO.upper_body, 17, 18),
)
