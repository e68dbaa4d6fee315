"""The metrics by name: from the predictions of a split to numbers and a table."""

import dataclasses
import functools
import logging
import math
from collections.abc import Callable

import numpy as np

from data_pipelines import geometry
from data_pipelines.messages import choices
from data_pipelines.splits import Split
from hrjax import calibration, detections, text_tables
from hrjax.calibration import Calibration
from hrjax.detections import Detections, Predictions
from hrjax.evaluation import average_precision, distance_metrics, nms, posetrack
from hrjax.evaluation.protocols import Protocol

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, eq=False)
class Evaluation:
    """Numbers by name, the one that ranks checkpoints, a table to print, and what was compared.

    Without ground truth there are no `numbers` and the `score` is NaN. `detections` are None for a
    metric that looks at each person alone.
    """

    numbers: dict[str, float]
    score: float
    table: str
    detections: Detections | None

    def titled(self, title: str) -> "Evaluation":
        """The evaluation with a line above its table."""
        return dataclasses.replace(self, table=f"{title}\n{self.table}")


@dataclasses.dataclass(frozen=True)
class Metric:
    """One way to score a split.

    `ranks_by` is the number that ranks checkpoints in annotated boxes; in detected ones it is AP.
    `columns` are what the split must have; `compute(protocol, split, predictions, detections)`
    makes numbers by name and a table, from predictions that may have rows that are not finite and
    from what `detect` makes of them.
    """

    ranks_by: str
    columns: tuple[str, ...]
    compute: Callable[[Protocol, Split, Predictions, Detections | None], tuple[dict, str]]

    @property
    def compares_images(self) -> bool:
        """Whether it compares all people of an image, and not one after the other."""
        return "image_id" in self.columns


def check(protocol: Protocol) -> None:
    """Raises ValueError for an unknown metric or NMS."""
    if protocol.metric not in METRICS:
        raise ValueError(
            f"{choices.unknown('config.eval.metrics', protocol.metric, METRICS)}, or leave it "
            "empty for the dataset's own"
        )
    if protocol.nms not in nms.METHODS:
        raise ValueError(choices.unknown("config.eval.nms", protocol.nms, nms.METHODS))


def score_name(protocol: Protocol) -> str:
    """The number that ranks checkpoints."""
    return METRICS[protocol.metric].ranks_by if protocol.annotated_boxes else "AP"


def score(protocol: Protocol, split: Split, predictions: Predictions) -> Evaluation:
    """Scores the predictions of a split.

    People whose predictions are not finite count as not detected; where all are, it is an error.
    """
    metric = METRICS[protocol.metric]
    name = f"{protocol.dataset} {split.name}"
    missing = [column for column in metric.columns if column not in split.columns]
    if missing:
        raise ValueError(
            f"config.eval.metrics={protocol.metric!r} needs what {name} does not have: "
            f"{', '.join(missing)}; leave it empty for the dataset's own"
        )
    _check_predictions(name, split, predictions)
    people = detect(protocol, split, predictions) if metric.compares_images else None
    numbers, table = metric.compute(protocol, split, predictions, people)
    return Evaluation(numbers, numbers.get(score_name(protocol), math.nan), table, people)


def _check_predictions(name, split, predictions):
    finite = predictions.finite
    if len(split) and not finite.any():
        raise ValueError(
            f"all predictions of {name} hold NaN or infinite numbers; the network diverged or its "
            "weights are damaged"
        )
    if not finite.all():
        logger.warning(
            "the heatmaps of %d of %d people hold NaN or infinite numbers; they count as not "
            "detected, e.g. the person in %s",
            *(np.count_nonzero(~finite), len(split), split.columns["image_path"][finite.argmin()]),
        )


