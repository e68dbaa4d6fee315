"""Catches the signals that ask a run to stop."""

import contextlib
import logging
import signal
from collections.abc import Iterator

logger = logging.getLogger(__name__)


class StopRequest:
    """Whether a signal asked the process to stop: `signal` is its number, or None."""

    def __init__(self):
        self.signal: int | None = None


@contextlib.contextmanager
def catch_stop_signals() -> Iterator[StopRequest]:
    """Records SIGINT (Ctrl-C) and SIGTERM in a StopRequest; a second one ends the process."""
    request = StopRequest()
    previous = {}

    def record(number, _):
        request.signal = number
        for each, handler in previous.items():
            signal.signal(each, handler)
        logger.warning(
            "%s: saving a checkpoint after this step (send it again to exit immediately)",
            signal.Signals(number).name,
        )

    for number in (signal.SIGINT, signal.SIGTERM):
        previous[number] = signal.signal(number, record)
    try:
        yield request
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
