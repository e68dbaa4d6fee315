"""The teacher in distillation: another network whose heatmaps the student learns as well."""

import dataclasses
import logging
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from ml_collections import ConfigDict

from hrjax import models
from hrjax.weights import source

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Teacher:
    """A frozen network: its graph, its weights, {"params", "stats"}, and its precision."""

    graph: models.Graph
    weights: dict
    dtype: str

    def heatmaps(
        self, weights: dict, images: jax.Array, key: jax.Array, **options: Any
    ) -> jax.Array:
        """Its heatmaps of normalized images, for a student to learn; without gradients.

        The options are those of `models.apply`.
        """
        params = jax.tree.map(lambda x: x.astype(self.dtype), weights["params"])
        network = (self.graph, params, weights["stats"])
        shown, _ = models.apply(*network, images, key, **options)
        return jax.lax.stop_gradient(shown)


def open_teacher(config: ConfigDict, mesh: Mesh) -> Teacher | None:
    """The teacher that the config names, on all devices of `mesh`, or None.

    `config.distill.teacher` is anything that `hrjax.weights.source.open` takes;
    `config.distill.model` names the variant of weights that do not say it. With
    `config.distill.batch_statistics` the teacher runs in training mode, as in Paddle's
    distillation: batch norm uses the statistics of the batch. (There the running ones change, but
    nothing reads them.)
    """
    path = config.distill.teacher
    if not path:
        return None
    teacher = source.open(path, model=config.distill.model)
    variant = _variant(teacher)
    _check_alike(teacher, config)
    graph, params, stats = teacher.restore(
        NamedSharding(mesh, PartitionSpec()), training=config.distill.batch_statistics
    )
    logger.info("learning from the %s of %s as well", variant, teacher.location)
    weights = {"params": params, "stats": stats}
    return Teacher(graph, weights, jnp.dtype(config.train.dtype).name)


def _variant(teacher):
    try:
        return teacher.variant
    except ValueError as error:
        raise ValueError(f"{error} (config.distill.model names the teacher's variant)") from error


def _check_alike(teacher, config):
    color = teacher.color or config.data.color
    if (teacher.num_joints, color) != (config.model.num_joints, config.data.color):
        raise ValueError(
            f"the teacher {teacher.location} has {teacher.num_joints} joints and was trained on "
            f"{color} images, the student has {config.model.num_joints} and {config.data.color}; "
            "they must be the same"
        )
