"""The size of an image as it is stored and as it is shown, from its header alone."""

import struct

from data_pipelines.images import headers

ORIENTATION = 0x0112  # EXIF's tag
UPRIGHT = 1
SIDEWAYS = (5, 6, 7, 8)  # orientations that exchange height and width


def stored_size(data: bytes, path: object) -> tuple[int, int]:
    """The (height, width) of the pixels in an image file."""
    try:
        return headers.read(data).size
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
