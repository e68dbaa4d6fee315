"""The ranges of activations on crops, which eight bits are spread over."""

import contextlib
import io
import pathlib
import tempfile
from collections.abc import Iterable

import numpy as np
import onnx
from onnxruntime.quantization import calibrate

from hrjax.quantization import program

BINS = 2048  # of the histograms; ranges are exact to a bin


class Histograms:
    """Histograms of the activations around the layers of a program, over all crops.

    They hold any number of crops in the memory of one.
    """

    def __init__(self, model: onnx.ModelProto, crops: np.ndarray):
        with tempfile.TemporaryDirectory() as folder, _quiet():
            file = pathlib.Path(folder) / "model.onnx"
            onnx.save(model, file)
            self._calibrator = calibrate.create_calibrator(
                file,
                [*program.CHANNEL_AXIS],
                augmented_model_path=str(file.with_stem("observed")),
                calibrate_method=calibrate.CalibrationMethod.Percentile,
                extra_options={"num_bins": BINS, "symmetric": False},
            )
            for crop in crops:
                self._calibrator.collect_data(_Once([crop[None]], model.graph.input[0].name))

    def ranges(self, percentile: float) -> calibrate.TensorsData:
        """The range of each activation that holds `percentile` of its values; all of them at 100.

        What is cut off is cut off in equal shares at both ends.
        """
        with _quiet():
            self._calibrator.collector.percentile = percentile
            return self._calibrator.compute_data()


def bounds(ranges: calibrate.TensorsData, tensor: str) -> tuple[float, float]:
    """The lowest and the highest value of a tensor's range."""
    low, high = ranges.data[tensor].range_value
    return float(low), float(high)


class _Once(calibrate.CalibrationDataReader):
    """Batches of crops, once."""

    def __init__(self, batches: Iterable[np.ndarray], name: str):
        self._batches = ({name: batch} for batch in batches)

    def get_next(self) -> dict | None:
        return next(self._batches, None)


def _quiet():
    """onnxruntime's calibration prints what it does for each batch."""
    return contextlib.redirect_stdout(io.StringIO())
