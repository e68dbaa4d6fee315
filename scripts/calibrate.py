"""Fits what a network's scores are worth on people who were held out, and saves it with the model.

    python scripts/calibrate.py --checkpoint=runs/mice
    python scripts/calibrate.py --checkpoint=weights.npz --model=litehrnet_18 --root=data/coco \\
        --output=checkpoints/calibrated

One half of the held-out images fits the curves, the other tests them: a table shows the calibration
errors and AP there before and after. The curves are saved in the model card (model.json): in place
where the checkpoint is a run (in its best step) or a step, otherwise in a copy at --output, a
folder or a .safetensors or .npz file. `hrjax.Predictor` and scripts/predict.py then give calibrated
scores: that of a joint is its expected keypoint similarity with the truth, that of a person the
expected OKS (times the score of the box).

Evaluation ranks people by the network's own scores, as benchmarks do.
"""

import argparse
import dataclasses
import logging
import pathlib
import sys

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from ml_collections import ConfigDict

import convert_weights
from data_pipelines import files
from data_pipelines.messages import sizes
from data_pipelines.splits import Split
from hrjax import calibration, experiment, inference, oks, recipes, text_tables
from hrjax.calibration import Calibration
from hrjax.detections import Predictions
from hrjax.evaluation import average_precision, evaluate, metrics, protocols
from hrjax.evaluation.protocols import Protocol
from hrjax.runtime import compilation_cache, distributed, memory, script_options, terminal
from hrjax.weights import file_formats, model_card, source
from hrjax.weights.source import Source

logger = logging.getLogger(__name__)


def main() -> None:
    options = _parse()
    terminal.set_up_logging()
    memory.keep_freed_memory()
    compilation_cache.use_compilation_cache()
    try:
        print(calibrate(options))
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")


def _parse():
    parser = script_options.make(__doc__)
    parser.add_argument("--checkpoint", required=True, help="a run, a step, or a file of weights")
    parser.add_argument("--model", default="", help="the variant of a weights file, VARIANT[_HxW]")
    parser.add_argument("--config", default="", help="a recipe to use instead, FILE.py[:VARIANT]")
    parser.add_argument("--root", default="", help="the dataset's folder; default: the config's")
    parser.add_argument("--split", default="", help="who was held out; default: the config's")
    parser.add_argument(
        "--fit", type=float, default=0.5, help="share of the images that fit (default: 0.5)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of which images fit and which test")
    parser.add_argument("--output", type=pathlib.Path, help="a copy of the weights with the curves")
    return script_options.parse(parser)


def calibrate(options: argparse.Namespace) -> str:
    """Fits, tests and saves the curves; returns a table and where they are."""
    if not 0 < options.fit < 1:
        raise ValueError(f"--fit={options.fit}: expected a share between 0 and 1")
    opened = source.open(options.checkpoint, model=options.model)
    if options.config:
        opened = opened.with_config(recipes.read(options.config))
    in_place = check_output(opened, options.output)
    config = held_out_config(opened, options.root, options.split)
    protocol = protocols.from_config(config)
    split = experiment.open_held_out(config)
    check_split(split, config)
    fitted, tested = halves(split, options.fit, options.seed)
    card, predictions = opened.card, predict(opened, config, split)
    found = fit(take(split, fitted), pick(predictions, fitted), protocol)
    numbers = compare(take(split, tested), pick(predictions, tested), protocol, found)
    card = dataclasses.replace(card, calibration=found)
    place = save(opened, card, None if in_place else options.output)
    counts = f"fitted on {len(fitted)} people, tested on {len(tested)}"
    curves = "logistic curves" if len(fitted) < calibration.FEW else "isotonic curves"
    which = f"{card.variant}, crops of {sizes.pixels(card.input_size)}, decoding {card.decode}"
    return f"{which}\n{counts} of {protocol.dataset} {split.name}, {curves}\n{numbers}\n{place}"


def check_output(opened: Source, output: pathlib.Path | None) -> bool:
    """Whether the card is saved in place; ValueError where it can't be, or `output` exists."""
    if output is None and opened.tensors is not None:
        raise ValueError(
            f"{opened.location} is a file, which stays as it is; name an --output, a folder or a "
            f"{' or '.join(file_formats.WRITTEN)} file, for a copy with the curves"
        )
    if output is not None and output.exists():
        raise ValueError(f"{output} exists already; choose another --output")
    return output is None


def held_out_config(opened: Source, root: str, split: str) -> ConfigDict:
    """The config of the weights, with the data of the options; nothing is drawn."""
    config = experiment.without_drawing(opened.config)
    with config.unlocked():
        if root:
            config.data.root = root
        if root and config.eval.dataset:
            config.eval.root = root
        config.eval.split = split or config.eval.split
    return config


