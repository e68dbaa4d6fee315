"""Person detection with an ONNX file, by onnxruntime (extra `detect`)."""

import pathlib
from collections.abc import Sequence

import cv2
import numpy as np

STRIDES = (8, 16, 32, 64)  # the last one only in YOLOX's larger (P6) networks
DEFAULT_SIZE = (640, 640)  # (height, width), for files whose input size is dynamic
PADDING = 114  # gray, as in YOLOX's training
PERSON = 0  # among YOLOX's classes
ACCEPTED = """(1, cells, 5 + classes) as YOLOX exports them, with cells at strides 8, 16 and 32; or
(1, n, 5) of x1, y1, x2, y2, score after NMS, optionally with labels (1, n) as a second output; or
(1, n, 6) with the label as the sixth column. Label 0 is a person"""


class Detector:
    """Detects people: `Detector("yolox.onnx", threshold=0.3)(image)` → boxes (n, 4), scores (n,).

    The network takes what YOLOX's export takes: (1, 3, h, w) float32, BGR from 0 to 255, with the
    image in the upper left corner and gray padding. ACCEPTED lists the supported outputs. Among
    boxes that overlap by more than `overlap` (IoU), only the best one is kept. `size` (height,
    width) is that of the input where the file leaves it open; of the input, `mean` is subtracted
    and the rest divided by `std`, both (3,) for blue, green and red.
    """

    def __init__(
        self,
        file: str,
        *,
        threshold: float,
        overlap: float = 0.45,
        size: tuple[int, int] = DEFAULT_SIZE,
        mean: Sequence[float] = (0.0, 0.0, 0.0),
        std: Sequence[float] = (1.0, 1.0, 1.0),
    ):
        self._threshold, self._overlap = threshold, overlap
        self._mean, self._std = np.array(mean, np.float32), np.array(std, np.float32)
        if not pathlib.Path(file).is_file():
            raise FileNotFoundError(f"there is no detector file {file}")
        self._file = file
        self._session = _open(file)
        inputs = self._session.get_inputs()
        shapes = [f"{entry.name} {entry.shape} {entry.type}" for entry in inputs]
        shape = inputs[0].shape
        if len(inputs) != 1 or len(shape) != 4 or shape[1] != 3 or "float)" not in inputs[0].type:
            raise ValueError(
                f"{file} is not a supported detector: expected one float32 input (1, 3, h, w), got "
                f"{'; '.join(shapes)}"
            )
        self._size = tuple(
            side if isinstance(side, int) else default
            for side, default in zip(shape[2:], size, strict=True)
        )

    def __call__(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The people in an image (h, w, 3) uint8 RGB: boxes (x, y, w, h) in pixels, and scores."""
        zoom = min(self._size[0] / image.shape[0], self._size[1] / image.shape[1])
        width, height = (max(1, int(side * zoom)) for side in image.shape[1::-1])
        canvas = np.full((*self._size, 3), PADDING, np.uint8)
        canvas[:height, :width] = cv2.resize(image, (width, height))[..., ::-1]
        inputs = {self._session.get_inputs()[0].name: _network_input(canvas, self._mean, self._std)}
        outputs = self._session.run(None, inputs)
        try:
            corners, scores = decode(outputs, self._size)
        except ValueError as error:
            raise ValueError(f"{self._file}: {error}") from error
        confident = scores >= self._threshold
        corners, scores = corners[confident] / zoom, scores[confident]
        boxes = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)
        kept = cv2.dnn.NMSBoxes(boxes.tolist(), scores.tolist(), self._threshold, self._overlap)
        kept = np.asarray(kept, int).reshape(-1)
        return boxes[kept], scores[kept]


def _open(file):
    try:
        import onnxruntime
    except ImportError as error:
        raise ValueError(
            "a detector needs onnxruntime: pip install onnxruntime, or give boxes instead"
        ) from error
    try:
        return onnxruntime.InferenceSession(file, providers=onnxruntime.get_available_providers())
    except Exception as error:  # onnxruntime's exceptions have no common base class
        reason = str(error).strip().splitlines()[0]
        raise ValueError(f"{file} is damaged or not an ONNX file ({reason})") from error


def _network_input(canvas, mean, std):
    canvas = (canvas.astype(np.float32) - mean) / std
    return np.ascontiguousarray(canvas.transpose(2, 0, 1)[None])


def decode(outputs: list[np.ndarray], size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Corners (n, 4) as x1, y1, x2, y2 and person scores (n,); `size` is that of the input."""
    rows = np.asarray(outputs[0], np.float64)
    if rows.ndim == 3 and len(rows) == 1 and rows.shape[2] >= 5:
        for strides in (STRIDES[:3], STRIDES):
            cells, widths = _cells(size, strides)
            if len(cells) == rows.shape[1] and rows.shape[2] > 5:
                return _decode_cells(rows[0], cells, widths)
        if rows.shape[2] <= 6:
            labels = rows[0, :, 5] if rows.shape[2] == 6 else np.zeros(rows.shape[1])
            if rows.shape[2] == 5 and len(outputs) > 1:
                labels = np.reshape(outputs[1], -1)
            return rows[0, :, :4], np.where(labels == PERSON, rows[0, :, 4], 0)
    shapes = ", ".join(str(np.shape(output)) for output in outputs)
    raise ValueError(f"unsupported outputs of shapes {shapes}; expected {ACCEPTED}")


def _cells(size, strides):
    """The upper left corner (x, y) of each cell of all grids, in cells, and its stride (n, 1)."""
    corners, widths = [], []
    for stride in strides:
        y, x = np.mgrid[: size[0] // stride, : size[1] // stride]
        corners.append(np.stack([x.ravel(), y.ravel()], axis=1))
        widths.append(np.full((x.size, 1), stride))
    return np.concatenate(corners), np.concatenate(widths)


def _decode_cells(rows, cells, widths):
    """Decodes YOLOX's rows: center offsets, logarithms of sizes, objectness, class scores."""
    centers = (rows[:, :2] + cells) * widths
    sizes = np.exp(rows[:, 2:4]) * widths
    corners = np.concatenate([centers - sizes / 2, centers + sizes / 2], axis=1)
    return corners, rows[:, 4] * rows[:, 5 + PERSON]
