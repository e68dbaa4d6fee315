"""What a run's log is written to, and how a slow or broken place does not hold the run up."""

import contextlib
import logging
import queue
import threading
import typing
from collections.abc import Callable, Mapping

import numpy as np

logger = logging.getLogger(__name__)

MOST_WAITING = 1000  # reports for a place that does not keep up
LAST_WAIT = 60.0  # seconds for the last reports at the end of a run


class Writer(typing.Protocol):
    """A place that numbers and pictures are written to."""

    def write(
        self, step: int, numbers: Mapping[str, float], images: Mapping[str, np.ndarray]
    ) -> None:
        """Writes the numbers of a step, and RGB images (h, w, 3) uint8, by their names."""

    def close(self, *, failed: bool = False) -> None:
        """Writes the rest; `failed` says that an error ended the run."""


class Background:
    """Passes reports on to a writer in a thread, so that the run neither waits for it nor ends.

    `open_writer` opens it, in the thread as well: without a network that may take minutes. If that
    fails, a warning says so and all is lost; what it fails to write later is lost, which is said
    once, and so is that it works again.
    """

    def __init__(
        self,
        name: str,
        open_writer: Callable[[], Writer],
        *,
        waiting: int = MOST_WAITING,
        last_wait: float = LAST_WAIT,
    ):
        self._name, self._open, self._last_wait = name, open_writer, last_wait
        self._reports: queue.Queue = queue.Queue(waiting)
        self._lost, self._has_warned, self._failed = 0, False, False
        self._thread = threading.Thread(target=self._pass_on, name=name, daemon=True)
        self._thread.start()

    def write(
        self, step: int, numbers: Mapping[str, float], images: Mapping[str, np.ndarray]
    ) -> None:
        """Takes a report; one that finds no room is lost."""
        try:
            self._reports.put_nowait((step, dict(numbers), dict(images)))
        except queue.Full:
            self._lose(f"{self._reports.maxsize} reports wait already")

    def close(self, *, failed: bool = False) -> None:
        """Waits a limited time for the last reports to be written."""
        self._failed = failed
        with contextlib.suppress(queue.Full):
            self._reports.put(None, timeout=self._last_wait)
        self._thread.join(self._last_wait)
        if self._thread.is_alive():
            logger.warning(
                "%s has not taken the last reports within %g seconds; they may be missing there",
                *(self._name, self._last_wait),
            )

    def _pass_on(self):
        try:
            writer = self._open()
        except Exception as error:
            logger.warning(
                "nothing is logged to %s (%s); the run goes on", self._name, _first_line(error)
            )
            while self._reports.get() is not None:
                pass
            return
        while (report := self._reports.get()) is not None:
            try:
                writer.write(*report)
            except Exception as error:
                self._lose(_first_line(error))
                continue
            if self._lost:
                logger.warning("%s works again; %d reports are lost", self._name, self._lost)
                self._lost = 0
        try:
            writer.close(failed=self._failed)
        except Exception as error:
            logger.warning("%s could not be closed (%s)", self._name, _first_line(error))

    def _lose(self, reason):
        self._lost += 1
        if not self._has_warned:
            self._has_warned = True
            logger.warning(
                "%s can't be written to (%s); the run goes on, and its own folder has everything",
                *(self._name, reason),
            )


def _first_line(error):
    """The beginning of an error's message, for one line of the log."""
    return (str(error).strip() or repr(error)).splitlines()[0][:200]
