"""The teacher of a distilled network: another network whose heatmaps the student learns as well."""

import dataclasses
import json
import logging
import pathlib

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from ml_collections import ConfigDict

from hrjax import checkpoints, launch, models, weight_files, weights


@dataclasses.dataclass(frozen=True)
class Teacher:
    """A frozen network: its structure, its weights, {"params", "stats"}, and its precision."""

    graph: object
    weights: dict
    dtype: str

    def heatmaps(self, weights: dict, images, key):
        """What it sees in normalised images, for a student to learn; without gradients."""
        params = jax.tree.map(lambda x: x.astype(self.dtype), weights["params"])
        shown, _ = models.apply(self.graph, params, weights["stats"], images, key)
        return jax.lax.stop_gradient(shown)


def open_teacher(config: ConfigDict, mesh: Mesh) -> Teacher | None:
    """The teacher that the config names, on all devices of `mesh`, or None.

    `config.distill.teacher` is a run of ours, whose config says which network it is, or a
    checkpoint or file of weights of the variant `config.distill.model`. With
    `config.distill.batch_statistics` it runs in training mode, as in Paddle's distillation: batch
    norm takes the statistics of the batch. (There the running ones move, but nothing reads them.)
    """
    path = config.distill.teacher
    if not path:
        return None
    name, fields = _network(path, config)
    training = config.distill.batch_statistics
    graph, params, stats = models.shapes(name, training=training, **fields)
    whole = NamedSharding(mesh, PartitionSpec())
    found = weight_files.find(path)
    if found is None:
        target = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=whole),
            {"params": params, "stats": stats},
        )
        found, restored = checkpoints.restore_weights(path, target)
    else:
        _, params, stats = weights.from_torch(name, weight_files.read(found), **fields)
        restored = launch.place({"params": params, "stats": stats}, whole)
    logging.info("learning from the %s of %s as well", name, found)
    return Teacher(graph, restored, jnp.dtype(config.train.dtype).name)


def _network(path, config):
    """The teacher's variant and the fields of it."""
    model = _read_config(path).get("model", {"name": config.distill.model})
    if not model["name"]:
        raise ValueError(
            f"{path} doesn't say which network it is; name its variant by --config.distill.model"
        )
    fields = {key: tuple(x) if isinstance(x, list) else x for key, x in model.items()}
    name = fields.pop("name")
    joints = fields.setdefault("num_joints", config.model.num_joints)
    color = _read_config(path).get("data", {}).get("color", config.data.color)
    if (joints, color) != (config.model.num_joints, config.data.color):
        raise ValueError(
            f"the teacher {path} has {joints} joints and learnt from {color} images, the student "
            f"has {config.model.num_joints} and {config.data.color}; they must be the same"
        )
    return name, fields


def _read_config(path):
    """The config of the run that a path leads into, or {}."""
    folder = pathlib.Path(path).absolute()
    for place in (folder, *folder.parents[:2]):
        if (place / "config.json").is_file():
            return json.loads((place / "config.json").read_text())
    return {}
