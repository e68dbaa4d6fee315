"""High-resolution networks for human pose estimation in JAX.

    model = hrjax.create("hrnet_w32")               # an nnx.Module in training mode
    model.eval()
    heatmaps = nnx.jit(lambda model, x: model(x))(model, images)    # → (n, h/4, w/4, joints)

    graph, params, stats = hrjax.split(model)       # the same as a pure function of plain dicts
    heatmaps, _ = hrjax.apply(graph, params, stats, images)

`list_models` has the names. `from_torch` reads weights of the PyTorch originals, and `Predictor`
goes from pictures to joints. The command line is `python -m hrjax.main`.
"""

import importlib.metadata
import typing

from hrjax.models import apply, create, features, fold_batch_norm, list_models, split
from hrjax.weights.torch_names import from_torch, to_torch

if typing.TYPE_CHECKING:
    from hrjax.prediction.predictor import Predictor

__all__ = [
    "Predictor",
    "__version__",
    "apply",
    "create",
    "features",
    "fold_batch_norm",
    "from_torch",
    "list_models",
    "split",
    "to_torch",
]


def __getattr__(name: str) -> typing.Any:
    if name == "Predictor":
        # Imported at first use, since it brings the readers of data and checkpoints with it.
        from hrjax.prediction.predictor import Predictor

        return Predictor
    if name == "__version__":
        return _version()
    raise AttributeError(f"module 'hrjax' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _version() -> str:
    try:
        return importlib.metadata.version("hrjax")
    except importlib.metadata.PackageNotFoundError:  # used from a checkout that is not installed
        return "0+unknown"
