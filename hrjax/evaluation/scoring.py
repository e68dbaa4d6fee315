"""What predictions of a split are worth: the metrics by name, their tables and result files."""

import dataclasses
import logging
import pathlib
from collections.abc import Callable

import numpy as np
import scipy.io
from ml_collections import ConfigDict

from data_pipelines import datasets, geometry
from data_pipelines.splits import Split
from hrjax.evaluation import average_precision, distance_metrics, oks

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Predictions:
    """One row per person of a split: keypoints (n, k, 2) in image pixels, scores (n, k)."""

    keypoints: np.ndarray
    scores: np.ndarray


@dataclasses.dataclass(frozen=True)
class Scores:
    """Entries of the results file, metrics by name (none without ground truth), and a table."""

    results: list[dict]
    numbers: dict[str, float]
    table: str


@dataclasses.dataclass(frozen=True)
class Metric:
    """One way to score a split.

    `ranks_by` is the number that ranks checkpoints where boxes are annotated, with detected ones it
    is AP; `columns` what the split must have;
    `compute(config, split, predictions, usable)` makes Scores, where `usable` (n,) says whose
    predictions are numbers.
    """

    ranks_by: str
    columns: tuple[str, ...]
    compute: Callable[[ConfigDict, Split, Predictions, np.ndarray], Scores]


def dataset(config: ConfigDict) -> str:
    """The dataset that is evaluated on."""
    return config.eval.dataset or config.data.dataset


def metric(config: ConfigDict) -> Metric:
    """The metric of config.eval.metrics, or the dataset's own where that is empty."""
    name = config.eval.metrics or datasets.DATASETS[dataset(config)].metric
    if name not in METRICS:
        raise ValueError(
            f"unknown config.eval.metrics {name!r}; choose one of: {', '.join(METRICS)}, or leave "
            "it empty for the dataset's own"
        )
    return METRICS[name]


def check(config: ConfigDict) -> None:
    """Raises ValueError where config.eval names a metric or an NMS that there is not."""
    metric(config)
    if config.eval.nms not in oks.NMS:
        raise ValueError(
            f"unknown config.eval.nms {config.eval.nms!r}; choose one of: {', '.join(oks.NMS)}"
        )


def compares_images(config: ConfigDict) -> bool:
    """Whether the metric looks at all people of an image, and not at one after the other."""
    return "image_id" in metric(config).columns


def score_name(config: ConfigDict) -> str:
    """The number that ranks checkpoints."""
    return metric(config).ranks_by if config.eval.boxes == "gt" else "AP"


def score(config: ConfigDict, split: Split, predictions: Predictions) -> Scores:
    """Scores predictions by the config's metric.

    People whose predictions are not numbers count as not found; if that is everybody it is an
    error.
    """
    chosen = metric(config)
    missing = [name for name in chosen.columns if name not in split.columns]
    if missing:
        raise ValueError(
            f"config.eval.metrics={config.eval.metrics!r} needs what {dataset(config)} "
            f"{split.name} does not have: {', '.join(missing)}; leave it empty for the dataset's "
            "own"
        )
    usable = np.isfinite(predictions.keypoints).all((1, 2)) & np.isfinite(predictions.scores).all(1)
    if len(split) and not usable.any():
        raise ValueError(
            f"all predictions of {dataset(config)} {split.name} hold NaN or infinite numbers; "
            "the network diverged or its weights are damaged"
        )
    if not usable.all():
        logger.warning(
            "the heatmaps of %d of %d people hold NaN or infinite numbers; they count as not "
            "found, e.g. the person in %s",
            *(np.count_nonzero(~usable), len(split), split.columns["image_path"][usable.argmin()]),
        )
    return chosen.compute(config, split, predictions, usable)


def save_mpii(predictions: Predictions, path: pathlib.Path) -> None:
    """Writes predictions as HRNet's pred.mat: `preds` (n, 16, 2), 1-based."""
    scipy.io.savemat(path, {"preds": predictions.keypoints.astype(np.float64) + 1})


