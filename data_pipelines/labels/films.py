"""Frames of films, decoded one after the other: seeking is not exact in most files."""

import pathlib
from collections.abc import Iterable, Iterator

import cv2
import numpy as np

from data_pipelines import files

JPEG_QUALITY = 95


def frames(path: pathlib.Path, numbers: Iterable[int]) -> Iterator[tuple[int, np.ndarray]]:
    """The frames of a film, counted from 0, in order: each number with its (h, w, 3) uint8 BGR."""
    wanted = sorted(set(numbers))
    files.require_regular_file(path)
    film = cv2.VideoCapture(str(path))
    try:
        if not film.isOpened():
            raise ValueError(f"{path} can't be opened as a film")
        at = 0
        for number in wanted:
            while at < number:
                if not film.grab():
                    raise _too_short(path, number, at)
                at += 1
            good, image = film.read()
            if not good:
                raise _too_short(path, number, at)
            at += 1
            yield number, image
    finally:
        film.release()


def _too_short(path, number, count):
    return ValueError(
        f"{path} has no frame {number}: {count} could be read; it is another film, or cut off"
    )


def size(path: pathlib.Path) -> tuple[int, int]:
    """The (height, width) of a film's frames."""
    (_, image), *_ = frames(path, [0])
    return image.shape[:2]


def encode(image: np.ndarray) -> bytes:
    """A frame as the bytes of a JPEG."""
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return data.tobytes()
