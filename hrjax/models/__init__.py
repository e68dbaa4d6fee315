"""Public interface to the networks: create one by name, split it, apply it."""

from hrjax.models.layers import in_layouts, lowering_for, target_platform, weight_format
from hrjax.models.pure_functions import (
    MEAN,
    STD,
    Graph,
    apply,
    features,
    fold_batch_norm,
    merge,
    normalize,
    quantize,
    split,
    update,
)
from hrjax.models.registry import (
    FAMILIES,
    VARIANTS,
    configure,
    create,
    heatmap_stride,
    list_models,
    shapes,
    split_size,
)

__all__ = [
    "FAMILIES",
    "MEAN",
    "STD",
    "VARIANTS",
    "Graph",
    "apply",
    "configure",
    "create",
    "features",
    "fold_batch_norm",
    "heatmap_stride",
    "in_layouts",
    "list_models",
    "lowering_for",
    "merge",
    "normalize",
    "quantize",
    "shapes",
    "split",
    "split_size",
    "target_platform",
    "update",
    "weight_format",
]
