"""High-resolution networks for human pose estimation in JAX."""

from hrjax.models import apply, create, features, fold_batch_norm, split
from hrjax.weights.torch_names import from_torch, to_torch

__all__ = [
    "Predictor",
    "apply",
    "create",
    "features",
    "fold_batch_norm",
    "from_torch",
    "split",
    "to_torch",
]


def __getattr__(name):
    # Imported at its first use: it brings the readers of data and checkpoints with it.
    if name != "Predictor":
        raise AttributeError(f"module 'hrjax' has no attribute {name!r}")
    from hrjax.prediction.predictor import Predictor

    return Predictor
