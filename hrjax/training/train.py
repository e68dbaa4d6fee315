"""Training from a config to checkpoints: starts or continues a run, and ends it."""

import contextlib
import logging
import pathlib

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from ml_collections import ConfigDict

from data_pipelines import datasets
from data_pipelines.batching import loading, mixture
from data_pipelines.batching.mixture import Mixture
from data_pipelines.splits import Split
from data_pipelines.transforms import chains
from hrjax import experiment, inference
from hrjax.config import checks
from hrjax.evaluation import evaluate, metrics, protocols
from hrjax.runtime import distributed, run_folder, signals, workdir_lock
from hrjax.runtime.compilation_cache import Announced
from hrjax.training import distill, loop, optimizers, resume
from hrjax.training.logs import run_log, trackers
from hrjax.training.loop import RunResources, TrainingSetup
from hrjax.training.state import TrainState, create_state, to_device_form
from hrjax.training.step import make_train_step
from hrjax.weights import checkpoints, model_card, source, step_files

logger = logging.getLogger(__name__)


def train(
    config: ConfigDict,
    workdir: pathlib.Path,
    *,
    mesh: Mesh | None = None,
    resume_from: str = "",
) -> int | None:
    """Trains in `workdir`, continuing from its last good checkpoint if it has one.

    `resume_from` is the checkpoint that an empty `workdir` starts from. Returns the number of the
    signal that ended the run early, or None. Raises `workdir_lock.InUseError` if another process
    trains there.
    """
    with contextlib.ExitStack() as stack:
        distributed.run_on_first(lambda: stack.enter_context(workdir_lock.hold(workdir)))
        run_folder.check_writable(workdir)
        return _train(config, workdir, mesh, resume_from)


def _train(config, workdir, mesh, resume_from):
    folder = workdir / "checkpoints"
    distributed.check_same(config.to_json(), "their config")
    distributed.run_on_first(lambda: trackers.check(config))
    if distributed.broadcast_from_first(resume.holds_steps(folder)):
        _check_config(config, workdir)
    setup, state = prepare(config, mesh)
    for warning in checks.check_length(config, setup.steps_per_epoch):
        logger.warning(warning)
    state, position = resume.restore(setup.config, state, folder, resume_from)
    start = int(state.step)
    if start >= setup.total_steps:
        logger.info("this run is finished: %d steps, checkpoints in %s", start, folder)
        return None
    if (patience := loop.read_patience(config, position)).ended:
        logger.info("this run is finished; %s", _early_end(setup, patience, folder))
        return None
    logger.info(
        "%s step %d of %d: %d people, %d steps an epoch, %s on %s",
        *("continuing at" if start else "starting at", start, setup.total_steps, len(setup.split)),
        *(setup.steps_per_epoch, config.model.name, distributed.describe(setup.mesh)),
    )
    if setup.held_out and not start:
        score = evaluate.score_mean_pose(setup.protocol, setup.split, setup.held_out)
        logger.info("baseline (mean pose): %s %.4g", metrics.score_name(setup.protocol), score)
    number = _run(setup, state, position, workdir)
    last = checkpoints.latest(folder)
    if number is None and last < setup.total_steps:
        ended = loop.read_patience(config, step_files.read_position(folder / str(last)))
        logger.info(_early_end(setup, ended, folder))
        return None
    if number and last is None:
        logger.info("stopped before the first step; the same command starts again")
        return number
    if number and last < setup.total_steps:
        logger.info(
            "stopped after step %d, saved in %s; the same command continues the run", last, folder
        )
        return number
    logger.info("finished; the best checkpoint is %s", folder / str(checkpoints.best(folder)))
    return None


def _early_end(setup, patience, folder):
    """What ended a run before its last step, which checkpoint is best, and how to go on."""
    best, waited = checkpoints.best(folder), max(patience.waited, patience.limit)
    score = f"{metrics.score_name(setup.protocol)} of {patience.best:.4g}"
    return (
        f"it ended early: {waited} evaluations in a row were not better than the {score} at step "
        f"{patience.at} (config.train.patience). The best checkpoint is {folder / str(best)}; the "
        "same command with a larger --config.train.patience trains on"
    )


def _check_config(config, workdir):
    """Raises ValueError unless the run in `workdir` was started with the same config."""
    file = workdir / run_folder.CONFIG
    if not file.exists():
        logger.warning("%s is missing; it is not known whether this config is the run's", file)
        return
    run_folder.check_config(config, source.read_run_config(file), workdir)


