"""High-resolution networks for human pose estimation in JAX.

    model = hrjax.create("hrnet_w32")               # an nnx.Module in training mode
    model.eval()
    heatmaps = nnx.jit(lambda model, x: model(x))(model, images)    # → (n, h/4, w/4, joints)

    graph, params, stats = hrjax.split(model)       # the same as a pure function of plain dicts
    heatmaps, _ = hrjax.apply(graph, params, stats, images)

    network = hrjax.load("runs/quickstart")         # a trained network in evaluation mode

`list_models` has the names. `load` and `create(…, weights=…)` take runs, checkpoints and published
files, `from_torch` state dicts of the PyTorch originals, and `Predictor` goes from pictures to
joints. `export_onnx` and `export_stablehlo` write files that need no hrjax. The command line is
`python -m hrjax.main`.
"""

import importlib
import importlib.metadata
import typing

if typing.TYPE_CHECKING:
    from hrjax.export.onnx_model import export_onnx
    from hrjax.export.stablehlo import export_stablehlo
    from hrjax.export.web_page import export_web
    from hrjax.models import (
        apply,
        features,
        fold_batch_norm,
        list_models,
        lowering_for,
        specialize,
        split,
    )
    from hrjax.networks import create, load
    from hrjax.prediction.predictor import Predictor
    from hrjax.weights.tensor_loading import from_torch
    from hrjax.weights.torch_names import to_torch

__all__ = [
    "Predictor",
    "__version__",
    "apply",
    "create",
    "export_onnx",
    "export_stablehlo",
    "export_web",
    "features",
    "fold_batch_norm",
    "from_torch",
    "list_models",
    "load",
    "lowering_for",
    "specialize",
    "split",
    "to_torch",
]
_IN_MODELS = (
    "apply",
    "features",
    "fold_batch_norm",
    "list_models",
    "lowering_for",
    "specialize",
    "split",
)
# Imported at first use: JAX takes a second, and the readers of data and checkpoints another.
_MODULES = {
    **dict.fromkeys(_IN_MODELS, "hrjax.models"),
    **dict.fromkeys(("create", "load"), "hrjax.networks"),
    "Predictor": "hrjax.prediction.predictor",
    "export_onnx": "hrjax.export.onnx_model",
    "export_stablehlo": "hrjax.export.stablehlo",
    "export_web": "hrjax.export.web_page",
    "from_torch": "hrjax.weights.tensor_loading",
    "to_torch": "hrjax.weights.torch_names",
}


def __getattr__(name: str) -> typing.Any:
    if name == "__version__":
        return _version()
    if name not in _MODULES:
        raise AttributeError(f"module 'hrjax' has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _version() -> str:
    try:
        return importlib.metadata.version("hrjax")
    except importlib.metadata.PackageNotFoundError:  # used from a checkout that is not installed
        return "0+unknown"
