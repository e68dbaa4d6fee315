"""The training state and its form in a checkpoint."""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax
from flax import serialization

from hrjax import models
from hrjax.training import fine_tuning
from hrjax.training.parameter_packing import pack


@flax.struct.dataclass
class TrainState:
    """Everything that a step changes; `average` is {"params", "stats"} or None.

    The optimizer and its state use the packed params (`hrjax.training.parameter_packing`).
    """

    step: jax.Array
    params: dict
    stats: dict
    opt_state: optax.OptState
    average: dict | None

    @property
    def weights(self) -> dict:
        """The params and stats to evaluate: the averaged ones if there are any."""
        return self.average or {"params": self.params, "stats": self.stats}


def create_state(
    params: dict,
    stats: dict,
    optimizer: optax.GradientTransformation,
    *,
    average: bool,
    freeze: int = 0,
) -> TrainState:
    """The state before the first step; the first `freeze` parts of the backbone are not trained."""
    trained, _ = fine_tuning.divide(params, models.backbone_parts(params)[:freeze])
    # A copy, because the step donates all of the state: no two parts may share memory.
    copy = jax.tree.map(jnp.copy, {"params": params, "stats": stats}) if average else None
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        stats=stats,
        opt_state=optimizer.init(pack(trained)),
        average=copy,
    )


def to_items(state: TrainState) -> dict:
    """The state as the items of a checkpoint: names and nested dicts of arrays."""
    items = {
        "model": {"params": state.params, "stats": state.stats},
        "optimizer": {
            "step": state.step,
            "opt_state": serialization.to_state_dict(state.opt_state),
        },
    }
    return {**items, "average": state.average} if state.average else items


def from_items(items: dict, like: TrainState) -> TrainState:
    """The state of a checkpoint's items, with the structure of `like`; inverts `to_items`."""
    opt_state = serialization.from_state_dict(like.opt_state, items["optimizer"]["opt_state"])
    return TrainState(
        items["optimizer"]["step"],
        **items["model"],
        opt_state=opt_state,
        average=items.get("average"),
    )


def abstract(tree: Any) -> Any:
    """The tree with the shape, dtype and sharding of each array in its place."""
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), tree)
