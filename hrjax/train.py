"""Training: the state, the step, and the loop."""

import contextlib
import dataclasses
import functools
import logging
import math
import pathlib
import time
from collections.abc import Callable

import flax.struct
import jax
import jax.numpy as jnp
import optax
from flax import serialization
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from ml_collections import ConfigDict
from tqdm.contrib.logging import logging_redirect_tqdm

from data_pipelines import pipeline
from data_pipelines.dataset import Split
from hrjax import (
    checkpoints,
    evaluate,
    heatmaps,
    losses,
    models,
    optim,
    runs,
    weight_files,
    weights,
)
from hrjax.logs import RunLog

DTYPES = ("bfloat16", "float32", "float64")  # float64 where JAX_ENABLE_X64 is on
PRECISIONS = ("default", "high", "highest")


@flax.struct.dataclass
class TrainState:
    """Everything that a step changes; `average` is {"params", "stats"} or None."""

    step: jax.Array
    params: dict
    stats: dict
    opt_state: optax.OptState
    average: dict | None

    @property
    def weights(self) -> dict:
        """The params and stats to evaluate: averaged where the recipe averages."""
        return self.average or {"params": self.params, "stats": self.stats}


@dataclasses.dataclass(frozen=True)
class Job:
    """What stays the same during a run."""

    config: ConfigDict
    mesh: Mesh
    split: Split
    held_out: Split | None
    steps_per_epoch: int
    total_steps: int
    train_step: Callable
    predict_step: Callable


class NonFiniteLossError(RuntimeError):
    """The loss became NaN or infinite."""


def train(config: ConfigDict, workdir: pathlib.Path, *, resume_from: str = "") -> int | None:
    """Trains in `workdir`, from its last checkpoint on if it has one.

    `resume_from` leads to the checkpoint that an empty `workdir` starts from. Returns the number of
    the signal that ended the run early, or None.
    """
    folder = workdir / "checkpoints"
    if checkpoints.latest(folder) is not None:
        runs.check_config(config, workdir)
    job, state = prepare(config)
    state, position = _restore(job, state, folder, resume_from)
    runs.save_config(config, workdir)
    start = int(state.step)
    if start >= job.total_steps:
        logging.info("this run is finished: %d steps, checkpoints in %s", start, folder)
        return None
    logging.info(
        "%s step %d of %d: %d people, %d steps an epoch, %s on %s",
        *("continuing at" if start else "starting at", start, job.total_steps, len(job.split)),
        *(job.steps_per_epoch, config.model.name, describe(job.mesh)),
    )
    if job.held_out and not start:
        score = evaluate.score_mean_pose(config, job.split, job.held_out)
        logging.info("to beat: the mean pose scores %s %.4g", evaluate.score_name(config), score)
    with contextlib.ExitStack() as stack:
        stop = stack.enter_context(runs.stopping())
        stack.enter_context(logging_redirect_tqdm())
        log = RunLog(
            workdir, start=start, total=job.total_steps, every_steps=config.log.every_steps
        )
        stack.callback(log.close)
        manager = stack.enter_context(checkpoints.open_folder(folder, keep=config.checkpoint.keep))
        batches = _open_batches(job, position)
        stack.callback(batches.close)
        _loop(job, state, batches, position, workdir, manager, log, stop)
        checkpoints.wait(manager)
    last = checkpoints.latest(folder)
    if stop.signal and last < job.total_steps:
        logging.info(
            "stopped after step %d, saved in %s; the same command continues there", last, folder
        )
        return stop.signal
    logging.info("finished; the best checkpoint is %s", folder / str(checkpoints.best(folder)))
    return None


def prepare(config: ConfigDict, mesh: Mesh | None = None) -> tuple[Job, TrainState]:
    """Everything that training needs before its first step."""
    mesh = mesh or evaluate.make_mesh()
    for name in ("train", "eval"):
        evaluate.check_divisible(config[name].batch_size, mesh, f"config.{name}.batch_size")
    split = evaluate.open_split(config, config.data.train_split)
    held_out = evaluate.open_held_out(config) if config.eval.every_epochs else None
    steps_per_epoch = pipeline.steps_per_epoch(split, config.train.batch_size)
    learning_rate = optim.schedule(
        config.optimizer,
        batch_size=config.train.batch_size,
        steps_per_epoch=steps_per_epoch,
        epochs=config.train.epochs,
    )
    optimizer = optim.optimizer(config.optimizer, learning_rate)
    graph, eval_graph, params, stats = evaluate.create_model(config)
    job = Job(
        config=config,
        mesh=mesh,
        split=split,
        held_out=held_out,
        steps_per_epoch=steps_per_epoch,
        total_steps=config.train.epochs * steps_per_epoch,
        train_step=make_train_step(graph, optimizer, learning_rate, config),
        predict_step=evaluate.make_predict_step(eval_graph, mesh, config, split.skeleton),
    )
    state = create_state(params, stats, optimizer, average=config.train.ema_decay > 0)
    return job, jax.device_put(state, NamedSharding(mesh, PartitionSpec()))


