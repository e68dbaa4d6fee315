"""The size of an image as it is stored and as it is shown, from its header alone."""

import pathlib
import struct

from data_pipelines import files, images
from data_pipelines.images import headers

HEAD = 2**18  # bytes of a file that say its size, nearly always

ORIENTATION = 0x0112  # EXIF's tag
UPRIGHT = 1
SIDEWAYS = (5, 6, 7, 8)  # orientations that exchange height and width


def measure_file(path: pathlib.Path) -> tuple[tuple[int, int], int]:
    """The stored (height, width) and the EXIF orientation of an image file."""
    files.require_regular_file(path)
    with open(path, "rb") as file:
        start = file.read(HEAD)
    try:
        return measure(start, path)
    except ValueError:  # what is wanted may stand farther back
        return measure(images.read_bytes(path), path)


def measure(data: bytes, path: object) -> tuple[tuple[int, int], int]:
    """The stored (height, width) and the EXIF orientation of the bytes of an image file."""
    try:
        return headers.read(data).size, orientation(data)
    except headers.Unreadable as error:
        raise ValueError(f"can't read the image {path}: {error}") from error


def orientation(data: bytes) -> int:
    """The EXIF orientation of a JPEG, 1 to 8; 1, upright, where there is none."""
    start = data[: 2**17].find(b"Exif\0\0")
    if data[:2] != b"\xff\xd8" or start < 0:
        return UPRIGHT
    tiff = data[start + 6 : start + 6 + 2**16]
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    try:
        (place,) = struct.unpack_from(f"{order}I", tiff, 4)
        (count,) = struct.unpack_from(f"{order}H", tiff, place)
        for entry in range(place + 2, place + 2 + 12 * count, 12):
            tag, kind = struct.unpack_from(f"{order}HH", tiff, entry)
            if tag == ORIENTATION and kind == 3:
                (value,) = struct.unpack_from(f"{order}H", tiff, entry + 8)
                return value if 1 <= value <= 8 else UPRIGHT
    except struct.error:
        pass
    return UPRIGHT


def shown_size(size: tuple[int, int], turned: int) -> tuple[int, int]:
    """The (height, width) of an image of a stored size once it is turned by its orientation."""
    return size[::-1] if turned in SIDEWAYS else size
