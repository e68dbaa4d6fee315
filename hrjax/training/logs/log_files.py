"""The files of a run's log, which never end the run: lines of JSON, and events for TensorBoard."""

import contextlib
import importlib.util
import json
import logging
import os
import pathlib
import re
import shlex
import shutil
import socket
import struct
import time
import typing
from collections.abc import Mapping

import cv2
import numpy as np
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary
from tensorboardX.record_writer import masked_crc32c

logger = logging.getLogger(__name__)

METRICS = "metrics.jsonl"
KEPT_LINES = 100_000  # that wait for room on the disk


class LineFile:
    """A file to which whole lines are appended; those that find no room are written later."""

    def __init__(self, file: pathlib.Path):
        self._file = file
        self._waiting: list[bytes] = []

    def write(
        self, step: int, numbers: Mapping[str, float], images: Mapping[str, np.ndarray]
    ) -> None:
        """Appends a line of JSON, and those before it that could not be written; no images."""
        line = json.dumps({"step": step, **numbers}) + "\n"
        self._waiting = [*self._waiting, line.encode()][-KEPT_LINES:]
        was_full = len(self._waiting) > 1
        try:
            _append_whole(self._file, b"".join(self._waiting))
        except OSError as error:
            if not was_full:
                logger.warning("%s can't be written (%s); its lines wait", self._file, error)
            return
        if was_full:
            logger.warning("%s can be written again; no line is lost", self._file)
        self._waiting = []

    def close(self, *, failed: bool = False) -> None:
        """Says how many lines could not be written."""
        if self._waiting:
            logger.warning("%s lacks its last %d lines", self._file, len(self._waiting))


class EventFile:
    """A file of events for TensorBoard, from a step on; it ends where it cannot be written."""

    def __init__(self, folder: pathlib.Path, *, start: int):
        self._folder = folder
        self._file = None
        name = f"events.out.tfevents.{time.time_ns()}.{socket.gethostname()}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = (folder / name).open("ab", buffering=0)
        except OSError as error:
            self._give_up(error)
        # TensorBoard then forgets what the file before this one says about later steps.
        self._write(Event(step=start + 1, file_version="brain.Event:2"))
        self._write(Event(step=start + 1, session_log=SessionLog(status=SessionLog.START)))

    @property
    def is_open(self) -> bool:
        """Whether events can be written."""
        return self._file is not None

    def write(
        self, step: int, numbers: Mapping[str, float], images: Mapping[str, np.ndarray]
    ) -> None:
        """Writes the numbers and images of one step."""
        values = [
            Summary.Value(tag=_tag(name), simple_value=number) for name, number in numbers.items()
        ]
        values += [_image_value(name, image) for name, image in images.items()]
        self._write(Event(step=step, summary=Summary(value=values)))

    def close(self, *, failed: bool = False) -> None:
        """Closes the file."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()

    def _write(self, event):
        if self._file is None:
            return
        event.wall_time = time.time()
        try:
            _write_all(self._file.fileno(), _record(event.SerializeToString()))
        except OSError as error:
            self.close()
            self._give_up(error)

    def _give_up(self, error):
        self._file = None
        logger.warning("nothing more is written for TensorBoard in %s (%s)", self._folder, error)


def tensorboard_command(folder: pathlib.Path) -> str:
    """The command that shows the events in a folder; "" where TensorBoard is not installed."""
    if shutil.which("tensorboard"):
        return f"tensorboard --logdir={shlex.quote(str(folder))}"
    if importlib.util.find_spec("tensorboard") is None:
        return ""
    return f"python -m tensorboard.main --logdir={shlex.quote(str(folder))}"


def _tag(name):
    """`name` with characters that TensorBoard does not allow replaced."""
    return re.sub(r"[^\w./-]", "_", name)


def _image_value(name, image):
    _, png = cv2.imencode(".png", image[:, :, ::-1])
    height, width = image.shape[:2]
    shown = Summary.Image(
        height=height, width=width, colorspace=3, encoded_image_string=png.tobytes()
    )
    return Summary.Value(tag=name, image=shown)


def _record(data):
    """TensorFlow's record of `data`: its length and itself, each followed by a checksum."""
    length = struct.pack("<Q", len(data))
    checksums = [struct.pack("<I", masked_crc32c(part)) for part in (length, data)]
    return length + checksums[0] + data + checksums[1]


def read_lines(file: pathlib.Path) -> list[dict]:
    """The lines of a metrics.jsonl in order; those that are damaged are counted in the log.

    A line is a JSON object with the number of its step; a kill may have cut the last one short.
    """
    rows, damaged = [], []
    content = file.read_bytes()
    for number, line in enumerate(content.split(b"\n"), start=1):
        row = _parse(line)
        if row is not None:
            rows.append(row)
        elif line.strip():
            damaged.append(number)
    if damaged:
        shown = ", ".join(map(str, damaged[:5])) + (", …" if len(damaged) > 5 else "")
        logger.warning("%s: %d damaged lines are skipped (%s)", file, len(damaged), shown)
    return rows


def drop_later_lines(file: pathlib.Path, step: int) -> None:
    """Drops the lines after `step`, and a last line that a kill cut short; keeps all others."""
    if not os.path.lexists(file):
        return
    if not file.is_file():
        raise ValueError(f"{file} is not a regular file; remove it, and the run writes a new one")
    content = file.read_bytes()
    lines = content.split(b"\n")
    torn = lines.pop()
    if torn and _parse(torn) is not None:
        lines.append(torn)
    elif torn:
        logger.warning("%s: the last line was cut short by a kill and is dropped", file)
    kept = [line for line in lines if (row := _parse(line)) is None or row["step"] <= step]
    whole = b"".join(line + b"\n" for line in kept)
    if whole == content:
        return
    temporary = file.with_name(file.name + ".new")
    temporary.write_bytes(whole)
    temporary.replace(file)


def _parse(line) -> dict[str, typing.Any] | None:
    """The object in a line; None if it is not one with the number of a step."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    usable = isinstance(row, dict) and type(row.get("step")) is int
    return row if usable else None


def _append_whole(file, data):
    """Appends all of `data` or nothing."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
    try:
        size = os.fstat(descriptor).st_size
        try:
            _write_all(descriptor, data)
        except OSError:
            os.ftruncate(descriptor, size)
            raise
    finally:
        os.close(descriptor)


def _write_all(descriptor, data):
    while data:
        data = data[os.write(descriptor, data) :]
