"""High-resolution networks for human pose estimation in JAX."""

from hrjax.models import apply, create, split
from hrjax.weights import from_torch

__all__ = ["apply", "create", "from_torch", "split"]
