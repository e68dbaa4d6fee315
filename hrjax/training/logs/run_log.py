"""Run logging: progress on the terminal, metrics.jsonl, TensorBoard, and trackers."""

import logging
import pathlib
import time
from collections.abc import Sequence

import numpy as np

from data_pipelines.messages.progress import Progress
from hrjax.training.logs import log_files
from hrjax.training.logs.writers import Writer

logger = logging.getLogger(__name__)


class RunLog:
    """The log of one run, in its run folder.

    `add` takes the numbers of each step and writes their means every `every_steps` steps; `write`
    writes numbers and images immediately. Speeds leave out the first step, which compiles, and what
    is not training. Opening the log drops the lines of metrics.jsonl after step `start`: a killed
    run had not saved those steps, so they are trained again. What cannot be written, as on a full
    disk, does not end the run. `trackers` get what the files get.
    """

    def __init__(
        self,
        workdir: pathlib.Path,
        *,
        start: int,
        total: int,
        every_steps: int,
        trackers: Sequence[Writer] = (),
    ):
        file = workdir / log_files.METRICS
        log_files.drop_later_lines(file, start)
        events = log_files.EventFile(workdir / "tensorboard", start=start)
        self._writers: list[Writer] = [log_files.LineFile(file), events, *trackers]
        command = log_files.tensorboard_command(workdir / "tensorboard")
        if events.is_open and command:
            logger.info("curves: %s", command)
        self._progress = Progress(
            "training", units="steps", total=total, start=start, every=None, kept=True
        )
        self._every_steps = every_steps
        self._rows: list[dict] = []
        self._has_compiled = False
        self.pause()

    def add(self, step: int, epoch: float, numbers: dict, *, images: int, waited: float) -> None:
        """Adds one step: its numbers, how many images it had, and the seconds waited for data."""
        self._rows.append(numbers)
        if self._has_compiled:
            self._images += images
            self._waited += waited
        else:
            self._has_compiled = True
            self.pause()
        self._progress.update()
        if step % self._every_steps == 0:
            self._flush(step, epoch)

    def write(self, step: int, numbers: dict, images: dict[str, np.ndarray] | None = None) -> None:
        """Writes numbers, and RGB images where there is a place for them."""
        for writer in self._writers:
            writer.write(step, numbers, images or {})

    def say(self, text: str) -> None:
        """Prints `text` above the progress bar."""
        self._progress.say(text)

    def pause(self) -> None:
        """Restarts the measurement of images per second, after work other than training."""
        self._images, self._waited, self._since = 0, 0.0, time.perf_counter()

    def close(self, *, failed: bool = False) -> None:
        """Flushes and closes everything; `failed` says that an error ended the run."""
        self._progress.close()
        for writer in reversed(self._writers):
            writer.close(failed=failed)

    def _flush(self, step, epoch):
        seconds = max(time.perf_counter() - self._since, 1e-9)
        means = {key: float(np.mean([row[key] for row in self._rows])) for key in self._rows[0]}
        shown = f"epoch {epoch:.1f} loss {means['loss']:.3g} pck {means['pck']:.2f}"
        shown += f" lr {means['lr']:.1e}"
        speed = {}
        if self._images:
            speed = {"images_per_second": self._images / seconds, "waiting": self._waited / seconds}
            shown += f" {speed['images_per_second']:.0f} images/s waiting {speed['waiting']:.0%}"
        self.write(step, {"epoch": epoch, **means, **speed})
        self._progress.report(shown)
        self._rows = []
        self.pause()


class NoLog:
    """A RunLog that writes nothing, for all processes of a run but the first."""

    def __init__(self, workdir: pathlib.Path, **settings: object):
        pass

    def _ignore(self, *_: object, **__: object) -> None:
        pass

    add = write = say = pause = close = _ignore


def read(workdir: pathlib.Path) -> list[dict]:
    """The lines of a run's metrics.jsonl; damaged ones are skipped with a word in the log."""
    return log_files.read_lines(workdir / log_files.METRICS)
