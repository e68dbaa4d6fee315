"""Joint sets of the datasets: names, left/right pairs, limbs and the sigmas of their metrics."""

from data_pipelines.skeletons.animals import ANIMAL_POSE, AP10K
from data_pipelines.skeletons.joint_set import Skeleton
from data_pipelines.skeletons.people import (
    AI_CHALLENGER,
    COCO,
    CROWDPOSE,
    HALPE_26,
    JHMDB,
    MPII,
    POSETRACK18,
)
from data_pipelines.skeletons.whole_body import COCO_WHOLEBODY

__all__ = [
    "AI_CHALLENGER",
    "ANIMAL_POSE",
    "AP10K",
    "COCO",
    "COCO_WHOLEBODY",
    "CROWDPOSE",
    "HALPE_26",
    "JHMDB",
    "MPII",
    "POSETRACK18",
    "Skeleton",
]
