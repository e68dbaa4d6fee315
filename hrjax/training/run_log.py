"""Run logging: a progress bar, metrics.jsonl and TensorBoard."""

import json
import pathlib
import re
import sys
import time

import cv2
import numpy as np
import tensorboardX
import tqdm
from tensorboardX.proto.summary_pb2 import Summary


class RunLog:
    """The log of one run, in its run folder.

    `add` takes the numbers of each step and writes their means every `every_steps` steps; `write`
    writes numbers and images immediately. Opening the log drops the lines of metrics.jsonl after
    step `start`: a killed run had not saved those steps, so they are trained again.
    """

    def __init__(self, workdir: pathlib.Path, *, start: int, total: int, every_steps: int):
        self._file = _reopen(workdir / "metrics.jsonl", start)
        self._board = tensorboardX.SummaryWriter(
            str(workdir / "tensorboard"), purge_step=start + 1, flush_secs=10
        )
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
        self._file.write(json.dumps({"step": step, **numbers}) + "\n")
        self._file.flush()
        for name, number in numbers.items():
            self._board.add_scalar(_tag(name), number, step)
        for name, image in (images or {}).items():
            self._board.file_writer.add_summary(_image_summary(name, image), step)

    def say(self, text: str) -> None:
        """Prints `text` above the progress bar."""
        self._bar.write(text, file=sys.stderr)

    def pause(self) -> None:
        """Restarts the measurement of images per second, after work other than training."""
        self._images, self._waited, self._since = 0, 0.0, time.perf_counter()

    def close(self) -> None:
        """Flushes and closes everything."""
        self._bar.close()
        self._board.close()
        self._file.close()

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
    """The lines of a run's metrics.jsonl, without a last line that a kill cut short."""
    lines = (workdir / "metrics.jsonl").read_text().split("\n")
    return [json.loads(line) for line in lines[:-1]]


def _reopen(file, start):
    if file.is_file():
        kept = [line for line in read(file.parent) if line["step"] <= start]
        temporary = file.with_suffix(".new")
        temporary.write_text("".join(json.dumps(line) + "\n" for line in kept))
        temporary.replace(file)
    return file.open("a")


def _tag(name):
    """`name` with characters that TensorBoard does not allow replaced."""
    return re.sub(r"[^\w./-]", "_", name)


def _image_summary(name, image):
    _, png = cv2.imencode(".png", image[:, :, ::-1])
    height, width = image.shape[:2]
    summary = Summary.Image(
        height=height, width=width, colorspace=3, encoded_image_string=png.tobytes()
    )
    return Summary(value=[Summary.Value(tag=name, image=summary)])