def detect(
    protocol: Protocol,
    split: Split,
    predictions: Predictions,
    calibrated: Calibration | None = None,
) -> Detections:
    """The predicted people of a split after rescoring, `calibrated` or not, and OKS-NMS."""
    columns, sigmas = split.columns, split.skeleton.sigmas
    rows = np.flatnonzero(predictions.finite)
    box_scores = columns.get("box_score", np.ones(len(split)))[rows]
    joint_scores = predictions.joint_scores[rows]
    joint_scores, person_scores = calibration.rescore(
        joint_scores, box_scores, threshold=protocol.joint_threshold, calibration=calibrated
    )
    areas = geometry.fit_aspect(columns["size"][rows], protocol.input_size).prod(axis=-1)
    keypoints, image_ids = predictions.keypoints[rows], columns["image_id"][rows]
    suppress = nms.METHODS[protocol.nms] if sigmas else nms.keep_all
    options = {"max_people": protocol.max_people} if suppress is nms.soft_nms else {}
    arguments = (keypoints, person_scores, areas, image_ids, sigmas, protocol.oks_threshold)
    kept = suppress(*arguments, **options)
    return detections.make(
        image_ids[kept], keypoints[kept], joint_scores[kept], person_scores[kept]
    )


def _pckh(protocol, split, predictions, people):
    columns = split.columns
    if not columns["truth_visible"].any():
        return {}, NO_TRUTH
    table = distance_metrics.pckh_table(
        _far_where_unknown(predictions),
        columns["truth_keypoints"],
        columns["truth_visible"],
        columns["head_size"],
    )
    rows = [["", *next(iter(table.values()))]]
    rows += [
        [name, *(f"{value:.2f}" for value in groups.values())] for name, groups in table.items()
    ]
    numbers = {name: groups["Mean"] for name, groups in table.items()}
    numbers |= {
        f"{name} {group}": value
        for name, groups in table.items()
        for group, value in groups.items()
        if group != "Mean"
    }
    return numbers, text_tables.format_table(rows)


def _ap(compute, protocol, split, predictions, people):
    if not split.truth.annotated:
        return {}, NO_TRUTH
    _warn_of_limit(protocol, split, people)
    numbers = compute(people, split.truth, max_people=protocol.max_people)
    return numbers, text_tables.one_row(numbers)


def _keypoints(protocol, split, predictions, people):
    # PCK, AUC and EPE where people are in their annotated boxes; AP where joints have sigmas.
    if not split.truth.annotated:
        return {}, NO_TRUTH
    numbers, notes = {}, []
    if protocol.annotated_boxes:
        numbers |= _distances(split, predictions)
    else:
        notes.append("without PCK, AUC and EPE: a detected box does not say which person it is of")
    if split.skeleton.sigmas:
        _warn_of_limit(protocol, split, people)
        numbers |= average_precision.coco_ap(people, split.truth, max_people=protocol.max_people)
    else:
        notes.append("without AP and NMS: OKS needs the sigmas of the joints, and there are none")
    if not numbers:
        raise ValueError(
            "config.eval.metrics=keypoints has nothing to measure: detected boxes "
            "(config.eval.boxes) allow only AP, and AP needs the sigmas of the joints"
        )
    return numbers, "\n".join([text_tables.one_row(numbers), *notes])


def _distances(split, predictions):
    labeled, finite = split.columns["visible"] > 0, predictions.finite
    pixels, longest = _pixels_and_sides(split, predictions)
    return {
        "PCK@0.05": distance_metrics.pck(pixels / longest, labeled, 0.05),
        "PCK@0.2": distance_metrics.pck(pixels / longest, labeled, 0.2),
        "AUC": distance_metrics.auc(pixels, labeled),
        "EPE": distance_metrics.epe(pixels[finite], labeled[finite]),
    }


def _pixels_and_sides(split, predictions):
    """The distances of joints to the truth (n, k), and the longer sides of the boxes (n, 1)."""
    columns = split.columns
    difference = _far_where_unknown(predictions) - columns["keypoints"].astype(np.float64)
    longest = columns["size"].max(axis=-1, keepdims=True) / geometry.BOX_PADDING
    return np.linalg.norm(difference, axis=-1), longest


