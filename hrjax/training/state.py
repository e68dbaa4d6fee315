"""The training state and its form in a checkpoint."""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax
from flax import serialization

from hrjax import models
from hrjax.training import fine_tuning
from hrjax.training.parameter_packing import holds_packed, pack, repack_all, unpack_all


@flax.struct.dataclass
class TrainState:
    """Everything that a step changes; `average` is {"params", "stats"} or None.

    The optimizer and its state use the packed params (`hrjax.training.parameter_packing`). Between
    the steps of a run on a GPU, params, stats and averages are packed too; see `to_device_form`.
    """

    step: jax.Array
    params: dict
    stats: dict
    opt_state: optax.OptState
    average: dict | None

    @property
    def weights(self) -> dict:
        """The params and stats to evaluate, as nested dicts: the averaged ones if there are any."""
        weights = self.average or {"params": self.params, "stats": self.stats}
        return _unpack_all(weights) if holds_packed(weights) else weights


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


def to_device_form(state: TrainState) -> TrainState:
    """The state as steps on its devices change it most quickly.

    On a GPU everything is packed: thousands of arrays would otherwise cost a kernel or more each,
    to unpack, convert and copy them. Elsewhere that is not faster and the state stays as it is.
    """
    platform = next(iter(state.step.devices())).platform
    return _pack_state(state) if models.PLATFORMS[platform] == "gpu" else state


def pack_state(state: TrainState) -> TrainState:
    """The state with params, stats, averages and what the optimizer keeps packed whole."""
    average = None
    if state.average is not None:
        average = {name: pack(part, whole=True) for name, part in state.average.items()}
    return TrainState(
        step=state.step,
        params=pack(state.params, whole=True),
        stats=pack(state.stats, whole=True),
        opt_state=repack_all(state.opt_state, whole=True),
        average=average,
    )


def unpack_weights(state: TrainState) -> TrainState:
    """The state with its params, stats and averages as nested dicts."""
    names = ("params", "stats", "average")
    return state.replace(**unpack_all({name: getattr(state, name) for name in names}))


def to_items(state: TrainState) -> dict:
    """The state as the items of a checkpoint: names and nested dicts of arrays.

    They are the same on all devices, whatever the form of the state.
    """
    if holds_packed(state.params):
        state = _unpack_state(state)
    opt_state = serialization.to_state_dict(state.opt_state)
    items = {
        "model": {"params": state.params, "stats": state.stats},
        "optimizer": {"step": state.step, "opt_state": opt_state},
    }
    return {**items, "average": state.average} if state.average else items


def from_items(items: dict, like: TrainState) -> TrainState:
    """The state of a checkpoint's items, with the structure of `like`, which is not packed."""
    opt_state = serialization.from_state_dict(like.opt_state, items["optimizer"]["opt_state"])
    return TrainState(
        items["optimizer"]["step"],
        **items["model"],
        opt_state=opt_state,
        average=items.get("average"),
    )


_pack_state = jax.jit(pack_state)
_unpack_all = jax.jit(unpack_all)


@jax.jit
def _unpack_state(state):
    opt_state = repack_all(state.opt_state, whole=False)
    return unpack_weights(state).replace(opt_state=opt_state)


def abstract(tree: Any) -> Any:
    """The tree with the shape, dtype and sharding of each array in its place."""
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), tree)
