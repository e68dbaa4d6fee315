"""Runs blocks: decides what is kept of them for gradients, and what XLA may fuse."""

from typing import Any

import jax
from flax import nnx

from hrjax.models.layers.backend_ops import fusion_barrier

_REMAT = "uses_remat"  # an attribute that `enable_remat` adds to modules


def run_block(block: nnx.Module, x: Any) -> Any:
    """`block(x)`, where `x` is an array or a list of branches; the result is kept for gradients.

    So are the values inside the block, unless `enable_remat` was called on it.
    """
    outputs = _run_with_remat(block, x) if hasattr(block, _REMAT) else block(x)
    return jax.tree.map(fusion_barrier, outputs)


def enable_remat(model: nnx.Module) -> None:
    """Makes the blocks of `model` recompute their insides for gradients instead of keeping them."""
    for _, module in nnx.iter_modules(model):
        if not isinstance(module, nnx.List):
            setattr(module, _REMAT, True)


def _run_with_remat(block, x):
    graph, params, stats, rest = nnx.split(block, nnx.Param, nnx.BatchStat, ...)

    @jax.checkpoint
    def forward(params, stats, rest, x):
        copy = nnx.merge(graph, params, stats, rest)
        y = copy(x)
        return y, nnx.state(copy, nnx.Any(nnx.BatchStat, nnx.RngCount))

    y, changed = forward(params, stats, rest, x)
    nnx.update(block, changed)
    return y
