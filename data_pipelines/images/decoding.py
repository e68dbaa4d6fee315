"""Reads and decodes image files: RGB, 8 bits, as stored or upright."""

import contextlib
import hashlib
import os

import cv2
import numpy as np
import simplejpeg

from data_pipelines import files
from data_pipelines.images import headers
from data_pipelines.images.headers import MAX_PIXELS
from data_pipelines.messages import sizes

EXIF_WITHIN = 2**17  # bytes; a JPEG's EXIF block is its first or second of at most 64 KiB


def read_image(
    path: str | os.PathLike, *, upright: bool = False, max_pixels: int = MAX_PIXELS
) -> np.ndarray:
    """An image as (h, w, 3) uint8 RGB; an animation's first frame.

    Pixels are as stored, as the references train and evaluate on them; `upright` turns them as the
    orientation tag (EXIF) says. Gray, palettes, CMYK and 16 bits become 8-bit RGB; transparency is
    dropped. An image of more than `max_pixels`, or one that takes too much memory, is not decoded.
    """
    data = read_bytes(path, max_pixels=max_pixels)
    return decode(data, path, upright=upright, max_pixels=max_pixels)


def read_bytes(path: str | os.PathLike, *, max_pixels: int = MAX_PIXELS) -> bytes:
    """The contents of an image file, which is a regular file and not too large for its pixels."""
    try:
        return files.read_bytes(path, limit=headers.memory_limit(max_pixels))
    except OSError as error:
        raise ValueError(f"can't read the image {path}: {error.strerror}") from error


def decode_as_stated(
    data: bytes,
    path: str | os.PathLike,
    size: tuple[int, int] | None,
    *,
    max_pixels: int = MAX_PIXELS,
) -> tuple[np.ndarray, bool]:
    """The image of `decode`, and whether it was turned to have the stated (height, width).

    Phones store images sideways and say so in EXIF; annotation tools show them upright and state
    that size. Only such an image is turned: stored with height and width exchanged, and upright, as
    its EXIF orientation says, of the stated size.
    """
    image = decode(data, path, max_pixels=max_pixels)
    if size is None or image.shape[:2] == size or image.shape[1::-1] != size:
        return image, False
    stored_size = image.shape[:2]
    del image  # two of them may not fit into memory
    upright = decode(data, path, upright=True, max_pixels=max_pixels)
    if upright.shape[:2] == size != stored_size:
        return upright, True
    return decode(data, path, max_pixels=max_pixels), False


def has_orientation(data: bytes, path: str | os.PathLike) -> bool:
    """Whether an image's EXIF orientation asks for other pixels than the stored ones."""
    if b"Exif" not in data[:EXIF_WITHIN]:
        return False
    return _fingerprint(decode(data, path)) != _fingerprint(decode(data, path, upright=True))


def _fingerprint(image):
    """What tells two images apart, so that only one of them need be in memory."""
    return image.shape, hashlib.blake2b(image).digest()


def check_side(image: np.ndarray, path: str | os.PathLike) -> None:
    """Raises ValueError if an image is too long for people to be cropped from it."""
    if max(image.shape[:2]) > headers.MAX_SIDE:
        raise ValueError(
            f"{path} has {sizes.pixels(image.shape[:2])}; people can be cropped from images of "
            f"at most {headers.MAX_SIDE} pixels a side: make it smaller"
        )


def decode(
    data: bytes,
    path: str | os.PathLike,
    *,
    upright: bool = False,
    max_pixels: int = MAX_PIXELS,
) -> np.ndarray:
    """The image in the bytes of an image file, as `read_image` gives it; `path` is for errors."""
    try:
        return _decode(data, upright=upright, max_pixels=max_pixels)
    except MemoryError:
        raise ValueError(f"can't read the image {path}: there is not enough memory") from None
    except (headers.Unreadable, cv2.error) as error:
        reason = getattr(error, "err", None) or error
        raise ValueError(f"can't read the image {path}: {reason}") from error


def _decode(data, *, upright, max_pixels):
    header = headers.read(data)
    if header.kind == "JPEG" and not upright:
        headers.check(header, memory=len(data) + header.turbo_memory, max_pixels=max_pixels)
        # The same pixels as OpenCV's, a tenth faster. What it refuses (other color spaces, files
        # with flaws) OpenCV may still read.
        with contextlib.suppress(ValueError):
            return simplejpeg.decode_jpeg(data, "RGB")
    headers.check(header, memory=len(data) + header.memory, max_pixels=max_pixels)
    # OpenCV fills the lost part of a truncated JPEG with gray and says nothing.
    if header.kind == "JPEG" and data.rfind(b"\xff\xd9") < len(data) // 2:
        raise headers.Unreadable("the JPEG is cut off, its end is missing")
    if header.kind == "PNG":
        data = headers.png_pixels(data)
    flags = cv2.IMREAD_COLOR_RGB | (0 if upright else cv2.IMREAD_IGNORE_ORIENTATION)
    image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    if image is None:
        raise headers.damaged(data)
    if image.size != 3 * header.size[0] * header.size[1]:
        raise headers.Unreadable("its header states another size than its pixels have")
    return image
