"""How far a long piece of work is: a bar on a terminal, lines in a log.

A bar is redrawn in place. In a file, a pipe or a notebook that would be one endless line; there a
line is written from time to time instead. Rates and remaining times leave out what happened before
the first report, which is compilation more often than not.
"""

import contextlib
import os
import sys
import time
from collections.abc import Iterable, Iterator

import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

EVERY = 30.0  # seconds between the lines in a log


def is_terminal() -> bool:
    """Whether what is written to stderr is read on a terminal that can redraw a line."""
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb" and _has_size()


def _has_size():
    """Whether the terminal has lines: some, as in containers, state none, and tqdm is silent."""
    try:
        return os.get_terminal_size(sys.stderr.fileno()).lines > 1
    except OSError:  # not a real one
        return True


class Progress:
    """The progress of some work: `start` of its `total` `units` ("images") were done before.

    `update` says that some are done; without a total it is not known how many there are. `every` is
    the number of seconds between lines in a log; None leaves them to the caller's `report`. A
    `quiet` one shows nothing, and one that is not `kept` clears its bar at the end.
    """

    def __init__(
        self,
        what: str,
        *,
        units: str,
        total: int | None = None,
        start: int = 0,
        every: float | None = EVERY,
        quiet: bool = False,
        kept: bool = False,
    ):
        self._what, self._units, self._total, self._done = what, units, total, start
        self._every, self._kept = every, kept
        self._quiet = quiet
        self._shows_bar = not quiet and is_terminal()
        self._shows_lines = not quiet and not self._shows_bar and every is not None
        self._bar: tqdm.tqdm | None = None
        self._log = contextlib.ExitStack()  # sends the log above the bar
        self._first: tuple[float, int] | None = None  # the time of the first report, and its units
        self._last = time.monotonic()
        self._has_lines = False

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def update(self, count: int = 1) -> None:
        """Reports that `count` more units are done."""
        self._done += count
        now = time.monotonic()
        if self._first is None:
            self._first = now, self._done
        if self._shows_bar:
            self._draw(count)
        elif self._shows_lines and now - self._last >= self._every:
            self._write_line(f"{self.describe()}{self.left()}")

    def report(self, note: str) -> None:
        """Shows a note beside the bar, or as a line of the log."""
        if self._bar is not None:
            self._bar.set_postfix_str(note)
        elif not self._shows_bar and not self._quiet:
            self._write_line(f"{self.describe()}, {note}{self.left()}")

    def say(self, text: str) -> None:
        """Writes some text to stderr, above the bar if there is one."""
        if self._bar is not None:
            self._bar.write(text, file=sys.stderr)
        else:
            print(text, file=sys.stderr, flush=True)

    def describe(self) -> str:
        """What is done: packing: 1,200 of 5,000 images."""
        total = f" of {self._total:,}" if self._total else ""
        return f"{self._what}: {self._done:,}{total} {self._units}"

    def left(self) -> str:
        """About how long the rest takes: ", 0:12:10 left"; "" where that is not known."""
        if self._first is None or not self._total:
            return ""
        began, done_then = self._first
        seconds, done = time.monotonic() - began, self._done - done_then
        if not done or self._done >= self._total:
            return ""
        return f", {duration(seconds / done * (self._total - self._done))} left"

    def close(self) -> None:
        """Ends the bar; a log that has lines of this work gets a last one."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
            self._log.close()
        elif self._has_lines and self._every is not None:
            self._write_line(self.describe())
            self._has_lines = False

    def _draw(self, count):
        if self._bar is not None:
            self._bar.update(count)
        else:
            # Only now, so that its rate leaves out what came before.
            self._log.enter_context(logging_redirect_tqdm())
            self._bar = tqdm.tqdm(
                desc=self._what,
                initial=self._done,
                total=self._total,
                unit=f" {self._units}",
                dynamic_ncols=True,
                mininterval=0.5,
                smoothing=0.05,
                leave=self._kept,
            )

    def _write_line(self, text):
        print(text, file=sys.stderr, flush=True)
        self._last, self._has_lines = time.monotonic(), True


def over(items: Iterable, what: str, *, units: str, total: int | None = None) -> Iterator:
    """Passes on the items, and shows how many of them were used."""
    if total is None and hasattr(items, "__len__"):
        total = len(items)
    with Progress(what, units=units, total=total) as progress:
        for item in items:
            yield item
            progress.update()


def duration(seconds: float) -> str:
    """Seconds as hours, minutes and seconds: 0:12:10."""
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{seconds:02}"
