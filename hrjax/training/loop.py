"""The training loop: steps, logs, evaluations, checkpoints, and early stops."""

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
from hrjax import experiment
from hrjax.evaluation import evaluate
from hrjax.evaluation.protocols import Protocol
from hrjax.runtime import distributed, run_folder
from hrjax.training.state import TrainState, to_items
from hrjax.weights import checkpoints
from hrjax.weights.model_card import ModelCard

SHOWN_PEOPLE = 8


@dataclasses.dataclass(frozen=True)
class TrainingSetup:
    """What does not change during a run: its config, data, mesh and jitted steps."""

    config: ConfigDict
    mesh: Mesh
    split: Split | Mixture
    held_out: Split | None
    protocol: Protocol
    steps_per_epoch: int
    total_steps: int
    train_step: Callable
    predict_step: Callable
    card: ModelCard | None  # saved with each checkpoint


@dataclasses.dataclass(frozen=True)
class RunResources:
    """What a run writes to, reads from, and is stopped by."""

    workdir: pathlib.Path
    manager: object
    log: object
    batches: loading.Batches
    stop: distributed.SharedStopRequest


@dataclasses.dataclass(frozen=True)
class Patience:
    """How many evaluations in a row, `waited`, were not better than the `best`, of step `at`.

    A run ends after `limit` of them; 0 means that it never does. Evaluations without a score do
    not count.
    """

    limit: int
    best: float | None = None
    at: int = 0
    waited: int = 0

    @property
    def ended(self) -> bool:
        """Whether the run is over."""
        return 0 < self.limit <= self.waited

    def after(self, step: int, score: float | None) -> "Patience":
        """The patience after an evaluation at `step`; None is one without a score."""
        if score is None or not math.isfinite(score):
            return self
        if self.best is None or score > self.best:
            return dataclasses.replace(self, best=float(score), at=step, waited=0)
        return dataclasses.replace(self, waited=self.waited + 1)

    def to_position(self) -> dict:
        """What a checkpoint keeps; the limit may change when a run continues."""
        return {"best": self.best, "at": self.at, "waited": self.waited}


def read_patience(config: ConfigDict, position: dict) -> Patience:
    """The patience at a checkpoint's position; {} is the start of a run."""
    return Patience(config.train.patience, **position.get("patience", {}))


class NonFiniteLossError(RuntimeError):
    """The loss or the weights became NaN or infinite."""


def run(
    setup: TrainingSetup, state: TrainState, resources: RunResources, position: dict
) -> int | None:
    """Trains from `state` to the end; returns the number of a signal that ended it early, or None.

    `position` comes from the checkpoint of `state`: which batch is next, whether the step has been
    evaluated, how the scores were, and which steps were skipped. The run also ends where
    `config.train.patience` says so.
    """
    previous, unreadable, turned = None, set(), set()
    skipped = list(position.get("skipped", []))
    patience = read_patience(setup.config, position)
    step = start = int(state.step)
    if step and not position["evaluated"] and _is_due(setup, step):
        patience = patience.after(step, _evaluate(setup, state, resources))
    signal = resources.stop.ask()
    while step < setup.total_steps and not patience.ended and not signal():
        asked = time.perf_counter()
        batch = next(resources.batches)
        waited = time.perf_counter() - asked
        _check_readable(setup, step + 1, batch, unreadable)
        turned.update(batch["index"][batch["turned"]].tolist())
        signal = resources.stop.ask()
        state, numbers = setup.train_step(
            state, distributed.shard(_model_inputs(batch), setup.mesh)
        )
        resources.stop.has_something_to_save()
        # On an accelerator the step runs in the background while the one before it is logged.
        _finish(setup, resources.log, previous, skipped)
        step += 1
        if turned and step - start == min(setup.steps_per_epoch, setup.total_steps - start):
            resources.log.say(_count_turned(setup, turned))
        previous = (step, numbers, waited, batch["index"])
        due, last = _is_due(setup, step), step == setup.total_steps
        if not (due or last or signal() or step % setup.config.checkpoint.every_steps == 0):
            continue
        _finish(setup, resources.log, previous, skipped)
        previous = None
        score = _evaluate(setup, state, resources) if due and not signal() else None
        patience = patience.after(step, score)
        place = {"data": resources.batches.get_state(), "evaluated": score is not None}
        position = {**place, "skipped": skipped, "patience": patience.to_position()}
        checkpoints.save(
            resources.manager,
            step,
            to_items(state),
            position=position,
            score=score,
            card=setup.card,
        )
        resources.log.pause()
        signal = resources.stop.ask()
    return signal()


