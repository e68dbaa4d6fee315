"""The chains of transforms that training and evaluation apply to each example."""

from collections.abc import Callable
from typing import Any

from data_pipelines import images, skeletons
from data_pipelines.transforms import ops, pixels


def train_ops(
    augment: Any,
    skeleton: skeletons.Skeleton,
    input_size: tuple[int, int],
    *,
    strict: bool,
    max_pixels: int = images.MAX_PIXELS,
    udp: bool = False,
) -> tuple[Callable, ...]:
    """Decoding, augmentation and crop for training; `augment` holds the numbers as attributes.

    Their meaning is in configs/common.py and in the ops. Images of more than `max_pixels` are not
    decoded. `udp` chooses the crop matrix, here and
    in evaluation alike (`geometry.crop_matrix`).
    """
    return (
        ops.Decode(strict, max_pixels),
        ops.ShiftCenter(augment.center_shift),
        ops.RandomFlip(skeleton.flip_order, augment.flip),
        ops.HalfBody(skeleton.upper_body, augment.half_body, augment.half_body_joints),
        ops.random_crop(augment, tuple(input_size), udp),
        *pixels.enabled_ops(augment),
    )


def eval_ops(
    input_size: tuple[int, int],
    *,
    strict: bool,
    max_pixels: int = images.MAX_PIXELS,
    udp: bool = False,
) -> tuple[Callable, ...]:
    """Decoding and crop for evaluation."""
    return (ops.Decode(strict, max_pixels), ops.Crop(tuple(input_size), udp))