def _jhmdb(protocol, split, predictions, people):
    """What all own datasets have, and PCK@0.2 of groups of joints by box and by torso."""
    numbers, table = _keypoints(protocol, split, predictions, people)
    if not numbers or not protocol.annotated_boxes:
        return numbers, table
    columns, names = split.columns, split.skeleton.names
    labeled, found = columns["visible"] > 0, _far_where_unknown(predictions)
    pixels, longest = _pixels_and_sides(split, predictions)
    torsos = distance_metrics.torso_sizes(found, columns["keypoints"], labeled, names)
    rows = []
    for name, sizes in (("PCK@0.2", longest), ("tPCK@0.2", torsos[:, None])):
        groups = distance_metrics.pck_of_groups(
            pixels / np.maximum(sizes, SMALLEST_SIZE), labeled, 0.2, names
        )
        mean = {name: groups.pop("Mean")}
        rows.append([name, *(f"{value:.4f}" for value in (*groups.values(), *mean.values()))])
        numbers |= mean | {f"{name} {group}": value for group, value in groups.items()}
    head = ["", *distance_metrics.JHMDB_GROUPS, "Mean"]
    return numbers, f"{text_tables.format_table([head, *rows])}\n\n{table}"


def _posetrack(protocol, split, predictions, people):
    """What all own datasets have, and PoseTrack's mAP, which knows all people of an image."""
    numbers, table = _keypoints(protocol, split, predictions, people)
    if not numbers:
        return numbers, table
    if problem := posetrack.head_problem(split.truth):
        note = f"without mAP of joints: it measures in sizes of heads, and {problem}"
        return numbers, f"{table}\n{note}"
    own = posetrack.joint_ap(people, split.truth)
    named = {name if name == "mAP" else f"mAP {name}": value for name, value in own.items()}
    return named | numbers, f"{text_tables.one_row(own)}\n\n{table}"


def _far_where_unknown(predictions):
    """The keypoints, far from everything where the prediction is not finite."""
    return np.where(predictions.finite[:, None, None], predictions.keypoints, NOWHERE)


def _warn_of_limit(protocol, split, people):
    """Says in the log where AP does not compare all people of an image."""
    limit, truth = protocol.max_people, split.truth
    if not limit:
        return
    annotated = np.bincount(truth.image_rows[truth.counted], minlength=1)
    _, detected = np.unique(people.image_ids, return_counts=True)
    if annotated.max() > limit:
        logger.warning(
            "%d images have more than %d annotated people, and AP compares only the best %d "
            "detections of each image; set config.eval.max_people=%d or more to compare all",
            *(np.count_nonzero(annotated > limit), limit, limit, annotated.max()),
        )
    elif (detected > limit).any():
        logger.info(
            "AP leaves out %d detections of %d images with more than %d (config.eval.max_people)",
            *(np.maximum(detected - limit, 0).sum(), np.count_nonzero(detected > limit), limit),
        )


NOWHERE = -1e6
SMALLEST_SIZE = 1e-6  # pixels, so that a torso without any extent does not divide by 0
NO_TRUTH = "no ground truth: nothing to score; the predictions are in the results file"
METRICS = {
    "coco_ap": Metric("AP", ("image_id",), functools.partial(_ap, average_precision.coco_ap)),
    "crowdpose_ap": Metric(
        "AP", ("image_id",), functools.partial(_ap, average_precision.crowdpose_ap)
    ),
    "pckh": Metric("PCKh@0.5", ("truth_keypoints", "truth_visible", "head_size"), _pckh),
    "keypoints": Metric("PCK@0.05", ("image_id",), _keypoints),
    "jhmdb": Metric("PCK@0.2", ("image_id",), _jhmdb),
    "posetrack": Metric("mAP", ("image_id",), _posetrack),
}
