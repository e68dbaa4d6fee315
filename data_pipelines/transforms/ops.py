"""What is done to one example: callables `op(example, rng) -> example`, frozen dataclasses.

`rng` is a NumPy Generator that belongs to the example. Ops return a new dict; each names the keys
that it reads and writes. An op draws the same number of values whatever it decides.
"""

import dataclasses
import logging
import threading
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import scipy.special

from data_pipelines import geometry, images

logger = logging.getLogger(__name__)

# What a person's box is multiplied by when only one half of the body is shown.
HALF_BODY_PADDING = 1.5
# The mmpose loaders move a box by up to 0.2 of its unpadded size; ours carry the padding.
CENTER_SHIFT = 0.2 / geometry.BOX_PADDING

_WARNED: set[str] = set()
_WARNING = threading.Lock()
# The picture that a thread decoded last: people of one picture often follow each other.
_LAST = threading.local()


@dataclasses.dataclass(frozen=True)
class Decode:
    """Decodes the picture. Reads image_path (or encoded), visible; writes image, readable, visible.

    image is RGB uint8 and not to be written into: the next person of the same picture gets it too.
    A picture that can't be read is an error when `strict`. Otherwise it becomes black, its joints
    invisible and `readable` false, and the first time it is logged; count it in the batches.
    """

    strict: bool

    def __call__(self, example: dict, rng: np.random.Generator) -> dict:
        path = str(example["image_path"])
        try:
            image = _read_once(path, example.get("encoded"))
        except ValueError as error:
            if self.strict:
                raise
            _warn_once(str(error))
            black = np.zeros((1, 1, 3), np.uint8)
            hidden = np.zeros_like(example["visible"])
            return {**example, "image": black, "visible": hidden, "readable": np.False_}
        return {**example, "image": image, "readable": np.True_}


def _read_once(path: str, encoded: Callable[[], bytes] | None) -> np.ndarray:
    """The picture, decoded again only if this thread's last one was another."""
    if getattr(_LAST, "path", None) != path:
        _LAST.path = _LAST.image = None  # first, so that its memory, still in the cache, is taken
        image = images.read_image(path) if encoded is None else images.decode(encoded(), path)
        image.flags.writeable = False
        _LAST.path, _LAST.image = path, image
    return _LAST.image


def _warn_once(problem: str) -> None:
    with _WARNING:  # threads may find the same picture at the same moment
        if problem not in _WARNED:
            _WARNED.add(problem)
            logger.warning("%s; the example becomes black and teaches nothing", problem)


@dataclasses.dataclass(frozen=True)
class ShiftCenter:
    """Moves the box by up to a fifth of it. Reads center, size; writes center."""

    probability: float

    def __call__(self, example: dict, rng: np.random.Generator) -> dict:
        draws, gate = rng.random(2), rng.random()
        if gate >= self.probability:
            return example
        move = CENTER_SHIFT * (2 * draws - 1) * example["size"][::-1]
        return {**example, "center": (example["center"] + move).astype(np.float32)}


@dataclasses.dataclass(frozen=True)
class RandomFlip:
    """Mirrors the person left to right. Reads and writes image, center, keypoints, visible.

    image is a mirrored view of what it was: only what a crop shows of it is ever moved.
    """

    flip_pairs: tuple[tuple[int, int], ...]
    probability: float

    def __call__(self, example: dict, rng: np.random.Generator) -> dict:
        if rng.random() > self.probability:
            return example
        last = example["image"].shape[1] - 1
        mirror, offset = np.array([-1, 1], np.float32), np.array([last, 0], np.float32)
        order = list(range(len(example["visible"])))
        for left, right in self.flip_pairs:
            order[left], order[right] = right, left
        return {
            **example,
            "image": example["image"][:, ::-1],
            "center": example["center"] * mirror + offset,
            "keypoints": (example["keypoints"] * mirror + offset)[order],
            "visible": example["visible"][order],
        }


