"""Post-training quantization: an exported network in eight bits, without training it again.

Weights are rounded to 127 steps of the largest of each output channel, activations to 256 steps
over a range that crops of training images show. Layers that this would hurt stay in float32. Which
ones, and how much of the extremes a range leaves out, is found by trying on further training crops
how far the heatmaps are from those of the network in float32. Nothing else is looked at, so an
evaluation of the result is an honest one.
"""

import copy
import dataclasses
import json
import logging
from collections.abc import Sequence

import numpy as np
import onnx
from onnxruntime.quantization import QDQQuantizer, QuantType, calibrate

from hrjax.quantization import calibration, program, training_crops
from hrjax.quantization.switches import Switches

logger = logging.getLogger(__name__)

PERCENTILES = (99.9, 99.99, 99.999, 100.0)  # of activations that the ranges hold
COUNTS = (0, 8, 16, 32, 64)  # of layers that stay in float32
FLOAT_SHARE = 0.1  # of all weights that may stay in float32
WORTH = 1.1  # more layers stay in float32 only if that lowers the error by more than this factor
FEW = 3  # crops on which each layer is tried alone
METADATA = "quantization"


@dataclasses.dataclass(frozen=True)
class Choice:
    """How a network is quantized: the range of activations, and the layers left in float32.

    `error` is that of the heatmaps on crops that the ranges do not come from, as a fraction of
    their root mean square. `tried` has the percentile, the number of layers in float32 and the
    error of all combinations that were tried.
    """

    percentile: float
    kept: tuple[str, ...]
    error: float
    tried: tuple[tuple[float, int, float], ...]


def quantize(
    model: onnx.ModelProto, heatmaps: onnx.ModelProto, crops: np.ndarray
) -> tuple[onnx.ModelProto, Choice]:
    """The program `model` in eight bits, and how that was done.

    `heatmaps` is the same network without decoding and flip test. `crops` (n, h, w, 3) uint8 are of
    training images; half of them set the ranges, the others choose. The result depends on these
    arguments alone.
    """
    if len(crops) < training_crops.LEAST:
        raise ValueError(
            f"there are {len(crops)} training crops to quantize with; give "
            f"{training_crops.LEAST} or more, "
            "about 64 are enough"
        )
    histograms = calibration.Histograms(heatmaps, crops[::2])
    ranges = {percentile: histograms.ranges(percentile) for percentile in PERCENTILES}
    choice = search(heatmaps, crops[1::2], ranges)
    chosen = _renamed(ranges[choice.percentile], heatmaps, model)
    quantized = apply(model, chosen, choice.kept)
    told = {key: value for key, value in dataclasses.asdict(choice).items() if key != "tried"}
    quantized.metadata_props.add(key=METADATA, value=json.dumps(told))
    return quantized, choice


def search(
    model: onnx.ModelProto, crops: np.ndarray, ranges: dict[float, calibrate.TensorsData]
) -> Choice:
    """The best of the ranges, by percentile, with the layers that stay in float32.

    Each layer is tried alone in eight bits; those with the largest errors stay in float32, as many
    of them as pay.
    """
    few, all_crops = Switches(model, crops[:FEW]), Switches(model, crops)
    layers = few.layers
    first = min(ranges, key=lambda percentile: few.error(layers, ranges[percentile]))
    alone = [few.error([layer], ranges[first]) for layer in layers]
    logger.info("tried each of %d layers alone", len(layers))
    worst_first = [layers[i] for i in np.argsort(np.negative(alone), kind="stable")]
    tried, kept = [], {}
    for count in dict.fromkeys(min(count, len(layers)) for count in COUNTS):
        kept[count] = _kept(worst_first, count)
        rounded = [layer for layer in layers if layer not in kept[count]]
        for percentile, each in ranges.items():
            error = all_crops.error(rounded, each)
            logger.info(
                "percentile %g, %d layers in float32: heatmaps are %.1f%% off",
                *(percentile, len(kept[count]), 100 * error),
            )
            tried.append((percentile, count, error))
    percentile, count, error = _simplest(tried)
    names = tuple(layer.name for layer in layers if layer in kept[count])
    return Choice(percentile, names, error, tuple(tried))


def _kept(worst_first, count):
    """Up to `count` layers to leave in float32, without the ones that are too large for that."""
    room, kept = FLOAT_SHARE * sum(layer.size for layer in worst_first), []
    for layer in worst_first:
        if len(kept) < count and layer.size <= room:
            kept.append(layer)
            room -= layer.size
    return kept


def _simplest(tried):
    """The combination with the fewest layers in float32 of those with nearly the least error."""
    least = min(error for *_, error in tried)
    return min(
        (row for row in tried if row[2] <= WORTH * least), key=lambda row: (row[1], row[2], row[0])
    )


def apply(
    model: onnx.ModelProto, ranges: calibrate.TensorsData, kept: Sequence[str]
) -> onnx.ModelProto:
    """The program with QuantizeLinear and DequantizeLinear before all layers but the `kept`.

    What layers give stays as it is. All others read activations before they are rounded.
    """
    model = copy.deepcopy(model)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    names = [layer.name for layer in program.layers(model) if layer.name not in set(kept)]
    if not names:
        return model
    quantizer = QDQQuantizer(
        model,
        per_channel=True,
        reduce_range=False,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QInt8,
        tensors_range=ranges,
        nodes_to_quantize=names,
        nodes_to_exclude=[],
        op_types_to_quantize=[*program.CHANNEL_AXIS],
        extra_options={
            "ActivationSymmetric": False,
            "WeightSymmetric": True,
            "OpTypesToExcludeOutputQuantization": [*program.CHANNEL_AXIS],
        },
    )
    quantizer.quantize_model()
    quantizer.model.topological_sort()
    quantized = quantizer.model.model
    _read_exact(quantized.graph, set(names))
    del quantized.metadata_props[:]
    for key, value in metadata.items():
        quantized.metadata_props.add(key=key, value=value)
    onnx.checker.check_model(quantized, full_check=True)
    return quantized


def _read_exact(graph, names):
    """Lets all nodes but the named ones read activations before they are rounded.

    Besides being exact, this keeps ONNX Runtime (1.32) from rounding the weights of a layer in
    float32 between two rounded activations on its own, all channels together, which costs all AP.
    """
    makers = {name: node for node in graph.node for name in node.output}
    for node in graph.node:
        if node.name in names or node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            continue
        for place, name in enumerate(node.input):
            maker = makers.get(name)
            before = maker and maker.op_type == "DequantizeLinear" and makers.get(maker.input[0])
            if before and before.op_type == "QuantizeLinear":
                node.input[place] = before.input[0]


def _renamed(ranges, old, new):
    """The ranges of the tensors of one program for those of another with the same layers."""
    renamed = {}
    for before, after in zip(program.layers(old), program.layers(new), strict=True):
        low, high = calibration.bounds(ranges, before.input)
        renamed[after.input] = calibrate.TensorData(
            lowest=np.float32(low), highest=np.float32(high)
        )
    return calibrate.TensorsData(calibrate.CalibrationMethod.MinMax, renamed)
