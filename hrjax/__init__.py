"""High-resolution networks for human pose estimation in JAX."""

from hrjax.models import apply, create, features, fold_batch_norm, split
from hrjax.weights import from_torch, to_torch

__all__ = ["apply", "create", "features", "fold_batch_norm", "from_torch", "split", "to_torch"]
