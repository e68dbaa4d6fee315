"""The teacher of a distilled network: another network whose heatmaps the student learns as well."""

import dataclasses
import logging
import pathlib

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from ml_collections import ConfigDict

from hrjax import models
from hrjax.runtime import run_folder
from hrjax.weights import restoring

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Teacher:
    """A frozen network: its structure, its weights, {"params", "stats"}, and its precision."""

    graph: models.Graph
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
    found, graph, restored = restoring.restore(
        name, fields, path, NamedSharding(mesh, PartitionSpec()), training=training
    )
    logger.info("learning from the %s of %s as well", name, found)
    return Teacher(graph, restored, jnp.dtype(config.train.dtype).name)


def _network(path, config):
    """The teacher's variant and the fields of it."""
    saved = run_folder.find_config(pathlib.Path(path)) or {}
    fields = dict(saved.get("model", {"name": config.distill.model}))
    name = fields.pop("name")
    if not name:
        raise ValueError(
            f"{path} doesn't say which network it is; name its variant by --config.distill.model"
        )
    joints = fields.setdefault("num_joints", config.model.num_joints)
    color = saved.get("data", {}).get("color", config.data.color)
    if (joints, color) != (config.model.num_joints, config.data.color):
        raise ValueError(
            f"the teacher {path} has {joints} joints and learnt from {color} images, the student "
            f"has {config.model.num_joints} and {config.data.color}; they must be the same"
        )
    return name, fields
