"""The layers and blocks that all networks are built from.

Convolutions, norms and drop path are layers; blocks combine them. Arrays are NHWC, and layers
compute in the dtype of their input. `backend_ops` decides how each platform computes them,
and `target` which platform that is.
"""

from hrjax.models.layers.blocks import (
    BOTTLENECK_NAMES,
    BasicBlock,
    Bottleneck,
    Separable,
    Sequential,
    SqueezeExcite,
    check_image_size,
    conv3x3,
    half_width,
    shuffle,
)
from hrjax.models.layers.convolutions import (
    CONV_STD,
    Activation,
    Conv,
    ConvBN,
    DynamicConv,
    Linear,
    TransposedConv,
    pad_inputs,
    with_all_outputs,
)
from hrjax.models.layers.drop_path import DropPath, drop_paths, give_draws, remove_streams
from hrjax.models.layers.fake_quantization import FakeQuantization
from hrjax.models.layers.functional import attend, gelu, is_launch_bound, softmax, softmax_mean
from hrjax.models.layers.initialization import (
    HostInitializer,
    Initializer,
    constant,
    normal,
    uniform,
)
from hrjax.models.layers.layouts import in_layouts, weight_format
from hrjax.models.layers.norms import BatchNorm, LayerNorm, set_batch_norm_size
from hrjax.models.layers.remat import enable_remat, run_block
from hrjax.models.layers.target import PLATFORMS, lowering_for, target_platform

__all__ = [
    "BOTTLENECK_NAMES",
    "CONV_STD",
    "PLATFORMS",
    "Activation",
    "BasicBlock",
    "BatchNorm",
    "Bottleneck",
    "Conv",
    "ConvBN",
    "DropPath",
    "DynamicConv",
    "FakeQuantization",
    "HostInitializer",
    "Initializer",
    "LayerNorm",
    "Linear",
    "Separable",
    "Sequential",
    "SqueezeExcite",
    "TransposedConv",
    "attend",
    "check_image_size",
    "constant",
    "conv3x3",
    "drop_paths",
    "enable_remat",
    "gelu",
    "give_draws",
    "half_width",
    "in_layouts",
    "is_launch_bound",
    "lowering_for",
    "normal",
    "pad_inputs",
    "remove_streams",
    "run_block",
    "set_batch_norm_size",
    "shuffle",
    "softmax",
    "softmax_mean",
    "target_platform",
    "uniform",
    "weight_format",
    "with_all_outputs",
]