def create_state(params: dict, stats: dict, optimizer, *, average: bool) -> TrainState:
    """The state before the first step."""
    # A copy: the step takes over the memory of every part of the state, which none may share.
    copy = jax.tree.map(jnp.copy, {"params": params, "stats": stats}) if average else None
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        stats=stats,
        opt_state=optimizer.init(params),
        average=copy,
    )


def make_train_step(graph, optimizer, learning_rate: Callable, config: ConfigDict) -> Callable:
    """A jitted step: (state, batch) → (state, {"loss", "pck", "lr"}); the state's memory is reused.

    `learning_rate` maps the number of steps before this one to the rate that the optimizer
    uses; here it is only reported.
    """
    if config.train.dtype not in DTYPES:
        raise ValueError(
            f"unknown config.train.dtype {config.train.dtype!r}; choose one of: {', '.join(DTYPES)}"
        )
    if config.train.matmul_precision not in PRECISIONS:
        raise ValueError(
            f"unknown config.train.matmul_precision {config.train.matmul_precision!r}; "
            f"choose one of: {', '.join(PRECISIONS)}"
        )
    dtype = jnp.dtype(config.train.dtype)

    def loss_and_rest(params, stats, batch, key):
        params = jax.tree.map(lambda x: x.astype(dtype), params)
        images = models.normalize(batch["image"], config.data.color).astype(dtype)
        outputs, stats = models.apply(graph, params, stats, images, key)
        targets, weights = heatmaps.encode(
            batch["keypoints"],
            batch["visible"],
            size=outputs.shape[1:3],
            stride=images.shape[1] // outputs.shape[1],
            sigma=config.heatmap.sigma,
            encoding=config.heatmap.encoding,
        )
        loss = losses.joint_mse(
            outputs,
            targets,
            losses.weigh_joints(weights, config.loss.joint_weights),
            factor=config.loss.factor,
            hard_joints=config.loss.hard_joints,
        )
        return loss, (stats, heatmaps.pck(outputs, targets, weights))

    @functools.partial(jax.jit, donate_argnums=0)
    @jax.default_matmul_precision(config.train.matmul_precision)
    def train_step(state, batch):
        key = jax.random.fold_in(jax.random.key(config.seed), state.step)
        rate = learning_rate(state.step)
        value_and_grad = jax.value_and_grad(loss_and_rest, has_aux=True)
        (loss, (stats, pck)), gradients = value_and_grad(state.params, state.stats, batch, key)
        updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        average = _moving_average(state.average, params, stats, config.train.ema_decay)
        state = TrainState(state.step + 1, params, stats, opt_state, average)
        return state, {"loss": loss, "pck": pck, "lr": rate}

    return train_step


def load_weights(config: ConfigDict, state: TrainState) -> TrainState:
    """`state` with the weights that `config.init_from` leads to, the averaged ones if any.

    That is a checkpoint, or a file or address of published weights; such a file may be a
    classifier's or have a head for other joints: what it lacks stays as it is.
    """
    before = {"params": state.params, "stats": state.stats}
    lines = []
    found = weight_files.find(config.init_from)
    if found is None:
        found, after = checkpoints.restore_weights(config.init_from, _abstract(before))
    else:
        content = weight_files.read(found)
        after, lines = weights.start_from(config.model.name, before, content)
        after = jax.device_put(after, jax.tree.map(lambda x: x.sharding, before))
    head = f"starting from the weights of {found}" + ", but for" * bool(lines)
    logging.info("\n  ".join([head, *lines]))
    average = jax.tree.map(jnp.copy, after) if state.average else None
    return state.replace(**after, average=average)


def describe(mesh: Mesh) -> str:
    """How many devices of which kind."""
    devices = mesh.devices.flatten()
    return f"{len(devices)} {devices[0].device_kind}"