def prepare(config: ConfigDict, mesh: Mesh | None = None) -> tuple[TrainingSetup, TrainState]:
    """Everything that training needs before its first step."""
    mesh = mesh or distributed.make_mesh()
    checks.check_devices(config, mesh.devices.size)
    _say_where_groups_are(config, mesh.devices.size)
    split = open_train_split(config)
    protocol = protocols.from_config(config)
    metrics.check(protocol)
    held_out = experiment.open_held_out(config) if config.eval.every_epochs else None
    steps_per_epoch = loading.steps_per_epoch(split, config.train.batch_size)
    learning_rate = optimizers.schedule(
        config.optimizer,
        batch_size=config.train.batch_size,
        steps_per_epoch=steps_per_epoch,
        epochs=config.train.epochs,
    )
    optimizer = optimizers.optimizer(config.optimizer, learning_rate)
    graph, eval_graph, params, stats = experiment.create_model(config)
    if config.train.dtype == "float64":
        params, stats = jax.tree.map(lambda x: x.astype(jnp.float64), (params, stats))
    teacher = distill.open_teacher(config, mesh)
    setup = TrainingSetup(
        config=config,
        mesh=mesh,
        split=split,
        held_out=held_out,
        protocol=protocol,
        steps_per_epoch=steps_per_epoch,
        total_steps=config.train.epochs * steps_per_epoch,
        train_step=Announced(
            make_train_step(graph, mesh, optimizer, learning_rate, config, teacher),
            "the training step",
        ),
        card=model_card.from_config(config, split.skeleton, metric=metrics.score_name(protocol)),
        predict_step=Announced(
            inference.make_predict_step(
                eval_graph, mesh, experiment.prediction_settings(config), split.skeleton
            ),
            "the network for evaluation",
        ),
    )
    options = {"average": config.train.ema_decay > 0, "freeze": config.train.freeze}
    state = create_state(params, stats, optimizer, **options)
    return setup, distributed.place(state, NamedSharding(mesh, PartitionSpec()))


def _say_where_groups_are(config, device_count):
    size = config.train.batch_norm_size
    share = config.train.batch_size // config.train.accumulate // device_count
    if size and share % size and device_count > 1:
        logger.info(
            "each device has %d people of a batch, no whole groups of config.train.batch_norm_size"
            "=%d: the devices exchange sums at every batch norm, which takes time",
            *(share, size),
        )


def open_train_split(config: ConfigDict) -> Split | Mixture:
    """The training split of the config's dataset, mixed with those of `config.data.mix`."""
    split = experiment.open_split(config, config.data.train_split)
    mix, splits = config.data.mix, [split]
    if len(mix.roots) not in (0, len(mix.datasets)):
        raise ValueError(
            f"config.data.mix has {len(mix.roots)} roots for {len(mix.datasets)} datasets; give a "
            "root for each, or none to use data/<dataset>"
        )
    for index, name in enumerate(mix.datasets):
        entry = datasets.find(name)
        root = mix.roots[index] if mix.roots else entry.root
        splits.append(datasets.read(name, root, entry.train_split))
    if len(splits) == 1:
        return split
    mixed = mixture.mix(splits, mix.weights, split.skeleton)
    counts = mixture.shares(mixed, config.train.batch_size)
    names = (config.data.dataset, *mix.datasets)
    parts = ", ".join(
        f"{count} of the {len(part)} people of {name}"
        for count, part, name in zip(counts, splits, names, strict=True)
    )
    logger.info("each batch has %s", parts)
    return mixed


def _run(setup, state, position, workdir):
    config, start = setup.config, int(state.step)
    first = jax.process_index() == 0
    if first:
        run_folder.save_config(config, workdir)
    with contextlib.ExitStack() as stack:
        stop = stack.enter_context(signals.catch_stop_signals())
        every = config.log.every_steps
        open_log = run_log.RunLog if first else run_log.NoLog
        log = open_log(
            workdir,
            start=start,
            total=setup.total_steps,
            every_steps=every,
            trackers=trackers.open_all(config, workdir) if first else (),
        )
        stack.push(lambda kind, error, trace: log.close(failed=error is not None))
        manager = stack.enter_context(
            checkpoints.open_folder(workdir / "checkpoints", keep=config.checkpoint.keep)
        )
        batches = _open_batches(setup, position)
        stack.callback(batches.close)
        shared_stop = distributed.SharedStopRequest(stop, setup.mesh)
        resources = RunResources(workdir, manager, log, batches, shared_stop)
        # One process of several must not leave the others waiting.
        stop.nothing_to_save = jax.process_count() == 1
        try:
            number = loop.run(setup, to_device_form(state), resources, position)
        except signals.StopNow as stopped:
            number = stopped.signal
        checkpoints.wait(manager)
    return number


def _open_batches(setup, position):
    config = setup.config
    batches = loading.train_batches(
        setup.split,
        chains.train_ops(
            config.augment,
            setup.split.skeleton,
            config.data.input_size,
            strict=config.data.strict,
            max_pixels=config.data.max_pixels,
            udp=experiment.prediction_settings(config).udp,
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
