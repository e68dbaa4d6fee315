"""Exported networks: ONNX files of `hrjax.export_onnx`, run by onnxruntime (extra `export`)."""

import dataclasses
import pathlib
from typing import Any

import numpy as np

from data_pipelines import files
from hrjax.weights import model_card
from hrjax.weights.model_card import ModelCard

LIMIT = 2**31  # bytes; more than protocol buffers allow
INPUT = "crops"
KEYPOINTS = ("keypoints", "scores")
HEATMAPS = ("heatmaps",)


@dataclasses.dataclass(frozen=True, eq=False)
class Program:
    """A program from crops (n, h, w, 3) uint8 to keypoints and scores, or to heatmaps.

    `outputs` are their names, and `batch` is the number of crops of one call, None for any.
    """

    file: pathlib.Path
    card: ModelCard
    session: Any
    outputs: tuple[str, ...]
    batch: int | None

    @property
    def returns_heatmaps(self) -> bool:
        """Whether keypoints remain to be read from heatmaps."""
        return self.outputs == HEATMAPS

    def run(self, crops: np.ndarray) -> list[np.ndarray]:
        """The outputs for any number of crops."""
        count = len(crops)
        if not self.batch:
            return self._call(crops)
        rows = np.minimum(np.arange(-(-count // self.batch) * self.batch), count - 1)
        parts = [self._call(crops[part]) for part in rows.reshape(-1, self.batch)]
        return [np.concatenate(column)[:count] for column in zip(*parts, strict=True)]

    def _call(self, crops):
        try:
            results = self.session.run([*self.outputs], {INPUT: crops})
        except Exception as error:  # onnxruntime's exceptions have no common base class
            raise ValueError(f"{self.file} cannot be run: {_first_line(error)}") from error
        card, count = self.card, len(crops)
        for name, result in zip(self.outputs, results, strict=True):
            expected = (count, *_shapes(card)[name])
            if result.shape != expected:
                raise ValueError(
                    f"{self.file} returned {name} of shape {result.shape} for {count} crops, "
                    f"expected {expected}; export it again"
                )
        return results


def open_program(file: pathlib.Path) -> Program:
    """The program in an ONNX file, checked against the model card in its metadata."""
    session = open_session(file)
    texts = session.get_modelmeta().custom_metadata_map
    if model_card.FILE not in texts:
        raise ValueError(
            f"{file} has no {model_card.FILE} in its metadata, so nothing says what it computes; "
            "expected a file of hrjax.export_onnx"
        )
    card = model_card.parse(texts[model_card.FILE], f"{model_card.FILE} in {file}")
    inputs = {value.name: (value.type, value.shape) for value in session.get_inputs()}
    outputs = {value.name: (value.type, value.shape) for value in session.get_outputs()}
    names = HEATMAPS if set(outputs) == set(HEATMAPS) else KEYPOINTS
    wanted = {name: ("tensor(float)", [*_shapes(card)[name]]) for name in names}
    problems = _differences(outputs, wanted)
    problems += _differences(inputs, {INPUT: ("tensor(uint8)", [*card.input_size, 3])})
    if problems:
        raise ValueError(f"{file} does not fit its model card: {'; '.join(problems)}")
    (batch, *_) = inputs[INPUT][1]
    return Program(file, card, session, names, batch if isinstance(batch, int) else None)


def _shapes(card):
    """The shapes of the outputs for one crop."""
    count = card.num_joints
    size = tuple(side // card.stride for side in card.input_size)
    return {"keypoints": (count, 2), "scores": (count,), "heatmaps": (*size, count)}


def _differences(found, wanted):
    """What is wrong with tensors by name, whose first axis is the number of crops."""
    if set(found) != set(wanted):
        return [f"it has {', '.join(found)}, expected {', '.join(wanted)}"]
    return [
        f"{name} is {found[name][0]} {found[name][1]}, expected {kind} {['n', *shape]}"
        for name, (kind, shape) in wanted.items()
        if found[name][0] != kind or [*found[name][1]][1:] != shape
    ]


def open_session(file: pathlib.Path) -> Any:
    """A session of onnxruntime with an ONNX file, on a GPU where onnxruntime has one."""
    onnxruntime = _onnxruntime()
    contents = files.read_bytes(file, limit=LIMIT)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # errors come as exceptions
    # On x86 processors without VNNI, products of eight bits would be added in sixteen and overflow.
    options.add_session_config_entry("session.x64quantprecision", "1")
    # TF32 would change keypoints by up to a pixel.
    known = {"CUDAExecutionProvider": {"use_tf32": 0}, "CPUExecutionProvider": {}}
    available = onnxruntime.get_available_providers()
    providers = [(name, options) for name, options in known.items() if name in available]
    try:
        # Of bytes, so that tensors that refer to other files are refused.
        return onnxruntime.InferenceSession(contents, options, providers=providers)
    except Exception as error:  # onnxruntime's exceptions have no common base class
        raise ValueError(
            f"{file} ({len(contents)} bytes) is cut short, damaged or not an ONNX file that "
            f"onnxruntime {onnxruntime.__version__} can run ({_first_line(error)}); export it again"
        ) from error


def _first_line(error):
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


def _onnxruntime():
    try:
        import onnxruntime
    except ImportError as error:
        raise ValueError(
            "an ONNX file needs onnxruntime: pip install 'hrjax[export]', or name the checkpoint "
            "that it was exported from"
        ) from error
    return onnxruntime