def _loop(job, state, batches, position, workdir, manager, log, stop):
    config, previous, unreadable = job.config, None, set()
    step = int(state.step)
    if step and not position["evaluated"] and _is_due(job, step):
        _evaluate(job, state, workdir, log, stop)
    while step < job.total_steps and not stop.signal:
        asked = time.perf_counter()
        batch = next(batches)
        waited = time.perf_counter() - asked
        state, numbers = job.train_step(state, evaluate.shard(_model_inputs(batch), job.mesh))
        # The step runs in the background; meanwhile the one before it is read and logged.
        _finish(job, log, previous)
        step += 1
        previous = (step, numbers, waited)
        unreadable.update(batch["index"][~batch["readable"]].tolist())
        _check_readable(job, unreadable)
        due, last = _is_due(job, step), step == job.total_steps
        if not (due or last or stop.signal or step % config.checkpoint.every_steps == 0):
            continue
        _finish(job, log, previous)
        previous = None
        score = _evaluate(job, state, workdir, log, stop) if due and not stop.signal else None
        position = {"data": batches.get_state(), "evaluated": score is not None}
        checkpoints.save(manager, step, _items(state), position, score)
        log.pause()


def _is_due(job, step):
    every = job.config.eval.every_epochs * job.steps_per_epoch
    return bool(every) and (step % every == 0 or step == job.total_steps)


def _finish(job, log, previous):
    if previous is None:
        return
    step, numbers, waited = previous
    numbers = {key: float(value) for key, value in jax.device_get(numbers).items()}
    epoch = step / job.steps_per_epoch
    if not math.isfinite(numbers["loss"]):
        raise NonFiniteLossError(
            f"the loss is {numbers['loss']} at step {step} (epoch {epoch:.1f}); the checkpoints so "
            "far are good. Lower config.optimizer.lr or lengthen config.optimizer.warmup_steps, "
            "and go on from one of them in another --workdir with --resume_from"
        )
    log.add(step, epoch, numbers, images=job.config.train.batch_size, waited=waited)


def _evaluate(job, state, workdir, log, stop):
    log.say(f"evaluating {len(job.held_out)} people of {job.held_out.name}")
    predictions = evaluate.predict(
        job.predict_step, state.weights, job.config, job.held_out, job.mesh, stop=stop
    )
    if predictions is None:
        return None
    result = evaluate.report(job.config, job.held_out, predictions, workdir)
    log.say(result.table)
    numbers = {f"eval/{name}": value for name, value in result.numbers.items()}
    log.write(int(state.step), numbers, {"predictions": result.picture})
    return result.score


def _moving_average(average, params, stats, decay):
    if average is None:
        return None
    new = {"params": params, "stats": stats}
    return jax.tree.map(lambda old, now: decay * old + (1 - decay) * now, average, new)


def _items(state):
    items = {
        "model": {"params": state.params, "stats": state.stats},
        "optimizer": {
            "step": state.step,
            "opt_state": serialization.to_state_dict(state.opt_state),
        },
    }
    return {**items, "average": state.average} if state.average else items


def _restore(job, state, folder, resume_from):
    step, init_from = checkpoints.latest(folder), job.config.init_from
    if step is not None:
        found = folder / str(step)
        if resume_from:
            logging.info("%s has checkpoints; --resume_from is for a new --workdir", folder)
    elif resume_from:
        found = checkpoints.find(resume_from, prefer=checkpoints.latest)
    else:
        return load_weights(job.config, state) if init_from else state, {}
    items = checkpoints.restore(found, _abstract(_items(state)))
    opt_state = serialization.from_state_dict(state.opt_state, items["optimizer"]["opt_state"])
    state = TrainState(
        items["optimizer"]["step"],
        **items["model"],
        opt_state=opt_state,
        average=items.get("average"),
    )
    logging.info("restored %s", found)
    return state, checkpoints.read_position(found)


def _abstract(tree):
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), tree)


def _open_batches(job, position):
    config = job.config
    batches = pipeline.batches(
        job.split,
        pipeline.train_ops(
            config.augment,
            job.split.skeleton,
            config.data.input_size,
            strict=config.data.strict,
            udp=evaluate.uses_udp(config),
        ),
        batch_size=config.train.batch_size,
        seed=config.seed,
        workers=config.data.workers,
        group_images=config.data.group_images,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )
    if "data" in position:
        batches.set_state(position["data"])
    return batches


def _model_inputs(batch):
    return {key: batch[key] for key in ("image", "keypoints", "visible")}


def _check_readable(job, unreadable):
    share = len(unreadable) / len(job.split)
    if share > job.config.data.max_unreadable:
        raise ValueError(
            f"the images of {len(unreadable)} of {len(job.split)} people can't be read (see the "
            f"warnings above); repair the data, or allow more by --config.data.max_unreadable"
        )
