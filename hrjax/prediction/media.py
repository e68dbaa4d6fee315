"""Reads images and folders of images as frames; tells what a source is."""

import dataclasses
import os
import pathlib
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from data_pipelines import images
from data_pipelines.messages import choices

IMAGES = (
    *(".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff"),
    *(".ppm", ".pgm"),
    *(".jp2", ".avif"),  # not decoded, but named
)
VIDEOS = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv", ".flv")
# PIL's modes that convert to RGB without loss of range; those of 16 and 32 bits would saturate.
PIL_MODES = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV")
ImageLike = str | os.PathLike | ArrayLike  # a PIL image is an ArrayLike
ACCEPTED = "an image must be a path, a PIL image, or an array (h, w, 3) uint8 RGB"


@dataclasses.dataclass(frozen=True)
class Frame:
    """One image or video frame: its file name, its image id in results, and its RGB pixels.

    `time` is in seconds from the first frame of a film.
    """

    name: str
    image_id: int
    image: np.ndarray
    time: float = 0.0


def is_video(source: str) -> bool:
    """Whether `source` is a video file or a camera."""
    return is_camera(source) or source.lower().endswith(VIDEOS)


def is_camera(source: str) -> bool:
    """Whether `source` is a camera, webcam or webcam:1."""
    return camera_number(source) is not None


def find_images(source: str, *, exclude: pathlib.Path) -> list[pathlib.Path]:
    """The image files in a folder and its subfolders, or the one file; none inside `exclude`."""
    path = pathlib.Path(source)
    if path.exists() and not path.is_dir():
        return [path]
    if not path.is_dir():
        raise FileNotFoundError(f"there is no file or folder {source}{choices.instead_of(source)}")
    files = sorted(file for file in path.rglob("*") if file.suffix.lower() in IMAGES)
    folder, excluded = path.resolve(), exclude.resolve()
    files = [file for file in files if excluded not in (folder / file.relative_to(path)).parents]
    if not files:
        raise FileNotFoundError(
            f"there are no images in {source} or its subfolders; looked for {', '.join(IMAGES)}"
        )
    return files


def video_name(source: str) -> str:
    """What the frames of a video or camera are called."""
    camera = camera_number(source)
    return pathlib.Path(source).name if camera is None else f"webcam{camera}"


def image_folder(source: str) -> pathlib.Path:
    """The folder that the names of frames refer to: `source`, or the folder of that file."""
    path = pathlib.Path(source)
    return path if path.is_dir() else path.parent


def frame_names(files: Sequence[pathlib.Path], source: str) -> list[str]:
    """The names of image files as frames have them: paths relative to `image_folder`."""
    return [file.relative_to(image_folder(source)).as_posix() for file in files]


def image_ids(files: Sequence[pathlib.Path]) -> list[int]:
    """The number at the end of each name, as in COCO; 1, 2, … unless all have different numbers.

    Names that end in more than 18 digits count as having no number: ids are 64-bit integers.
    """
    matches = [re.search(r"\d{1,18}$", file.stem) for file in files]
    numbers = [int(match.group()) for match in matches if match]
    if len(set(numbers)) == len(files):
        return numbers
    return list(range(1, len(files) + 1))


def read_images(
    files: Sequence[pathlib.Path],
    source: str,
    problems: list[str],
    *,
    max_pixels: int = images.MAX_PIXELS,
) -> Iterator[Frame]:
    """The frames of image files, upright; files that cannot be read are added to `problems`."""
    names = frame_names(files, source)
    for file, name, image_id in zip(files, names, image_ids(files), strict=True):
        try:
            image = load_image(file, max_pixels=max_pixels)
        except ValueError as error:
            problems.append(str(error))
            continue
        yield Frame(name, image_id, image)


def is_single_image(images: object) -> bool:
    """Whether `images` is one image (or nothing that could hold several), and not a collection."""
    if isinstance(images, (str, bytes, os.PathLike, Mapping)) or _is_pil(images):
        return True
    if hasattr(images, "__array__") or hasattr(images, "__array_interface__"):
        is_list_of_paths = np.ndim(images) == 1 and np.asarray(images).dtype.kind in "OUT"
        return np.ndim(images) < 4 and not is_list_of_paths
    return not isinstance(images, Iterable)


def load_image(image: ImageLike, *, max_pixels: int = images.MAX_PIXELS) -> np.ndarray:
    """The pixels (h, w, 3) uint8 RGB of a path, a PIL image or an array.

    A file is rotated upright by its EXIF orientation; PIL images and arrays are used as they are.
    Files of more than `max_pixels` are not decoded.
    """
    name = "the image"
    if isinstance(image, (str, os.PathLike)):
        name = os.fspath(image)
        image = images.read_image(name, upright=True, max_pixels=max_pixels)
    elif _is_pil(image):
        image = _pil_pixels(image)
    pixels = _check_pixels(image)
    images.check_side(pixels, name)
    return pixels


def _is_pil(image):
    module = sys.modules.get("PIL.Image")  # without it no object can be a PIL image
    return module is not None and isinstance(image, module.Image)


def _pil_pixels(image):
    if image.mode not in PIL_MODES:
        raise ValueError(
            f"{ACCEPTED}; got a PIL image of mode {image.mode}: scale it to 8 bits per channel"
        )
    try:
        return np.asarray(image.convert("RGB"))
    except OSError as error:  # PIL reads the file only now
        raise ValueError(f"can't read the PIL image: {error}") from error


def _check_pixels(image):
    """The array (h, w, 3) uint8 that `image` is; else a ValueError that says what it is."""
    try:
        pixels = np.asarray(image)
    except (TypeError, ValueError, RuntimeError) as error:  # a tensor on a GPU, or a ragged list
        raise ValueError(f"{ACCEPTED}; got a {type(image).__name__}: {error}") from error
    if pixels.ndim == 0 or pixels.dtype.kind not in "buif":
        raise ValueError(f"{ACCEPTED}; got a {type(image).__name__}")
    if pixels.ndim == 3 and pixels.shape[2] == 3 and pixels.dtype == np.uint8 and pixels.size:
        return pixels
    raise ValueError(f"{ACCEPTED}; got {pixels.shape} {pixels.dtype}{_advice(pixels)}")


def _advice(pixels):
    """How to make an image of an array that is not one, where that can be guessed."""
    shape = pixels.shape
    if pixels.ndim == 2 or shape[2:] == (1,):
        return ": repeat the gray channel three times"
    if pixels.ndim == 3 and shape[2] == 4:
        return ": drop the fourth channel, image[..., :3]"
    if pixels.ndim == 3 and shape[2] != 3 and shape[0] == 3:
        return ": the channels come last, image.transpose(1, 2, 0)"
    if pixels.ndim == 3 and shape[2] == 3 and pixels.dtype != np.uint8:
        return ": convert it to uint8 from 0 to 255"
    return ""


def camera_number(source: str) -> int | None:
    """The number of the camera in webcam or webcam:1; None for a file."""
    match = re.fullmatch(r"webcam(?::(\d+))?", source)
    return int(match.group(1) or 0) if match else None
