"""High-resolution networks for human pose estimation in JAX."""

import importlib
import typing

__version__ = "0.1.0"

if typing.TYPE_CHECKING:
    from hrjax.models import apply, features, fold_batch_norm, split
    from hrjax.networks import create, load
    from hrjax.prediction.predictor import Predictor
    from hrjax.weights.torch_names import to_torch
    from hrjax.weights.transfer import from_torch

__all__ = [
    "Predictor",
    "apply",
    "create",
    "features",
    "fold_batch_norm",
    "from_torch",
    "load",
    "split",
    "to_torch",
]
# Imported at their first use: JAX takes a second, and data and checkpoints another.
_MODULES = {
    **dict.fromkeys(("apply", "features", "fold_batch_norm", "split"), "hrjax.models"),
    **dict.fromkeys(("create", "load"), "hrjax.networks"),
    "Predictor": "hrjax.prediction.predictor",
    "from_torch": "hrjax.weights.transfer",
    "to_torch": "hrjax.weights.torch_names",
}


def __getattr__(name: str) -> typing.Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'hrjax' has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
