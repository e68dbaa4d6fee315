"""Reads videos and cameras frame by frame; a camera in real time."""

import pathlib
import threading
import time
from collections.abc import Iterator

import cv2
import numpy as np

from data_pipelines import files, images
from data_pipelines.messages import choices, sizes
from hrjax.prediction import media
from hrjax.prediction.media import Frame

PLAYLISTS = (b"#extm3u", b"ffconcat", b"[playlist]", b"<?xml", b"<mpd")
DEFAULT_RATE = 30.0  # frames per second, for videos and cameras that do not report a rate
HIGHEST_RATE = 1000.0  # frames per second; containers without a rate report a clock's
LONGEST_WAIT = 2.0  # seconds for a camera's last frame
# Containers often announce a few more frames than they hold.
COMPLETE = 0.95


class Video:
    """The frames of a video, numbered from 0; `problem` says if it ended early.

    `rate` is in frames per second, and `count` the number of frames that the file announces, 0 if
    it does not. Frames of more than `max_pixels` are not decoded.
    """

    dropped = 0

    def __init__(self, source: str, *, max_pixels: int = images.MAX_PIXELS):
        _check_video(source)
        self._capture = _open(source, source, "video", max_pixels)
        self._max_pixels = max_pixels
        self.source = source
        self.name = media.video_name(source)
        self.rate = _rate(self._capture)
        self.count = max(int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)), 0)
        self.problem = ""

    def __iter__(self) -> Iterator[Frame]:
        number = 0
        while True:
            good, image = self._capture.read()
            if not good:
                break
            problem = _size_problem(image.shape[:2], self._max_pixels)  # it may change on the way
            if problem:
                self.problem = f"{self.source} ends at frame {number}: {problem}"
                return
            yield Frame(self.name, number, _rgb(image), number / self.rate)
            number += 1
        if number == 0 or number < COMPLETE * self.count:
            self.problem = f"{self.source} ends after {number} of {self.count} frames"

    def close(self) -> None:
        """Releases the file."""
        self._capture.release()


class Camera:
    """The frames of a camera in real time: the newest one each time that one is asked for.

    A thread reads all frames, so that none waits in the camera's buffer; those that came while the
    one before was used are dropped, and `dropped` counts them. Frames are numbered as they came.
    """

    count = 0

    def __init__(self, source: str, *, max_pixels: int = images.MAX_PIXELS):
        self._capture = _open(media.camera_number(source), source, "camera", max_pixels)
        self._max_pixels = max_pixels
        self.source = source
        self.name = media.video_name(source)
        self.rate = _rate(self._capture)
        self.problem = ""
        self.dropped = 0
        self._newest: tuple[int, float, np.ndarray] | None = None
        self._changed = threading.Condition()
        self._ended = False
        self._thread = threading.Thread(target=self._read, daemon=True)

    def __iter__(self) -> Iterator[Frame]:
        self._thread.start()
        expected = 0
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._newest is not None or self._ended)
                if self._newest is None:
                    break
                number, seconds, image = self._newest
                self._newest = None
            problem = _size_problem(image.shape[:2], self._max_pixels)
            if problem:
                self.problem = f"{self.source} ends at frame {number}: {problem}"
                return
            self.dropped += number - expected
            expected = number + 1
            yield Frame(self.name, number, _rgb(image), seconds)
        if expected == 0:
            self.problem = f"{self.source} gave no frame: it is in use by another program, or off"

    def _read(self):
        number, start = 0, 0.0
        while not self._ended:
            good, image = self._capture.read()
            now = time.monotonic()
            start = start or now
            with self._changed:
                if good:
                    self._newest = (number, now - start, image)
                else:
                    self._ended = True
                self._changed.notify()
            number += 1
        # Here and not in another thread: releasing a camera that is being read is a crash.
        self._capture.release()

    def close(self) -> None:
        """Stops the thread, which releases the camera."""
        self._ended = True
        if self._thread.is_alive():
            self._thread.join(timeout=LONGEST_WAIT)
        elif self._thread.ident is None:  # no frame was asked for
            self._capture.release()


def open_film(source: str, *, max_pixels: int = images.MAX_PIXELS) -> Video | Camera:
    """The frames of a video file, or of a camera: webcam, webcam:1."""
    kind = Camera if media.is_camera(source) else Video
    return kind(source, max_pixels=max_pixels)


def _open(place, source, kind, max_pixels):
    capture = cv2.VideoCapture(place)
    if not capture.isOpened():
        raise ValueError(f"can't open the {kind} {source}: it is damaged, in use, or not a {kind}")
    size = (cv2.CAP_PROP_FRAME_HEIGHT, cv2.CAP_PROP_FRAME_WIDTH)
    problem = _size_problem([int(capture.get(side)) for side in size], max_pixels)
    if problem:
        capture.release()
        raise ValueError(f"can't read the {kind} {source}: {problem}")
    return capture


def _rate(capture):
    rate = capture.get(cv2.CAP_PROP_FPS)
    return rate if 0 < rate <= HIGHEST_RATE else DEFAULT_RATE


def _rgb(image):
    return np.ascontiguousarray(image[..., ::-1])


def _size_problem(size, max_pixels):
    height, width = size
    if height * width <= max_pixels and max(size) <= images.MAX_SIDE:
        return ""
    return (
        f"frames of {sizes.pixels(size)} are not decoded; expected at most "
        f"{max_pixels:,} pixels, and {images.MAX_SIDE} a side"
    )


def _check_video(source):
    if not pathlib.Path(source).exists():
        raise FileNotFoundError(f"there is no video {source}{choices.instead_of(source)}")
    files.require_regular_file(source)
    with open(source, "rb") as file:
        start = file.read(16).lstrip(b"\xef\xbb\xbf").lower()
    # FFmpeg would open whatever files and addresses a playlist names.
    if start.startswith(PLAYLISTS):
        raise ValueError(f"{source} is a playlist, not a video: give the video that it names")
