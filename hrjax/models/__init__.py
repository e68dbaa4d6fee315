"""Public interface to the networks: create one by name, split it, apply it."""

from hrjax.models.layers import in_layouts, lowering_for, target_platform, weight_format
from hrjax.models.pure_functions import (
    MEAN,
    STD,
    Graph,
    apply,
    backbone_parts,
    features,
    fold_batch_norm,
    freeze,
    merge,
    normalize,
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
    "backbone_parts",
    "configure",
    "create",
    "features",
    "fold_batch_norm",
    "freeze",
    "heatmap_stride",
    "in_layouts",
    "list_models",
    "lowering_for",
    "merge",
    "normalize",
    "shapes",
    "split",
    "split_size",
    "target_platform",
    "update",
    "weight_format",
]
