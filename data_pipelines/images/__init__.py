"""Reads and decodes image files: RGB, 8 bits, as stored or upright, of a limited size."""

from data_pipelines.images.decoding import (
    check_side,
    decode,
    decode_as_stated,
    has_orientation,
    read_bytes,
    read_image,
)
from data_pipelines.images.headers import MAX_PIXELS, MAX_SIDE

__all__ = [
    "MAX_PIXELS",
    "MAX_SIDE",
    "check_side",
    "decode",
    "decode_as_stated",
    "has_orientation",
    "read_bytes",
    "read_image",
]