def _count_turned(setup, rows):
    return (
        f"{len(rows)} of {len(setup.split)} people are in images that are stored sideways; these "
        "were turned upright, as their EXIF orientation and the stated sizes say"
    )


def _is_due(setup, step):
    every = setup.config.eval.every_epochs * setup.steps_per_epoch
    return bool(every) and (step % every == 0 or step == setup.total_steps)


def _finish(setup, log, previous, skipped):
    if previous is None:
        return
    step, numbers, waited, rows = previous
    numbers = {key: float(value) for key, value in jax.device_get(numbers).items()}
    if not numbers.pop("finite"):
        skipped.append(step)
        problem = _not_finite(setup, step, numbers["loss"], rows)
        if setup.config.train.on_nan == "stop":
            raise NonFiniteLossError(f"{problem}; the earlier checkpoints are good. {_ADVICE}")
        if len(skipped) > setup.config.train.max_skips:
            raise NonFiniteLossError(
                f"{problem}, after {len(skipped) - 1} skipped steps "
                f"(config.train.max_skips is {setup.config.train.max_skips}): {skipped}. {_ADVICE}"
            )
        log.say(f"{problem}; skipped, {len(skipped)} of {setup.config.train.max_skips}")
        return
    images = setup.config.train.batch_size
    log.add(step, step / setup.steps_per_epoch, numbers, images=images, waited=waited)


_ADVICE = (
    "Lower config.optimizer.lr or increase config.optimizer.warmup_steps, and continue from one of "
    "the checkpoints in another --workdir with --resume_from"
)


def _not_finite(setup, step, loss, rows):
    """What is not finite, in which step and batch."""
    problem = f"the loss is {loss}"
    if math.isfinite(loss):
        problem = f"the loss is {loss:.3g} but weights are NaN or infinite"
    epoch, batch = divmod(step - 1, setup.steps_per_epoch)
    people = ", ".join(map(str, rows[:SHOWN_PEOPLE].tolist()))
    more = ", …" if len(rows) > SHOWN_PEOPLE else ""
    return (
        f"{problem} at step {step} (epoch {epoch + 1}, batch {batch + 1}: people {people}{more} of "
        f"{setup.split.annotation_file})"
    )


def _evaluate(setup, state, resources):
    resources.log.say(f"evaluating {len(setup.held_out)} people of {setup.held_out.name}")
    # Evaluation is in float32, whatever training is in.
    weights = jax.tree.map(lambda x: x.astype(jnp.float32), state.weights)
    batches = experiment.eval_batches(setup.config, setup.held_out)
    predictions = evaluate.predict(
        setup.predict_step, weights, batches, setup.held_out, setup.mesh, stop=resources.stop
    )
    if predictions is None:
        return None
    evaluation, picture = evaluate.report(
        setup.protocol,
        setup.held_out,
        predictions,
        resources.workdir,
        error_analysis=setup.config.eval.report,
    )
    resources.log.say(evaluation.table)
    numbers = {f"eval/{name}": value for name, value in evaluation.numbers.items()}
    resources.log.write(int(state.step), numbers, {"predictions": picture})
    return evaluation.score


def _model_inputs(batch):
    return {key: batch[key] for key in ("image", "keypoints", "visible")}


def _check_readable(setup, step, batch, unreadable):
    """Records unreadable images; raises if there are too many, or if their folder is gone."""
    rows = batch["index"][~batch["readable"]].tolist()
    if not rows:
        return
    run_folder.check_there(setup.split.columns["image_path"][rows], step)
    unreadable.update(rows)
    if len(unreadable) / len(setup.split) > setup.config.data.max_unreadable:
        raise ValueError(
            f"the images of {len(unreadable)} of {len(setup.split)} people can't be read (see the "
            f"warnings above); repair the data, or allow more by --config.data.max_unreadable"
        )
