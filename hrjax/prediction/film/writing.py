"""Writes videos: H.264 in .mp4 by PyAV (extra `film`), else what OpenCV can write."""

import fractions
import logging
import pathlib
import uuid

import cv2
import numpy as np

logger = logging.getLogger(__name__)

CLOCK = 90_000  # ticks per second of the times of frames
QUALITY = {"crf": "20", "preset": "veryfast"}  # visually close to lossless, and fast
WITHOUT_AV = (
    "PyAV is not installed, so %s is written as MPEG-4 Part 2, which browsers may not play; for "
    "H.264: pip install 'hrjax[film]'"
)


class VideoWriter:
    """Writes frames to an .mp4 (H.264 or MPEG-4) or .avi (Motion JPEG) file.

    `rate` is in frames per second. The file gets its name when it is finished; a link of that name
    is replaced, not followed.
    """

    def __init__(self, path: pathlib.Path, rate: float):
        self._path, self._rate, self._writer = path, rate, None
        self._unfinished = path.with_name(f".unfinished_{uuid.uuid4().hex[:8]}{path.suffix}")

    def write(self, image: np.ndarray, time: float | None = None) -> None:
        """Appends a frame (h, w, 3) uint8 RGB; of another size than the first, it is scaled.

        `time` is when it is shown, in seconds; without it, right after the one before.
        """
        if self._writer is None:
            kind = _H264 if self._path.suffix == ".mp4" and _has_av(self._path) else _OpenCV
            try:
                self._unfinished.touch()  # PyAV would find out with the first frame
                self._writer = kind(self._unfinished, self._rate, image.shape[:2])
            except OSError as error:
                raise OSError(f"can't write the video {self._path}: {error}") from error
            self._size = image.shape[1::-1]
        if image.shape[1::-1] != self._size:
            image = cv2.resize(image, self._size)
        self._writer.write(image, time)

    def close(self) -> None:
        """Finishes the file."""
        if self._writer is not None:
            self._writer.close()
        if self._unfinished.exists():
            self._unfinished.replace(self._path)


def _has_av(path):
    try:
        import av  # noqa: F401
    except ImportError:
        logger.warning(WITHOUT_AV, path)
        return False
    return True


class _H264:
    """H.264, as all browsers play it: 4:2:0, even sides, and an index at the start of the file."""

    def __init__(self, path, rate, size):
        import av

        self._av, self._rate, self._size = av, rate, size
        self._container = av.open(str(path), "w", options={"movflags": "+faststart"})
        self._stream = self._container.add_stream("h264", options=QUALITY)
        self._stream.height, self._stream.width = (side + side % 2 for side in size)
        self._stream.pix_fmt = "yuv420p"
        self._stream.codec_context.time_base = fractions.Fraction(1, CLOCK)
        self._stream.codec_context.framerate = fractions.Fraction(rate).limit_denominator(1001)
        self._last = -1

    def write(self, image, time):
        bottom, right = (side % 2 for side in self._size)
        if bottom or right:
            image = np.pad(image, ((0, bottom), (0, right), (0, 0)), mode="edge")
        frame = self._av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
        step = round(CLOCK / self._rate)
        ticks = self._last + step if time is None else round(CLOCK * time)
        if self._last < 0 and time is None:
            ticks = 0
        self._last = max(ticks, self._last + 1)
        frame.pts, frame.time_base = self._last, fractions.Fraction(1, CLOCK)
        self._container.mux(self._stream.encode(frame))

    def close(self):
        self._container.mux(self._stream.encode(None))
        self._container.close()


class _OpenCV:
    """What OpenCV writes, at a constant rate: frames are repeated until the next one's time."""

    def __init__(self, path, rate, size):
        code = cv2.VideoWriter.fourcc(*("mp4v" if path.suffix == ".mp4" else "MJPG"))
        self._rate = rate
        self._writer = cv2.VideoWriter(str(path), code, rate, size[::-1])
        if not self._writer.isOpened():
            raise OSError("OpenCV cannot open it; is its folder there?")
        self._written, self._before = 0, None

    def write(self, image, time):
        if time is not None and self._before is not None:
            for _ in range(self._written, round(time * self._rate)):
                self._append(self._before)
        self._before = np.ascontiguousarray(image[..., ::-1])
        self._append(self._before)

    def _append(self, image):
        self._writer.write(image)
        self._written += 1

    def close(self):
        self._writer.release()