@dataclasses.dataclass(frozen=True)
class HalfBody:
    """Narrows the box to one half of the body. Reads keypoints, visible; writes center, size.

    Only people with more than `min_joints` visible joints are narrowed.
    """

    upper_body: tuple[int, ...]
    probability: float
    min_joints: int

    def __call__(self, example: dict, rng: np.random.Generator) -> dict:
        gate, preference = rng.random(), rng.standard_normal()
        if gate >= self.probability:
            return example
        visible = example["visible"] > 0
        if visible.sum() <= self.min_joints:
            return example
        is_upper = np.isin(np.arange(len(visible)), self.upper_body)
        upper, lower = visible & is_upper, visible & ~is_upper
        # A normal draw below 0.5 has probability 0.69, not 0.5; every reference does it.
        prefer_upper = preference < 0.5 and upper.sum() > 2
        chosen = upper if prefer_upper or lower.sum() <= 2 else lower
        joints = example["keypoints"][chosen]
        if len(joints) < 2 or not np.ptp(joints, axis=0).any():
            return example
        size = np.ptp(joints, axis=0)[::-1] * HALF_BODY_PADDING
        return {**example, "center": joints.mean(axis=0), "size": size}


@dataclasses.dataclass(frozen=True)
class Crop:
    """Crops the person. Reads image, center, size; writes image, to_original; moves keypoints.

    `udp` chooses the crop matrix (`geometry.crop_matrix`).
    """

    input_size: tuple[int, int]
    udp: bool = False

    def __call__(self, example: dict, rng: np.random.Generator) -> dict:
        return _crop(example, self.input_size, zoom=1.0, rotation=0.0, udp=self.udp)


@dataclasses.dataclass(frozen=True)
class RandomCrop:
    """Crops the person at a random scale and rotation. Reads and writes what Crop does.

    The box is multiplied by 1 + `scale` times a normal draw, and turned, with
    `rotation_probability`, by `rotation` degrees times a normal draw; draws are clipped at one
    and two standard deviations.
    """

    input_size: tuple[int, int]
    scale: float
    rotation: float
    rotation_probability: float
    udp: bool = False

    def __call__(self, example: dict, rng: np.random.Generator) -> dict:
        scale_draw, rotation_draw, gate = rng.standard_normal(), rng.standard_normal(), rng.random()
        zoom = 1 + self.scale * min(max(scale_draw, -1), 1)
        turned = gate <= self.rotation_probability
        rotation = self.rotation * min(max(rotation_draw, -2), 2) if turned else 0.0
        return _crop(example, self.input_size, zoom, rotation, self.udp)


@dataclasses.dataclass(frozen=True)
class TruncatedCrop:
    """Crops the person as mmpose 1.x does (RandomBBoxTransform). Reads and writes what Crop does.

    With `shift_probability` the box moves by `shift` of its padded size, then it is multiplied by
    1 + `scale` and turned, with `rotation_probability`, by `rotation` degrees; each times a draw of
    the normal distribution between -1 and 1.
    """

    input_size: tuple[int, int]
    scale: float
    rotation: float
    rotation_probability: float
    shift: float
    shift_probability: float
    udp: bool = False

    def __call__(self, example: dict, rng: np.random.Generator) -> dict:
        draws, gates = _truncated_normal(rng.random(4)), rng.random(2)
        shifted = gates[0] < self.shift_probability
        turned = gates[1] < self.rotation_probability
        move = self.shift * shifted * draws[:2] * example["size"][::-1]
        example = {**example, "center": (example["center"] + move).astype(np.float32)}
        rotation = self.rotation * turned * draws[3]
        return _crop(example, self.input_size, 1 + self.scale * draws[2], rotation, self.udp)


def random_crop(augment: Any, input_size: tuple[int, int], udp: bool) -> Callable:
    """The crop of training that `augment`, the config's section of that name, asks for."""
    numbers = (augment.scale, augment.rotation, augment.rotation_probability)
    if augment.draws == "clipped":
        return RandomCrop(input_size, *numbers, udp)
    if augment.draws == "truncated":
        shift = (augment.shift, augment.shift_probability)
        return TruncatedCrop(input_size, *numbers, *shift, udp)
    raise ValueError(
        f"unknown config.augment.draws {augment.draws!r}; choose one of: clipped, truncated"
    )


