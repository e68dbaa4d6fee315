"""Run logging: a progress bar, metrics.jsonl and TensorBoard."""

import pathlib
import re
import sys
import time

import cv2
import numpy as np
import tqdm
from tensorboardX.proto.summary_pb2 import Summary

from hrjax.training import log_files


class RunLog:
    """The log of one run, in its run folder.

    `add` takes the numbers of each step and writes their means every `every_steps` steps; `write`
    writes numbers and images immediately. Opening the log drops the lines of metrics.jsonl after
    step `start`: a killed run had not saved those steps, so they are trained again. What cannot be
    written, as on a full disk, does not end the run.
    """

    def __init__(self, workdir: pathlib.Path, *, start: int, total: int, every_steps: int):
        file = workdir / log_files.METRICS
        log_files.drop_later_lines(file, start)
        self._lines = log_files.LineFile(file)
        self._events = log_files.EventFile(workdir / "tensorboard", start=start)
        interactive = sys.stderr.isatty()
        self._bar = tqdm.tqdm(
            initial=start,
            total=total,
            unit="step",
            dynamic_ncols=interactive,
            mininterval=0.5 if interactive else 15,
            smoothing=0.05,
        )
        self._every_steps = every_steps
        self._rows: list[dict] = []
        self._images = 0
        self._waited = 0.0
        self._since = time.perf_counter()

    def add(self, step: int, epoch: float, numbers: dict, *, images: int, waited: float) -> None:
        """Adds one step: its numbers, how many images it had, and the seconds waited for data."""
        self._rows.append(numbers)
        self._images += images
        self._waited += waited
        self._bar.update()
        if step % self._every_steps == 0:
            self._flush(step, epoch)

    def write(self, step: int, numbers: dict, images: dict[str, np.ndarray] | None = None) -> None:
        """Writes numbers to both files, and RGB images to TensorBoard."""
        self._lines.append({"step": step, **numbers})
        values = [
            Summary.Value(tag=_tag(name), simple_value=number) for name, number in numbers.items()
        ]
        values += [_image_value(name, image) for name, image in (images or {}).items()]
        self._events.add(step, values)

    def say(self, text: str) -> None:
        """Prints `text` above the progress bar."""
        self._bar.write(text, file=sys.stderr)

    def pause(self) -> None:
        """Restarts the measurement of images per second, after work other than training."""
        self._images, self._waited, self._since = 0, 0.0, time.perf_counter()

    def close(self) -> None:
        """Flushes and closes everything."""
        self._bar.close()
        self._events.close()
        self._lines.close()

    def _flush(self, step, epoch):
        seconds = max(time.perf_counter() - self._since, 1e-9)
        means = {key: float(np.mean([row[key] for row in self._rows])) for key in self._rows[0]}
        speed = {"images_per_second": self._images / seconds, "waiting": self._waited / seconds}
        self.write(step, {"epoch": epoch, **means, **speed})
        self._bar.set_postfix_str(
            f"epoch {epoch:.1f} loss {means['loss']:.3g} pck {means['pck']:.2f} "
            f"lr {means['lr']:.1e} {speed['images_per_second']:.0f} images/s "
            f"waiting {speed['waiting']:.0%}"
        )
        self._rows = []
        self.pause()


class NoLog:
    """A RunLog that writes nothing, for all processes of a run but the first."""

    def __init__(self, workdir: pathlib.Path, **settings: int):
        pass

    def _ignore(self, *_: object, **__: object) -> None:
        pass

    add = write = say = pause = close = _ignore


def read(workdir: pathlib.Path) -> list[dict]:
    """The lines of a run's metrics.jsonl; damaged ones are skipped with a word in the log."""
    return log_files.read_lines(workdir / log_files.METRICS)


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
