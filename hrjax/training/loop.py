"""The loop over training steps: log, evaluate, save, and stop when asked to or when it must."""

import dataclasses
import math
import pathlib
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from ml_collections import ConfigDict

from data_pipelines.batching import loading
from data_pipelines.batching.mixture import Mixture
from data_pipelines.splits import Split
from hrjax.evaluation import evaluate
from hrjax.runtime import distributed, run_folder
from hrjax.training.state import TrainState, to_items
from hrjax.weights import checkpoints
from hrjax.weights.model_card import ModelCard

SHOWN_PEOPLE = 8


@dataclasses.dataclass(frozen=True)
class Job:
    """What stays the same during a run."""

    config: ConfigDict
    mesh: Mesh
    split: Split | Mixture
    held_out: Split | None
    steps_per_epoch: int
    total_steps: int
    train_step: Callable
    predict_step: Callable
    card: ModelCard | None  # saved with each checkpoint


@dataclasses.dataclass(frozen=True)
class Work:
    """What a run writes to, what it reads from, and who may stop it."""

    workdir: pathlib.Path
    manager: object
    log: object
    batches: loading.Batches
    stop: distributed.Everyone


class NonFiniteLossError(RuntimeError):
    """The loss or the weights became NaN or infinite."""


def run(job: Job, state: TrainState, work: Work, position: dict) -> int | None:
    """Trains from `state` to the end; returns the number of the signal that ended it early.

    `position` is what the checkpoint said that `state` comes from: which batch is next, whether
    the step was evaluated, and the steps that were skipped.
    """
    previous, unreadable, skipped = None, set(), list(position.get("skipped", []))
    step = int(state.step)
    if step and not position["evaluated"] and _is_due(job, step):
        _evaluate(job, state, work)
    signal = work.stop.ask()
    while step < job.total_steps and not signal():
        asked = time.perf_counter()
        batch = next(work.batches)
        waited = time.perf_counter() - asked
        _check_readable(job, step + 1, batch, unreadable)
        signal = work.stop.ask()
        state, numbers = job.train_step(state, distributed.shard(_model_inputs(batch), job.mesh))
        # On an accelerator the step runs in the background; meanwhile the one before it is logged.
        _finish(job, work.log, previous, skipped)
        step += 1
        previous = (step, numbers, waited, batch["index"])
        due, last = _is_due(job, step), step == job.total_steps
        if not (due or last or signal() or step % job.config.checkpoint.every_steps == 0):
            continue
        _finish(job, work.log, previous, skipped)
        previous = None
        score = _evaluate(job, state, work) if due and not signal() else None
        place = {"data": work.batches.get_state(), "evaluated": score is not None}
        position = {**place, "skipped": skipped}
        items = to_items(state)
        checkpoints.save(work.manager, step, items, position=position, score=score, card=job.card)
        work.log.pause()
        signal = work.stop.ask()
    return signal()


def _is_due(job, step):
    every = job.config.eval.every_epochs * job.steps_per_epoch
    return bool(every) and (step % every == 0 or step == job.total_steps)


def _finish(job, log, previous, skipped):
    if previous is None:
        return
    step, numbers, waited, rows = previous
    numbers = {key: float(value) for key, value in jax.device_get(numbers).items()}
    if not numbers.pop("finite"):
        skipped.append(step)
        problem = _not_finite(job, step, numbers["loss"], rows)
        if job.config.train.on_nan == "stop":
            raise NonFiniteLossError(f"{problem}; the checkpoints so far are good. {_ADVICE}")
        if len(skipped) > job.config.train.max_skips:
            raise NonFiniteLossError(
                f"{problem}, after {len(skipped) - 1} steps that were skipped "
                f"(config.train.max_skips is {job.config.train.max_skips}): {skipped}. {_ADVICE}"
            )
        log.say(f"{problem}; skipped, {len(skipped)} of {job.config.train.max_skips}")
        return
    images = job.config.train.batch_size
    log.add(step, step / job.steps_per_epoch, numbers, images=images, waited=waited)


_ADVICE = (
    "Lower config.optimizer.lr or lengthen config.optimizer.warmup_steps, and go on from one of "
    "the checkpoints in another --workdir with --resume_from"
)


def _not_finite(job, step, loss, rows):
    """Which step and which batch it was, and what is wrong."""
    what = f"the loss is {loss}"
    if math.isfinite(loss):
        what = f"the loss is {loss:.3g} but weights are NaN or infinite"
    epoch, batch = divmod(step - 1, job.steps_per_epoch)
    people = ", ".join(map(str, rows[:SHOWN_PEOPLE].tolist()))
    more = ", …" if len(rows) > SHOWN_PEOPLE else ""
    return (
        f"{what} at step {step} (epoch {epoch + 1}, batch {batch + 1} of it: the people {people}"
        f"{more} of {job.split.annotation_file})"
    )


def _evaluate(job, state, work):
    work.log.say(f"evaluating {len(job.held_out)} people of {job.held_out.name}")
    # Evaluation is in float32, whatever training is in.
    weights = jax.tree.map(lambda x: x.astype(jnp.float32), state.weights)
    predictions = evaluate.predict(
        job.predict_step, weights, job.config, job.held_out, job.mesh, stop=work.stop
    )
    if predictions is None:
        return None
    result = evaluate.report(job.config, job.held_out, predictions, work.workdir)
    work.log.say(result.table)
    numbers = {f"eval/{name}": value for name, value in result.numbers.items()}
    work.log.write(int(state.step), numbers, {"predictions": result.picture})
    return result.score


def _model_inputs(batch):
    return {key: batch[key] for key in ("image", "keypoints", "visible")}


def _check_readable(job, step, batch, unreadable):
    """Raises where the data are gone, or too many pictures can't be read; notes which can't."""
    rows = batch["index"][~batch["readable"]].tolist()
    if not rows:
        return
    run_folder.check_there(job.split.columns["image_path"][rows], step)
    unreadable.update(rows)
    if len(unreadable) / len(job.split) > job.config.data.max_unreadable:
        raise ValueError(
            f"the images of {len(unreadable)} of {len(job.split)} people can't be read (see the "
            f"warnings above); repair the data, or allow more by --config.data.max_unreadable"
        )