def _truncated_normal(uniform: np.ndarray) -> np.ndarray:
    """Draws of the normal distribution between -1 and 1, from uniform ones."""
    low, high = scipy.special.ndtr((-1.0, 1.0))
    return scipy.special.ndtri(low + (high - low) * uniform)


def _crop(
    example: dict, input_size: tuple[int, int], zoom: float, rotation: float, udp: bool
) -> dict:
    size = geometry.fit_aspect(example["size"], input_size) * zoom
    matrix = geometry.crop_matrix(example["center"], size, rotation, input_size, udp=udp)
    return {
        **example,
        "image": _warp(example["image"], matrix, input_size),
        "keypoints": geometry.transform(example["keypoints"], matrix).astype(np.float32),
        "to_original": geometry.invert(matrix).astype(np.float32),
    }


def _warp(image: np.ndarray, matrix: np.ndarray, input_size: tuple[int, int]) -> np.ndarray:
    """The crop. Of a mirrored view, which OpenCV would copy, only what is seen is moved."""
    height, width = input_size
    # A pixel more on each side than the corners say, for bilinear sampling.
    if image.strides[1] < 0:
        corners = np.array([[0, 0], [width, 0], [0, height], [width, height]])
        corners = geometry.transform(corners, geometry.invert(matrix))
        last = np.array(image.shape[1::-1]) - 1
        left, top = start = np.clip(np.floor(corners.min(axis=0)) - 1, 0, last).astype(int)
        right, bottom = np.clip(np.ceil(corners.max(axis=0)) + 1, 0, last).astype(int)
        image = cv2.flip(image[top : bottom + 1, left : right + 1][:, ::-1], 1)
        matrix = matrix + [[0, 0, shift] for shift in (matrix[:, :2] @ start).tolist()]
    return cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_LINEAR)


@dataclasses.dataclass(frozen=True)
class DrawHeatmaps:
    """Draws the targets in NumPy. Reads image, keypoints, visible; writes heatmaps, weights.

    heatmaps (h/stride, w/stride, k) float32 and weights (k,) are what `hrjax.heatmaps.encode`
    makes on the device, where the encodings msra, dark and udp are explained; for users of the
    data alone.
    """

    stride: int = 4
    sigma: float = 2.0
    encoding: str = "msra"

    def __call__(self, example: dict, rng: np.random.Generator) -> dict:
        if self.encoding not in ("msra", "dark", "udp"):
            raise ValueError(f"unknown encoding {self.encoding!r}; choose one of: msra, dark, udp")
        pixels = np.array(example["image"].shape[1::-1])  # (x, y)
        size = pixels // self.stride
        udp = self.encoding == "udp"
        places = example["keypoints"] / (
            (pixels - 1) / (size - 1) if udp else self.stride
        )  # (k, 2)
        cells = places if self.encoding == "dark" else np.trunc(places + 0.5)
        radius = 3 * self.sigma
        # The references' border test: a patch that ends just outside on the left still counts.
        inside = ((cells - radius < size) & (cells + radius + 1 >= 0)).all(axis=-1)
        weights = (example["visible"] * inside).astype(np.float32)
        peaks = cells if self.encoding == "msra" else places
        columns = self._profile(peaks[:, 0], cells[:, 0], size[0]) * (weights > 0.5)  # (w, k)
        rows = self._profile(peaks[:, 1], cells[:, 1], size[1])  # (h, k)
        return {**example, "heatmaps": rows[:, None] * columns[None], "weights": weights}

    def _profile(self, peaks: np.ndarray, cells: np.ndarray, length: int) -> np.ndarray:
        index = np.arange(length)[:, None]
        inside = (np.abs(index - cells) <= 3 * self.sigma) | (self.encoding == "dark")
        profile = np.exp(-((index - peaks) ** 2) / (2 * self.sigma**2))
        return (inside * profile).astype(np.float32)
