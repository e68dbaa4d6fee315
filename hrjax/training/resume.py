"""Where a run starts: at its last good checkpoint, at that of another run, or at loaded weights."""

import logging
import pathlib

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from hrjax.runtime import distributed
from hrjax.training.state import TrainState, abstract, from_items, to_items
from hrjax.weights import checkpoints, source

logger = logging.getLogger(__name__)


def restore(
    config: ConfigDict, state: TrainState, folder: pathlib.Path, resume_from: str
) -> tuple[TrainState, dict]:
    """The state to start from, and the position of its checkpoint; {} where there is none.

    They are of the last good checkpoint in `folder`, else of the checkpoint `resume_from`, else
    `state` itself, with the weights of `config.init_from` if that is set.
    """
    target = abstract(to_items(state))
    if distributed.broadcast_from_first(checkpoints.latest(folder) is not None):
        if resume_from:
            logger.info(
                "%s has checkpoints; --resume_from is ignored, it is for a new --workdir", folder
            )
        step, items, damaged = checkpoints.restore_latest(folder, target)
        if jax.process_index() == 0:
            checkpoints.set_aside(damaged)
        distributed.check_same(str(step), "the checkpoint that they restored")
    elif resume_from:
        step = checkpoints.find(resume_from, prefer=checkpoints.latest)
        items = checkpoints.restore(step, target)
    else:
        return load_weights(config, state) if config.init_from else state, {}
    logger.info("restored %s", step)
    return from_items(items, state), checkpoints.read_position(step)


def load_weights(config: ConfigDict, state: TrainState) -> TrainState:
    """`state` with the weights of `config.init_from`, the averaged ones if any.

    They may be a classifier's or have a head for other joints; see `Source.start_from`.
    """
    fresh = {"params": state.params, "stats": state.stats}
    weights, text = source.open(config.init_from).start_from(config.model.name, fresh)
    logger.info(text)
    average = jax.tree.map(jnp.copy, weights) if state.average else None
    return state.replace(**weights, average=average)
