"""Person detectors by name: OpenCV's own without a download, and published ones that are fetched.

A published detector is a zip archive with an ONNX file inside, which is kept in the cache of
downloads and used only with the right SHA-256. The networks are those that rtmlib fetches, of
OpenMMLab (Apache-2.0).
"""

import dataclasses
import logging
import pathlib
import zipfile
from collections.abc import Callable

import cv2
import numpy as np

from data_pipelines import files
from data_pipelines.downloads import cache, checksums, web
from data_pipelines.messages import choices
from hrjax.prediction.person_detector import Detector

logger = logging.getLogger(__name__)

HOG = "hog"
WEAK = (
    "OpenCV's people detector (hog) finds only people who stand upright and are seen whole, and "
    "misses most others; yolox_s finds more, and so does a search by the network itself"
)
LARGEST = 2**30  # bytes of an ONNX file in an archive
_SDK = "https://download.openmmlab.com/mmpose/v1/projects/rtmposev1/onnx_sdk"


@dataclasses.dataclass(frozen=True)
class Preset:
    """A published detector: its archive, the SHA-256 of the ONNX file inside, and its input.

    `size` is (height, width); `mean` and `std` (3,) are of the input's blue, green and red.
    """

    address: str
    sha256: str
    size: tuple[int, int]
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)


PRESETS = {
    "yolox_tiny": Preset(
        f"{_SDK}/yolox_tiny_8xb8-300e_humanart-6f3252f9.zip",
        "ceb11c07298f95c50d7c5abeb906d03340c85f23aa79e3e66966e7fb6c307250",
        (416, 416),
    ),
    "yolox_s": Preset(
        f"{_SDK}/yolox_s_8xb8-300e_humanart-3ef259a7.zip",
        "332e09ea9696e3401049b6c5314851db020b6430f85da159e65f37034ab3aee8",
        (640, 640),
    ),
    "yolox_m": Preset(
        f"{_SDK}/yolox_m_8xb8-300e_humanart-c2c7a14a.zip",
        "3dea6513388889f0fff4b77bf7a26013600321b9eb9ceb0e9a400a82572f5f23",
        (640, 640),
    ),
    "rtmdet_nano": Preset(
        f"{_SDK}/rtmdet_nano_8xb32-100e_coco-obj365-person-05d8511e.zip",
        "8297e829ccc5590c8e2d32d5a211f322a0585fb7467eec85eb12c9525b0b95d6",
        (320, 320),
        mean=(103.53, 116.28, 123.675),
        std=(57.375, 57.12, 58.395),
    ),
}
NAMES = (HOG, *PRESETS)
Detect = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


def open_detector(name: str, *, threshold: float = 0.3) -> Detect:
    """What finds people: image (h, w, 3) uint8 RGB → boxes (n, 4) as (x, y, w, h), scores (n,).

    `name` is one of NAMES, or an ONNX file or its https address. Boxes with scores below
    `threshold` are left out.
    """
    if name == HOG:
        logger.warning(WEAK)
        return Hog(threshold=threshold)
    if name in PRESETS:
        preset = PRESETS[name]
        return Detector(
            str(fetch(name)),
            threshold=threshold,
            size=preset.size,
            mean=preset.mean,
            std=preset.std,
        )
    if web.is_address(name):
        return Detector(str(web.fetch(name)), threshold=threshold)
    if not pathlib.Path(name).is_file():
        raise FileNotFoundError(
            f"there is no detector file {name}, and no detector of that name; "
            f"{choices.advice(name, NAMES)}, or give an ONNX file"
        )
    return Detector(name, threshold=threshold)


def fetch(name: str) -> pathlib.Path:
    """The ONNX file of a published detector, from the cache or the web."""
    preset = PRESETS[name]
    place = pathlib.PurePath("detectors", f"{name}.onnx")
    file = cache.find(place)
    if file is not None and checksums.compute(file) == preset.sha256:
        return file
    # The digits in the archive's name are those of the PyTorch file that it was made from.
    archive = web.fetch(preset.address, digits_in_name=False)
    contents = _member(archive)
    file = cache.make(place)
    files.write_bytes(file, contents)
    actual = checksums.compute(file)
    if actual != preset.sha256:
        file.unlink()
        archive.unlink(missing_ok=True)
        raise OSError(
            f"{preset.address} holds another detector than expected: its SHA-256 is {actual}, "
            f"expected {preset.sha256}. Try another detector, or give an ONNX file of your own"
        )
    archive.unlink(missing_ok=True)
    return file


def _member(archive):
    """The bytes of the one ONNX file in an archive."""
    try:
        with zipfile.ZipFile(archive) as opened:
            members = [each for each in opened.infolist() if each.filename.endswith(".onnx")]
            if len(members) != 1 or members[0].file_size > LARGEST:
                raise ValueError(f"it holds {len(members)} ONNX files of a usable size; expected 1")
            return opened.read(members[0])
    except (ValueError, zipfile.BadZipFile, EOFError, NotImplementedError) as error:
        archive.unlink(missing_ok=True)
        raise OSError(
            f"{archive} cannot be used: {error}; it has been removed, try again"
        ) from error


class Hog:
    """OpenCV's people detector: no download, and weak (Dalal, Triggs: HOG, CVPR 2005).

    It knows people who stand or walk upright, as pedestrians do, as a whole and not too small. On
    other photographs it misses most of them, and takes trees and lamps for people.
    """

    LONGEST = 640  # pixels of the image's longer side, to which larger ones are reduced
    PERSON = (0.65, 0.78)  # of the width and the height of a window, filled by the person
    OVERLAP = 0.4  # IoU; of windows that overlap more, only the best one is kept

    def __init__(self, *, threshold: float):
        self._threshold = threshold
        self._hog = cv2.HOGDescriptor()
        self._hog.setSVMDetector(cv2.HOGDescriptor.getDefaultPeopleDetector())

    def __call__(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The people in an image (h, w, 3) uint8 RGB: boxes (x, y, w, h) in pixels, and scores.

        A score is 0.5 where the detector's margin is 0, and larger further inside.
        """
        zoom = min(1.0, self.LONGEST / max(image.shape[:2]))
        size = [max(1, round(side * zoom)) for side in image.shape[1::-1]]
        small = np.ascontiguousarray(cv2.resize(image, size)[..., ::-1])
        # OpenCV ends the process where an image is smaller than a window.
        right, bottom = (max(0, least - side) for least, side in zip((64, 128), size, strict=True))
        small = cv2.copyMakeBorder(small, 0, bottom, 0, right, cv2.BORDER_REPLICATE)
        windows, margins = self._hog.detectMultiScale(
            small, hitThreshold=0, winStride=(8, 8), padding=(16, 16), scale=1.05, groupThreshold=0
        )
        windows = np.asarray(windows, np.float64).reshape(-1, 4) / zoom
        scores = 1 / (1 + np.exp(-2 * np.asarray(margins, np.float64).reshape(-1)))
        sizes = windows[:, 2:] * self.PERSON
        boxes = np.concatenate([windows[:, :2] + (windows[:, 2:] - sizes) / 2, sizes], axis=1)
        limits = (self._threshold, self.OVERLAP)
        kept = cv2.dnn.NMSBoxes(boxes.tolist(), scores.tolist(), *limits)
        kept = np.asarray(kept, int).reshape(-1)
        return boxes[kept], scores[kept]
