"""Reads and decodes image files: RGB, 8 bits, as stored or upright."""

import contextlib

import cv2
import numpy as np
import simplejpeg

JPEG_START = b"\xff\xd8"
EXIF_WITHIN = 2**17  # bytes; a JPEG's EXIF block is its first or second of at most 64 KiB


def read_image(path: str, *, upright: bool = False) -> np.ndarray:
    """An image as (h, w, 3) uint8 RGB; an animation's first frame.

    Pixels are as stored, as the references train and evaluate on them; `upright` turns them as the
    orientation tag (EXIF) says. Gray, palettes, CMYK and 16 bits become 8-bit RGB; transparency is
    dropped.
    """
    return decode(read_bytes(path), path, upright=upright)


def read_bytes(path: str) -> bytes:
    """The contents of an image file."""
    try:
        with open(path, "rb", buffering=0) as file:
            return file.read()
    except OSError as error:
        raise ValueError(f"can't read the image {path}: {error.strerror}") from error


def decode_as_stated(
    data: bytes, path: str, size: tuple[int, int] | None
) -> tuple[np.ndarray, bool]:
    """The image of `decode`, and whether it was turned to have the stated (height, width).

    Phones store images sideways and say so in EXIF; annotation tools show them upright and state
    that size. Only such an image is turned: stored with height and width exchanged, and upright, as
    its EXIF orientation says, of the stated size.
    """
    image = decode(data, path)
    if size is None or image.shape[:2] == size or image.shape[1::-1] != size:
        return image, False
    upright = decode(data, path, upright=True)
    return (upright, True) if upright.shape[:2] == size else (image, False)


def has_orientation(data: bytes, path: str) -> bool:
    """Whether an image's EXIF orientation asks for other pixels than the stored ones."""
    if b"Exif" not in data[:EXIF_WITHIN]:
        return False
    stored, upright = decode(data, path), decode(data, path, upright=True)
    return stored.shape != upright.shape or not np.array_equal(stored, upright)


def decode(data: bytes, path: str, *, upright: bool = False) -> np.ndarray:
    """The image in the bytes of an image file, as `read_image` gives it; `path` is for errors."""
    if data[:2] == JPEG_START and not upright:
        # The same pixels as OpenCV's, a tenth faster. What it refuses (other color spaces, files
        # with flaws) OpenCV may still read.
        with contextlib.suppress(ValueError):
            return simplejpeg.decode_jpeg(data, "RGB")
    # OpenCV fills the lost part of a truncated JPEG with gray and says nothing.
    if data[:2] == JPEG_START and data.rfind(b"\xff\xd9") < len(data) // 2:
        raise ValueError(f"can't read the image {path}: the JPEG is cut off, its end is missing")
    flags = cv2.IMREAD_COLOR_RGB | (0 if upright else cv2.IMREAD_IGNORE_ORIENTATION)
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags) if data else None
    except cv2.error as error:  # more than 2^30 pixels
        raise ValueError(f"can't read the image {path}: {error.err or error}") from error
    if image is None:
        raise ValueError(
            f"can't read the image {path}: {len(data)} bytes that are not an image, or only a "
            "part of one"
        )
    return image
