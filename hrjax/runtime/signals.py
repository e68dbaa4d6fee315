"""Signals that ask a run to stop."""

import contextlib
import logging
import signal

logger = logging.getLogger(__name__)


class Stop:
    """Whether somebody asked the process to end: `signal` is the signal's number, or None."""

    def __init__(self):
        self.signal: int | None = None


@contextlib.contextmanager
def stopping():
    """Notes SIGINT (Ctrl-C) and SIGTERM in a Stop instead of dying; a second one kills."""
    stop = Stop()
    previous = {}

    def note(number, _):
        stop.signal = number
        for each, handler in previous.items():
            signal.signal(each, handler)
        logger.warning(
            "%s: saving a checkpoint at the end of this step (once more to end at once)",
            signal.Signals(number).name,
        )

    for number in (signal.SIGINT, signal.SIGTERM):
        previous[number] = signal.signal(number, note)
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