def check_split(split: Split, config: ConfigDict) -> None:
    """Raises ValueError unless people are in annotated boxes and have an OKS."""
    name = f"{config.eval.dataset or config.data.dataset} {split.name}"
    if config.eval.boxes != protocols.GROUND_TRUTH:
        raise ValueError(
            f"config.eval.boxes is {config.eval.boxes!r}; scores are calibrated in annotated "
            "boxes, which say whose joints they are"
        )
    if split.truth is None or not split.skeleton.sigmas:
        raise ValueError(
            f"{name} has no areas or no sigmas, so that nothing has an OKS; calibrate on a dataset "
            "in COCO's format"
        )


def halves(split: Split, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the people that fit and of those that test, without an image in both."""
    images = np.unique(split.columns["image_id"])
    if len(images) < 2:
        raise ValueError(f"{split.annotation_file} has {len(images)} images; expected two or more")
    count = min(max(1, round(share * len(images))), len(images) - 1)
    chosen = np.random.default_rng(seed).permutation(images)[:count]
    fits = np.isin(split.columns["image_id"], chosen)
    return np.flatnonzero(fits), np.flatnonzero(~fits)


def predict(opened: Source, config: ConfigDict, split: Split) -> Predictions:
    """The network's own predictions of a split."""
    mesh = distributed.make_mesh(jax.local_devices()[:1])
    graph, params, stats = opened.restore(
        NamedSharding(mesh, PartitionSpec()),
        variant=config.model.name,
        fields=experiment.model_fields(config),
    )
    settings = experiment.prediction_settings(config)
    step = inference.make_predict_step(graph, mesh, settings, split.skeleton)
    step = compilation_cache.Announced(step, "the network")
    weights, batches = {"params": params, "stats": stats}, experiment.eval_batches(config, split)
    predictions = evaluate.predict(step, weights, batches, split, mesh)
    if not predictions.finite.all():
        raise ValueError(
            f"{np.count_nonzero(~predictions.finite)} of {len(split)} predictions hold NaN or "
            "infinite numbers; the network diverged or its weights are damaged"
        )
    return predictions


def take(split: Split, rows: np.ndarray) -> Split:
    """The people of some rows, and the truth of their images."""
    columns = {name: column[rows] for name, column in split.columns.items()}
    images = np.unique(split.truth.rows_of_images(columns["image_id"]))
    truth = split.truth.take_images(images)
    return dataclasses.replace(split, columns=columns, truth=truth)


def pick(predictions: Predictions, rows: np.ndarray) -> Predictions:
    """The predictions of some rows."""
    return Predictions(predictions.keypoints[rows], predictions.joint_scores[rows])


def similarities(split: Split, predictions: Predictions) -> tuple[np.ndarray, ...]:
    """The similarity of joints (n, k), which of them are labeled, and the OKS of people (n,)."""
    columns, sigmas = split.columns, split.skeleton.sigmas
    labeled = columns["visible"] > 0
    difference = predictions.keypoints.astype(np.float64) - columns["keypoints"]
    alike = oks.joint_similarity(np.square(difference).sum(axis=-1), columns["area"], sigmas)
    points = predictions.keypoints.astype(np.float64), columns["keypoints"].astype(np.float64)
    whole = oks.object_keypoint_similarity(*points, columns["area"], sigmas, counted=labeled)
    return alike, labeled, whole


def fit(split: Split, predictions: Predictions, protocol: Protocol) -> Calibration:
    """The curves of these people."""
    return calibration.fit(
        predictions.joint_scores,
        *similarities(split, predictions),
        threshold=protocol.joint_threshold,
        dataset=protocol.dataset,
    )


def compare(split: Split, predictions: Predictions, protocol: Protocol, found: Calibration) -> str:
    """A table of errors and AP by the network's own scores and by calibrated ones."""
    alike, labeled, whole = similarities(split, predictions)
    rows = [["", "error of people", "error of joints", "AP", "AR"]]
    for name, calibrated in (("before", None), ("after", found)):
        joints, people = calibration.rescore(
            predictions.joint_scores,
            np.ones(len(split)),
            threshold=protocol.joint_threshold,
            calibration=calibrated,
        )
        found_people = metrics.detect(protocol, split, predictions, calibrated)
        ap = average_precision.coco_ap(found_people, split.truth, max_people=protocol.max_people)
        tables = (people, whole), (joints[labeled], alike[labeled])
        errors = [calibration.reliability(*table).error for table in tables]
        rows.append([name, *(f"{x:.4f}" for x in (*errors, ap["AP"], ap["AR"]))])
    return text_tables.format_table(rows)


def save(opened: Source, card: model_card.ModelCard, output: pathlib.Path | None) -> str:
    """Writes the card into the step, or the weights with the card to `output`; says where."""
    if output is None:
        file = opened.location / model_card.FILE
        files.write_text(file, model_card.to_text(card))
        return f"saved in {file}, in which only the curves are new"
    calibrated = dataclasses.replace(opened, saved_card=card, config_file=None)
    return convert_weights.save(calibrated, output)


if __name__ == "__main__":
    terminal.run(main)