def _pckh(config, split, predictions, usable):
    columns = split.columns
    shown = np.where(usable[:, None, None], predictions.keypoints, 0)
    scores = np.where(usable[:, None], predictions.scores, 0)
    results = [
        {"image": path, "keypoints": keypoints, "scores": row}
        for path, keypoints, row in zip(
            columns["image_path"], shown.tolist(), scores.tolist(), strict=True
        )
    ]
    if not columns["truth_visible"].any():
        return Scores(results, {}, NO_TRUTH)
    table = distance_metrics.pckh_table(
        np.where(usable[:, None, None], predictions.keypoints, NOWHERE),
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
    return Scores(results, numbers, distance_metrics.format_table(rows))


def _coco_ap(config, split, predictions, usable):
    results = people(config, split, predictions, usable)
    if not _has_truth(split):
        return Scores(results, {}, NO_TRUTH)
    numbers = average_precision.coco_ap(results, split.annotation_file)
    return Scores(results, numbers, _one_row(numbers))


def _crowdpose_ap(config, split, predictions, usable):
    results = people(config, split, predictions, usable)
    if not _has_truth(split):
        return Scores(results, {}, NO_TRUTH)
    sigmas = split.skeleton.sigmas
    numbers = average_precision.crowdpose_ap(results, split.annotation_file, sigmas)
    return Scores(results, numbers, _one_row(numbers))


def _keypoints(config, split, predictions, usable):
    # PCK, AUC and EPE where people are in their annotated boxes; AP where joints have sigmas.
    results = people(config, split, predictions, usable)
    numbers, notes = {}, []
    if config.eval.boxes == "gt":
        numbers |= _distances(split, predictions, usable)
    else:
        notes.append("without PCK, AUC and EPE: a detected box does not say whose it is")
    if split.skeleton.sigmas:
        found = average_precision.oks_ap(results, split.annotation_file, split.skeleton.sigmas)
        numbers |= found
    else:
        notes.append("without AP and NMS: OKS needs the sigmas of the joints, and there are none")
    if not numbers:
        raise ValueError(
            "config.eval.metrics=keypoints has nothing to measure: detected boxes "
            "(config.eval.boxes) allow only AP, and AP needs the sigmas of the joints"
        )
    return Scores(results, numbers, "\n".join([_one_row(numbers), *notes]))


def _distances(split, predictions, usable):
    columns = split.columns
    labelled = columns["visible"] > 0
    keypoints = np.where(usable[:, None, None], predictions.keypoints, NOWHERE)
    pixels = np.linalg.norm(keypoints - columns["keypoints"].astype(np.float64), axis=-1)
    longest = columns["size"].max(axis=-1, keepdims=True) / geometry.BOX_PADDING
    return {
        "PCK@0.05": distance_metrics.pck(pixels / longest, labelled, 0.05),
        "PCK@0.2": distance_metrics.pck(pixels / longest, labelled, 0.2),
        "AUC": distance_metrics.auc(pixels, labelled),
        "EPE": distance_metrics.epe(pixels[usable], labelled[usable]),
    }


def people(
    config: ConfigDict, split: Split, predictions: Predictions, usable: np.ndarray
) -> list[dict]:
    """Rescored people after NMS as entries of a COCO result file."""
    columns, sigmas = split.columns, split.skeleton.sigmas
    suppress = oks.NMS[config.eval.nms] if sigmas else oks.keep_all
    rows = np.flatnonzero(usable)
    box_scores = columns.get("box_score", np.ones(len(split)))[rows]
    joint_scores = predictions.scores[rows]
    person_scores = oks.rescore(joint_scores, box_scores, threshold=config.eval.joint_threshold)
    areas = geometry.fit_aspect(columns["size"][rows], config.data.input_size).prod(axis=-1)
    image_ids = columns["image_id"][rows]
    arguments = (predictions.keypoints[rows], person_scores, areas, image_ids)
    kept = suppress(*arguments, sigmas, config.eval.oks_threshold)
    return average_precision.coco_results(
        predictions.keypoints[rows[kept]], joint_scores[kept], person_scores[kept], image_ids[kept]
    )


def _has_truth(split):
    return bool(average_precision.read_truth(split.annotation_file).get("annotations"))


def _one_row(numbers):
    return distance_metrics.format_table(
        [list(numbers), [f"{value:.4f}" for value in numbers.values()]]
    )


# Where people without usable predictions are looked for: far from everything.
NOWHERE = -1e6
NO_TRUTH = "no ground truth: nothing to score; the predictions are in the results file"
METRICS = {
    "coco_ap": Metric("AP", ("image_id",), _coco_ap),
    "crowdpose_ap": Metric("AP", ("image_id",), _crowdpose_ap),
    "pckh": Metric("PCKh@0.5", ("truth_keypoints", "truth_visible", "head_size"), _pckh),
    "keypoints": Metric("PCK@0.05", ("image_id",), _keypoints),
}
