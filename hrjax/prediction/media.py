"""Frames of pictures, folders, videos and cameras; and videos written."""

import dataclasses
import os
import pathlib
import re
from collections.abc import Iterator

import cv2
import numpy as np

from data_pipelines import images

IMAGES = (
    *(".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff"),
    *(".jp2", ".avif", ".ppm", ".pgm"),
)
VIDEOS = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv", ".flv")
DEFAULT_RATE = 30.0  # frames a second, where a video or camera does not say
LONGEST_SIDE = 2**15 - 2  # OpenCV's warps, which cut people out, count pixels in 16 bits
# Containers often announce a few frames more than there are.
WHOLE = 0.95


@dataclasses.dataclass(frozen=True)
class Frame:
    """One picture to look at: its file's name, its id in results, and its pixels (RGB uint8)."""

    name: str
    image_id: int
    image: np.ndarray


def is_video(source: str) -> bool:
    """Whether `source` names a video or a camera (webcam, webcam:1)."""
    return _camera(source) is not None or source.lower().endswith(VIDEOS)


def find_images(source: str, *, leave_out: pathlib.Path) -> list[pathlib.Path]:
    """The image files of a folder and those below it, or the one file; none below `leave_out`."""
    path = pathlib.Path(source)
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise FileNotFoundError(f"there is no file or folder {source}")
    files = sorted(file for file in path.rglob("*") if file.suffix.lower() in IMAGES)
    files = [file for file in files if leave_out.absolute() not in file.absolute().parents]
    if not files:
        raise FileNotFoundError(
            f"there are no images in {source}; looked for {', '.join(IMAGES)}, here and below"
        )
    return files


def image_ids(files: list[pathlib.Path]) -> list[int]:
    """The numbers that the names end with, as COCO's do; 1, 2, … unless all have such, different.

    Numbers of more than 18 digits are none: ids are 64-bit integers.
    """
    matches = [re.search(r"\d{1,18}$", file.stem) for file in files]
    numbers = [int(match.group()) for match in matches if match]
    if len(set(numbers)) == len(files):
        return numbers
    return list(range(1, len(files) + 1))


def read_images(files: list[pathlib.Path], source: str, problems: list[str]) -> Iterator[Frame]:
    """Frames of image files, upright; what cannot be read is named in `problems`."""
    root = pathlib.Path(source)
    for file, image_id in zip(files, image_ids(files), strict=True):
        name = file.name if file == root else file.relative_to(root).as_posix()
        try:
            image = check_image(file)
        except ValueError as error:
            problems.append(str(error))
            continue
        yield Frame(name, image_id, image)


def check_image(image) -> np.ndarray:
    """The pixels of a path (upright) or of an array, (h, w, 3) uint8 RGB."""
    name = "the image"
    if isinstance(image, (str, os.PathLike)):
        name = os.fspath(image)
        image = images.read_image(name, upright=True)
    image = np.asarray(image)
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
        raise ValueError(
            f"an image must be a path or (h, w, 3) uint8 RGB; got {image.shape} {image.dtype}"
        )
    if max(image.shape[:2]) > LONGEST_SIDE:
        raise ValueError(
            f"{name} has {image.shape[0]}x{image.shape[1]} pixels; people are cut out of images "
            f"of at most {LONGEST_SIDE} a side: make it smaller"
        )
    return image


class Video:
    """The frames of a video or a camera, numbered from 0; `problem` says if they ended early."""

    def __init__(self, source: str):
        camera = _camera(source)
        if camera is None and not pathlib.Path(source).is_file():
            raise FileNotFoundError(f"there is no video {source}")
        self._capture = cv2.VideoCapture(source if camera is None else camera)
        if not self._capture.isOpened():
            kind = "camera" if camera is not None else "video"
            raise ValueError(f"can't open the {kind} {source}: it is damaged, not one, or in use")
        self.source = source
        self.name = pathlib.Path(source).name if camera is None else f"webcam{camera}"
        self.rate = self._capture.get(cv2.CAP_PROP_FPS) or DEFAULT_RATE
        announced = self._capture.get(cv2.CAP_PROP_FRAME_COUNT) if camera is None else 0
        self.count = max(int(announced), 0)  # 0 = not known
        self.problem = ""

    def __iter__(self) -> Iterator[Frame]:
        number = 0
        while True:
            good, image = self._capture.read()
            if not good:
                break
            yield Frame(self.name, number, np.ascontiguousarray(image[..., ::-1]))
            number += 1
        if number == 0 or number < WHOLE * self.count:
            self.problem = f"{self.source} ends after {number} of {self.count} frames"

    def close(self) -> None:
        """Lets go of the file or camera."""
        self._capture.release()


class VideoWriter:
    """Writes frames of one size to an .mp4 (MPEG-4) or .avi (Motion JPEG), at a rate a second."""

    def __init__(self, path: pathlib.Path, rate: float):
        self._path, self._rate, self._writer = path, rate, None

    def write(self, image: np.ndarray) -> None:
        """Appends a frame, (h, w, 3) RGB uint8; the first one sets the size."""
        if self._writer is None:
            code = cv2.VideoWriter.fourcc(*("mp4v" if self._path.suffix == ".mp4" else "MJPG"))
            size = image.shape[1::-1]
            self._writer = cv2.VideoWriter(str(self._path), code, self._rate, size)
            if not self._writer.isOpened():
                raise OSError(f"can't write the video {self._path}")
        self._writer.write(np.ascontiguousarray(image[..., ::-1]))

    def close(self) -> None:
        """Ends the file."""
        if self._writer is not None:
            self._writer.release()


def _camera(source):
    """The number in webcam or webcam:1, or None."""
    match = re.fullmatch(r"webcam(?::(\d+))?", source)
    return int(match.group(1) or 0) if match else None
