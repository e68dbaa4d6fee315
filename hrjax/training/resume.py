"""Where a run starts: at its last good checkpoint, at that of another run, or at loaded weights."""

import logging
import pathlib

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from hrjax import models
from hrjax.quantization import training_start
from hrjax.runtime import distributed
from hrjax.training.state import TrainState, abstract, from_items, to_items
from hrjax.weights import checkpoints, source, step_files

logger = logging.getLogger(__name__)


def restore(
    config: ConfigDict, state: TrainState, folder: pathlib.Path, resume_from: str
) -> tuple[TrainState, dict]:
    """The state to start from, and the position of its checkpoint; {} where there is none.

    They are of the last good checkpoint in `folder`, else of the checkpoint `resume_from`, else
    `state` itself, with the weights of `config.init_from` if that is set.
    """
    target = abstract(to_items(state))
    if distributed.broadcast_from_first(holds_steps(folder)):
        if resume_from:
            logger.info(
                "%s has checkpoints; --resume_from is ignored, it is for a new --workdir", folder
            )
        step, items, damaged = checkpoints.restore_latest(folder, target)
        if jax.process_index() == 0:
            step_files.set_aside(damaged)
        distributed.check_same(str(step), "the checkpoint that they restored")
    elif resume_from:
        step, items = checkpoints.restore_from(resume_from, target)
    elif config.quantize.enabled and not config.init_from:
        raise ValueError(
            "config.quantize.enabled is True and config.init_from is empty; quantization-aware "
            "training starts from a trained network: name it there"
        )
    else:
        return load_weights(config, state) if config.init_from else state, {}
    logger.info("restored %s", step)
    return from_items(items, state), step_files.read_position(step)


def holds_steps(folder: pathlib.Path) -> bool:
    """Whether a folder of checkpoints has steps, usable or not; an empty folder is none."""
    return any(
        step_files.is_step(step) or (step.is_dir() and any(step.iterdir()))
        for step in (folder / str(number) for number in step_files.numbers(folder))
    )


def load_weights(config: ConfigDict, state: TrainState) -> TrainState:
    """`state` with the weights of `config.init_from`, the averaged ones if any.

    They may be a classifier's or have a head for other joints; see `Source.start_from`. Where the
    network is quantized and the weights are not, they are quantized first.
    """
    opened, fresh = source.open(config.init_from), {"params": state.params, "stats": state.stats}
    told = models.quantization_of(config.quantize)
    if told and not opened.quantization:
        weights, text = training_start.quantize(config, opened, fresh)
    else:
        weights, text = opened.start_from(config.model.name, fresh, quantization=told)
    logger.info(text)
    average = jax.tree.map(jnp.copy, weights) if state.average else None
    return state.replace(**weights, average=average)
