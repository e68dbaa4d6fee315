"""Joint sets of animals: AP-10K and Animal-Pose."""

from data_pipelines.skeletons.joint_set import Skeleton

# Sigmas by mmpose after COCO's (configs/_base_/datasets/ap10k.py), as in AP-10K's own code.
AP10K = Skeleton(
    names=(
        *("left_eye", "right_eye", "nose", "neck", "root_of_tail"),
        *("left_shoulder", "left_elbow", "left_front_paw"),
        *("right_shoulder", "right_elbow", "right_front_paw"),
        *("left_hip", "left_knee", "left_back_paw"),
        *("right_hip", "right_knee", "right_back_paw"),
    ),
    flip_pairs=((0, 1), (5, 8), (6, 9), (7, 10), (11, 14), (12, 15), (13, 16)),
    limbs=(
        *((0, 1), (0, 2), (1, 2), (2, 3), (3, 4), (3, 5), (5, 6), (6, 7), (3, 8), (8, 9), (9, 10)),
        *((4, 11), (11, 12), (12, 13), (4, 14), (14, 15), (15, 16)),
    ),
    sigmas=(
        *(0.025, 0.025, 0.026, 0.035, 0.035, 0.079, 0.072, 0.062, 0.079, 0.072, 0.062),
        *(0.107, 0.087, 0.089, 0.107, 0.087, 0.089),
    ),
    upper_body=(0, 1, 2, 3, 5, 6, 7, 8, 9, 10),
)

# The paper gives no sigmas; these are mmpose's, in its order
# (configs/_base_/datasets/animalpose.py).
ANIMAL_POSE = Skeleton(
    names=(
        *("L_Eye", "R_Eye", "L_EarBase", "R_EarBase", "Nose", "Throat", "TailBase", "Withers"),
        *("L_F_Elbow", "R_F_Elbow", "L_B_Elbow", "R_B_Elbow"),
        *("L_F_Knee", "R_F_Knee", "L_B_Knee", "R_B_Knee"),
        *("L_F_Paw", "R_F_Paw", "L_B_Paw", "R_B_Paw"),
    ),
    flip_pairs=((0, 1), (2, 3), (8, 9), (10, 11), (12, 13), (14, 15), (16, 17), (18, 19)),
    limbs=(
        *((0, 1), (0, 2), (1, 3), (0, 4), (1, 4), (4, 5), (5, 7), (6, 7), (5, 8), (8, 12)),
        *((12, 16), (5, 9), (9, 13), (13, 17), (6, 10), (10, 14), (14, 18), (6, 11), (11, 15)),
        (15, 19),
    ),
    sigmas=(
        *(0.025, 0.025, 0.026, 0.035, 0.035, 0.1, 0.1, 0.1, *4 * (0.107,), *4 * (0.087,)),
        *4 * (0.089,),
    ),
    upper_body=(0, 1, 2, 3, 4, 5, 7, 8, 9, 12, 13, 16, 17),
)
