"""A network with weights from wherever they are: a checkpoint, a file or an address."""

import pathlib

import jax
from jax.sharding import Sharding

from hrjax import models
from hrjax.runtime import distributed
from hrjax.weights import checkpoints, file_formats, torch_names


def restore(
    name: str, fields: dict, path: str, sharding: Sharding, *, training: bool = False
) -> tuple[pathlib.Path, models.Graph, dict]:
    """Where the weights at `path` were found, the network's graph, and {"params", "stats"}.

    `path` is a checkpoint of ours, or a file of published weights or its address. `name` is the
    variant and `fields` what is set of it; the graph evaluates, or trains with `training`. The
    arrays lie as `sharding` says.
    """
    file = file_formats.find(path)
    if file is not None:
        graph, params, stats = torch_names.from_torch(name, file_formats.read(file), **fields)
        if training:
            graph, _, _ = models.shapes(name, training=True, **fields)
        return file, graph, distributed.place({"params": params, "stats": stats}, sharding)
    graph, params, stats = models.shapes(name, training=training, **fields)
    target = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding),
        {"params": params, "stats": stats},
    )
    found, restored = checkpoints.restore_weights(path, target)
    return found, graph, restored
