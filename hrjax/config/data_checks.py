"""Checks of what a config says of its datasets: joints, boxes, the metric, and mixtures."""

import math
from collections.abc import Iterator
from typing import Any

from ml_collections import ConfigDict

from data_pipelines import datasets
from data_pipelines.messages import choices

METRICS = ("coco_ap", "crowdpose_ap", "pckh", "keypoints", "jhmdb", "posetrack")


def datasets_and_metric(config: ConfigDict) -> Iterator[str]:
    """What does not fit in the datasets, their joints, boxes and metric."""
    data, evaluation, number = config.data, config.eval, config.model.num_joints
    for name in dict.fromkeys([data.dataset, evaluation.dataset]):
        entry = datasets.DATASETS.get(name)
        if entry and entry.skeleton and entry.skeleton.num_joints != number:
            count = entry.skeleton.num_joints
            yield (
                f"config.model.num_joints is {number}, but people in {name} have {count} joints; "
                f"set --config.model.num_joints={count}"
            )
    if not data.root:
        yield "config.data.root is empty; set it to the folder of the dataset"
    if evaluation.dataset and not evaluation.root:
        yield (
            f"config.eval.dataset is {evaluation.dataset!r} and config.eval.root is empty; set it "
            f"to the folder of {evaluation.dataset}"
        )
    if evaluation.root and not evaluation.dataset:
        yield (
            f"config.eval.root is {evaluation.root!r}, but config.eval.dataset is empty; name the "
            "dataset in that folder, or set --config.data.root to evaluate on the same dataset"
        )
    entry = datasets.DATASETS.get(evaluation.dataset or data.dataset)
    if entry:
        yield from _protocol(evaluation, evaluation.dataset or data.dataset, entry)


def _protocol(evaluation, name, entry):
    """Problems with the boxes and the metric of the dataset that is evaluated."""
    if evaluation.boxes != "gt" and not entry.detected_boxes:
        yield (
            f"config.eval.boxes is {evaluation.boxes!r}, but {name} is evaluated with ground-truth "
            "boxes only; set --config.eval.boxes=gt"
        )
    # PCKh needs the head boxes that only MPII has; what the others need, MPII lacks. JHMDB's and
    # PoseTrack's metrics have groups of their own joints.
    wrong = "pckh" in {evaluation.metrics} ^ {entry.metric}
    wrong |= evaluation.metrics in ("jhmdb", "posetrack") and evaluation.metrics != entry.metric
    if evaluation.metrics in METRICS and wrong:
        yield (
            f"config.eval.metrics is {evaluation.metrics!r}, which {name} cannot be scored by; "
            f"leave it empty for its own, {entry.metric}"
        )


def joints(config: ConfigDict) -> Iterator[str]:
    """Lists with a value for each joint that have another number, or wrong values."""
    count, skeleton = config.model.num_joints, config.data.skeleton
    lists = {
        "loss.joint_weights": config.loss.joint_weights,
        "data.skeleton.names": skeleton.names,
        "data.skeleton.sigmas": skeleton.sigmas,
    }
    for field, values in lists.items():
        if len(values) not in (0, count):
            yield (
                f"config.{field} has {len(values)} values, but config.model.num_joints is {count}; "
                "set one per joint, or none"
            )
    if not all(is_number(weight) and weight >= 0 for weight in config.loss.joint_weights):
        yield f"config.loss.joint_weights is {config.loss.joint_weights}; set numbers of 0 or more"
    if not all(is_number(sigma) and sigma > 0 for sigma in skeleton.sigmas):
        yield f"config.data.skeleton.sigmas is {skeleton.sigmas}; set numbers above 0"
    if config.loss.hard_joints > count:
        yield (
            f"config.loss.hard_joints is {config.loss.hard_joints}, but config.model.num_joints is "
            f"{count}; set it to a number from 0 to {count}"
        )


def mix(config: ConfigDict) -> Iterator[str]:
    """What does not fit in the datasets that are mixed."""
    settings = config.data.mix
    for name in settings.datasets:
        if name not in datasets.DATASETS:
            advice = choices.advice(name, datasets.DATASETS)
            yield f"config.data.mix.datasets names {name!r}; {advice}"
    if len(settings.roots) not in (0, len(settings.datasets)):
        yield (
            f"config.data.mix.roots is {settings.roots}, but config.data.mix.datasets is "
            f"{settings.datasets}; set one folder per dataset, or none for their default folders"
        )
    if len(settings.weights) not in (0, 1 + len(settings.datasets)):
        yield (
            f"config.data.mix.weights is {settings.weights}; set {1 + len(settings.datasets)} "
            f"numbers, for {', '.join((config.data.dataset, *settings.datasets))} in this order, "
            "or none"
        )
    if not all(is_number(weight) and weight > 0 for weight in settings.weights):
        yield f"config.data.mix.weights is {settings.weights}; set numbers above 0"
    if settings.datasets and config.data.group_images:
        yield (
            "config.data.group_images cannot be combined with config.data.mix.datasets; set "
            "--config.data.group_images=False"
        )


def is_number(value: Any) -> bool:
    """Whether a value is a finite number."""
    return isinstance(value, int | float) and math.isfinite(value)
