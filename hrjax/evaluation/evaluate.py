"""Evaluation: a split → predictions → metrics, tables, files and a picture."""

import logging
import pathlib
from collections.abc import Callable, Iterable, Iterator

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from ml_collections import ConfigDict

from data_pipelines import files
from data_pipelines.batching.loading import Batches
from data_pipelines.messages import progress, written
from data_pipelines.splits import Split
from hrjax import experiment, inference, models, visualize
from hrjax.config import checks
from hrjax.detections import Predictions
from hrjax.evaluation import distance_metrics, metrics, protocols, reports
from hrjax.evaluation.metrics import Evaluation
from hrjax.evaluation.protocols import Protocol
from hrjax.export import running
from hrjax.runtime import distributed
from hrjax.runtime.compilation_cache import Announced
from hrjax.weights import source

logger = logging.getLogger(__name__)


def evaluate(
    config: ConfigDict,
    workdir: pathlib.Path,
    *,
    checkpoint: str | source.Source,
    output: str = "",
    mesh: Mesh | None = None,
) -> Evaluation:
    """Evaluates a checkpoint or a file of weights; see `report` for what is written."""
    mesh = mesh or distributed.make_mesh()
    checks.check_devices(config, mesh.devices.size, sections=("eval",))
    protocol = protocols.from_config(config)
    metrics.check(protocol)
    reports.check_output(protocol, output)
    settings = experiment.prediction_settings(config)
    split = experiment.open_held_out(config)
    _check_paths(split, config.eval.boxes, workdir, output)
    whole = NamedSharding(mesh, PartitionSpec())
    opened = source.open(checkpoint)
    if opened.program:
        step, weights = _exported_step(opened.program, settings, split.skeleton), {}
    else:
        graph, params, stats = opened.restore(
            whole, variant=config.model.name, fields=experiment.model_fields(config)
        )
        step = inference.make_predict_step(graph, mesh, settings, split.skeleton)
        step = Announced(step, "the network")
        weights = {"params": params, "stats": stats}
    batches = experiment.eval_batches(config, split)
    predictions = predict(step, weights, batches, split, mesh)
    places = [workdir / "eval" / split.name, *([pathlib.Path(output)] if output else [])]
    said = [written.wrote(place) for place in places]
    evaluation, _ = report(
        protocol, split, predictions, workdir, error_analysis=config.eval.report, output=output
    )
    if jax.process_index() == 0:
        print(evaluation.table)
        logger.info("%s", "; ".join(said))
    return evaluation


def _exported_step(program, settings, skeleton):
    """The step of an exported network, which one process evaluates."""
    if jax.process_count() > 1:
        raise ValueError(f"{program.file} is evaluated by one process; there are several")
    if program.card.skeleton.names != skeleton.names:
        raise ValueError(
            f"{program.file} finds the joints {', '.join(program.card.skeleton.names)}; the "
            f"annotations have {', '.join(skeleton.names)}"
        )
    return running.make_predict_step(program, settings)


def _check_paths(split, boxes, workdir, output):
    """Raises ValueError if results would replace what they are computed from."""
    folder = workdir / "eval" / split.name
    written = [folder / "results.json", folder / "metrics.json", *([output] if output else ())]
    files.require_no_input(written, [split.annotation_file, boxes])


def predict(
    step: Callable[[dict, dict], dict],
    weights: dict,
    batches: Batches,
    split: Split,
    mesh: Mesh,
    stop: distributed.SharedStopRequest | None = None,
) -> Predictions | None:
    """Predictions of a whole split by the step of `inference.make_predict_step`.

    `batches` are those of `experiment.eval_batches`, and are closed. None if `stop` wants to end.
    """
    weights = models.in_layouts(weights)
    count = split.skeleton.num_joints
    keypoints = np.full((len(split), count, 2), np.nan, np.float32)
    joint_scores = np.full((len(split), count), np.nan, np.float32)
    quiet = jax.process_index() > 0
    shown = progress.Progress("evaluating", units="people", total=len(split), quiet=quiet)
    with batches, shown:
        if not len(split):
            return Predictions(keypoints, joint_scores)  # a detector may find nothing at all
        batches = _count_turned(batches, split)
        for outputs in _outputs(step, weights, batches, mesh, stop):
            rows = outputs["index"][outputs["mask"]]
            keypoints[rows] = outputs["keypoints"][outputs["mask"]]
            joint_scores[rows] = outputs["scores"][outputs["mask"]]
            shown.update(len(rows))
    return None if stop and stop.signal else Predictions(keypoints, joint_scores)


def _count_turned(batches: Iterable[dict], split: Split) -> Iterator[dict]:
    """Passes batches on, and logs at the end how many people were in images stored sideways."""
    turned = 0
    for batch in batches:
        turned += np.count_nonzero(batch["turned"] & batch["mask"])
        yield batch
    if turned:
        logger.info(
            "%d of %d people are in images that are stored sideways; these were turned upright, as "
            "their EXIF orientation and the stated sizes say",
            *(turned, len(split)),
        )


def _outputs(
    step: Callable, weights: dict, batches: Iterable[dict], mesh: Mesh, stop
) -> Iterator[dict]:
    """The step's outputs, batch by batch; the next batch is under way while one is looked at."""
    ahead = None
    for batch in batches:
        if stop and stop.signal:
            return
        inputs = {key: batch[key] for key in ("image", "to_original", "index", "mask")}
        current, ahead = ahead, step(weights, distributed.shard(inputs, mesh))
        if current is not None:
            yield jax.device_get(current)
    yield jax.device_get(ahead)


def report(
    protocol: Protocol,
    split: Split,
    predictions: Predictions,
    workdir: pathlib.Path,
    *,
    error_analysis: bool = False,
    output: str = "",
) -> tuple[Evaluation, np.ndarray]:
    """Scores predictions and writes them into <workdir>/eval/<split>; see `reports.write`.

    Returns the evaluation, with how it was done in the first line of its table, and a picture of a
    few people. `output` is one more file for the results.
    """
    evaluation = metrics.score(protocol, split, predictions)
    picture = reports.draw(split, predictions)
    if jax.process_index() == 0:
        folder = workdir / "eval" / split.name
        reports.write(
            protocol, split, predictions, evaluation, folder, error_analysis=error_analysis
        )
        visualize.save(picture, folder / "predictions.jpg")
        if output:
            reports.save_results(split, predictions, evaluation, pathlib.Path(output))
    return evaluation.titled(protocol.title(split.name, len(split))), picture


def score_mean_pose(protocol: Protocol, split: Split, held_out: Split) -> float:
    """What the mean pose of `split`, put into every box of `held_out`, scores there."""
    columns = [split.columns[key] for key in ("keypoints", "visible", "center", "size")]
    places = (held_out.columns[key] for key in ("center", "size"))
    keypoints = distance_metrics.place_pose(distance_metrics.mean_pose(*columns), *places)
    predictions = Predictions(keypoints, np.ones(keypoints.shape[:2]))
    return metrics.score(protocol, held_out, predictions).score
