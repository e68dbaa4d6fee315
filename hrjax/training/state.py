"""What a training step changes, and its form in a checkpoint."""

import flax.struct
import jax
import jax.numpy as jnp
import optax
from flax import serialization

from hrjax.training.packing import pack


@flax.struct.dataclass
class TrainState:
    """Everything that a step changes; `average` is {"params", "stats"} or None.

    The optimizer sees the params packed (`hrjax.training.packing`), and so is its state.
    """

    step: jax.Array
    params: dict
    stats: dict
    opt_state: optax.OptState
    average: dict | None

    @property
    def weights(self) -> dict:
        """The params and stats to evaluate: averaged where the recipe averages."""
        return self.average or {"params": self.params, "stats": self.stats}


def create_state(params: dict, stats: dict, optimizer, *, average: bool) -> TrainState:
    """The state before the first step."""
    # A copy: the step takes over the memory of every part of the state, which none may share.
    copy = jax.tree.map(jnp.copy, {"params": params, "stats": stats}) if average else None
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        stats=stats,
        opt_state=optimizer.init(pack(params)),
        average=copy,
    )


def to_items(state: TrainState) -> dict:
    """The state as a checkpoint's items: name → nested dicts of arrays."""
    items = {
        "model": {"params": state.params, "stats": state.stats},
        "optimizer": {
            "step": state.step,
            "opt_state": serialization.to_state_dict(state.opt_state),
        },
    }
    return {**items, "average": state.average} if state.average else items


def from_items(items: dict, like: TrainState) -> TrainState:
    """The state that `to_items` took apart, of the same structure as `like`."""
    opt_state = serialization.from_state_dict(like.opt_state, items["optimizer"]["opt_state"])
    return TrainState(
        items["optimizer"]["step"],
        **items["model"],
        opt_state=opt_state,
        average=items.get("average"),
    )


def abstract(tree):
    """Shapes, types and shardings of a tree of arrays."""
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), tree)
