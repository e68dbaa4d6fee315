"""Transforms of one example: frozen dataclasses, called as `op(example, rng) -> example`.

`rng` is a NumPy Generator of the example's own. Ops return a new dict; each names the keys that it
reads and writes. An op draws the same number of values whatever it decides.
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
from data_pipelines.messages import choices

logger = logging.getLogger(__name__)

# What a person's box is multiplied by when only one half of the body is shown.
HALF_BODY_PADDING = 1.5
# The mmpose loaders move a box by up to 0.2 of its unpadded size; ours carry the padding.
CENTER_SHIFT = 0.2 / geometry.BOX_PADDING

TURNED = (
    "%s is stored sideways, and its EXIF orientation and stated size say so: it is turned upright, "
    "like all such images, which are not named here"
)
_WARNED: set[str] = set()
_WARNING = threading.Lock()
# The image that a thread decoded last: people of one image often follow each other.
_LAST = threading.local()


@dataclasses.dataclass(frozen=True)
class Decode:
    """Decodes the image. Reads image_path (or encoded), image_size, visible.

    Writes image, readable, turned, visible. image is RGB uint8 and read-only: the next person in
    the same image shares it. An image that can't be read is an error when `strict`. Otherwise it is
    replaced by black, its joints are invisible and `readable` is false; each such image is logged
    once. `turned` is true where a stored image was turned to have its stated image_size, as its
    EXIF orientation says (`images.decode_as_stated`); the first one is logged. An image of more
    than `max_pixels` counts as one that can't be read.
    """

    strict: bool
    max_pixels: int = images.MAX_PIXELS

    def __call__(self, example: dict, rng: np.random.Generator) -> dict:
        path = str(example["image_path"])
        stated = example.get("image_size")
        size = None if stated is None else (int(stated[0]), int(stated[1]))
        try:
            image, turned = _read_once(path, size, example.get("encoded"), self.max_pixels)
        except ValueError as error:
            if self.strict:
                raise
            message = "%s; it is replaced by black with zero loss weight"
            _warn_once(message % error, message, error)
            black = np.zeros((1, 1, 3), np.uint8)
            hidden = np.zeros_like(example["visible"])
            flags = {"readable": np.False_, "turned": np.False_}
            return {**example, "image": black, "visible": hidden, **flags}
        if turned:
            _warn_once("turned", TURNED, path)
        return {**example, "image": image, "readable": np.True_, "turned": np.bool_(turned)}


def _read_once(
    path: str,
    size: tuple[int, int] | None,
    encoded: Callable[[], bytes] | None,
    max_pixels: int,
) -> tuple[np.ndarray, bool]:
    """The image and whether it was turned, decoded again only if this thread's last one differs."""
    if getattr(_LAST, "key", None) != (path, size):
        _LAST.key = _LAST.image = None  # first, so that its memory, still in the cache, is taken
        limit = {"max_pixels": max_pixels}
        data = images.read_bytes(path, **limit) if encoded is None else encoded()
        image, turned = images.decode_as_stated(data, path, size, **limit)
        images.check_side(image, path)
        image.flags.writeable = False
        _LAST.key, _LAST.image, _LAST.turned = (path, size), image, turned
    return _LAST.image, _LAST.turned


def _warn_once(key: str, message: str, *values: object) -> None:
    with _WARNING:  # threads may read the same image at the same moment
        if key not in _WARNED:
            _WARNED.add(key)
            logger.warning(message, *values)


@dataclasses.dataclass(frozen=True)
class ShiftCenter:
    """Moves the box by up to a fifth of its size. Reads center, size; writes center."""

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

    `flip_order` is the skeleton's. image is a mirrored view of what it was: only the part that a
    crop shows is ever copied.
    """

    flip_order: tuple[int, ...]
    probability: float

    def __call__(self, example: dict, rng: np.random.Generator) -> dict:
        if rng.random() > self.probability:
            return example
        last = example["image"].shape[1] - 1
        mirror, offset = np.array([-1, 1], np.float32), np.array([last, 0], np.float32)
        order = list(self.flip_order)
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
    known = ("clipped", "truncated")
    raise ValueError(choices.unknown("config.augment.draws", augment.draws, known))


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
    """The crop; of a mirrored view, which OpenCV would copy whole, only the visible part is."""
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
