"""How chains of blocks are run: what is kept of them for gradients, and what XLA may fuse."""

import jax
from flax import nnx

from hrjax.models.lowering import settle


def run(block: nnx.Module, x):
    """`block(x)`; `x` is an array or a list of branches. What comes out is kept for gradients.

    What is inside is kept as well, unless `compute_again` marked the block.
    """
    return jax.tree.map(settle, _run_again(block, x) if hasattr(block, MARK) else block(x))


MARK = "is_computed_again"


def compute_again(model: nnx.Module) -> None:
    """Marks all modules of `model`: the insides of those that are `run` are computed twice."""
    for _, module in nnx.iter_modules(model):
        if not isinstance(module, nnx.List):
            setattr(module, MARK, True)


def _run_again(block, x):
    graph, params, stats, rest = nnx.split(block, nnx.Param, nnx.BatchStat, ...)

    @jax.checkpoint
    def forward(params, stats, rest, x):
        copy = nnx.merge(graph, params, stats, rest)
        y = copy(x)
        return y, nnx.state(copy, nnx.BatchStat)

    y, stats = forward(params, stats, rest, x)
    nnx.update(block, stats)
    return y
