"""Transforms of a crop's colors and pixels, called as `op(example, rng) -> example`.

Each reads and writes image, a crop that no other example shares, and draws the same number of
values whatever it decides.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np

GRAY = np.array([0.299, 0.587, 0.114], np.float32)


@dataclasses.dataclass(frozen=True)
class ColorJitter:
    """Multiplies brightness, contrast and saturation by 1 ± `strength` each, and turns hues.

    `hue` is the largest turn as a part of the color circle.
    """

    strength: float
    hue: float

    def __call__(self, example: dict, rng: np.random.Generator) -> dict:
        draws = 2 * rng.random(4) - 1
        brightness, contrast, saturation = 1 + self.strength * draws[:3]
        image = example["image"].astype(np.float32) * brightness
        image = contrast * image + (1 - contrast) * (image @ GRAY).mean()
        image = saturation * image + (1 - saturation) * (image @ GRAY)[..., None]
        image = np.rint(image.clip(0, 255)).astype(np.uint8)
        return {**example, "image": _turn_hues(image, self.hue * draws[3])}


def _turn_hues(image: np.ndarray, turn: float) -> np.ndarray:
    """Hues turned by a part of the circle; OpenCV has 256 steps of it."""
    steps = round(256 * turn)
    if not steps:
        return image
    colors = cv2.cvtColor(image, cv2.COLOR_RGB2HSV_FULL)
    colors[..., 0] += np.uint8(steps % 256)
    return cv2.cvtColor(colors, cv2.COLOR_HSV2RGB_FULL)


@dataclasses.dataclass(frozen=True)
class Blur:
    """Blurs with a Gaussian of 0.5 to 2.5 pixels, with `probability`."""

    probability: float

    def __call__(self, example: dict, rng: np.random.Generator) -> dict:
        gate, draw = rng.random(2)
        if gate >= self.probability:
            return example
        return {**example, "image": cv2.GaussianBlur(example["image"], (0, 0), 0.5 + 2 * draw)}


@dataclasses.dataclass(frozen=True)
class CoarseDropout:
    """Blacks out a rectangle with sides of a fifth to two fifths of the crop, with `probability`.

    Joints under it stay visible: the network learns to infer them.
    """

    probability: float

    def __call__(self, example: dict, rng: np.random.Generator) -> dict:
        gate, *draws = rng.random(5)
        if gate >= self.probability:
            return example
        image = example["image"].copy()
        size = np.array(image.shape[:2])
        sides = (size * (0.2 + 0.2 * np.array(draws[:2]))).astype(int)
        top, left = ((size - sides) * np.array(draws[2:])).astype(int)
        image[top : top + sides[0], left : left + sides[1]] = 0
        return {**example, "image": image}


def enabled_ops(augment: Any) -> tuple[Callable, ...]:
    """The ops that `augment`, the config's section of that name, switches on."""
    enabled = []
    if augment.color_jitter or augment.hue:
        enabled.append(ColorJitter(augment.color_jitter, augment.hue))
    if augment.blur:
        enabled.append(Blur(augment.blur))
    if augment.dropout:
        enabled.append(CoarseDropout(augment.dropout))
    return tuple(enabled)
