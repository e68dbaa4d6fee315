"""Catches the signals that ask a run to stop, and answers them where Python cannot yet."""

import contextlib
import dataclasses
import logging
import multiprocessing
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Iterator

logger = logging.getLogger(__name__)

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
EXIT = 128  # plus the signal's number: the exit status, as shells report it
PATIENCE = 1.0  # seconds that the handler of a signal may take to begin
LAST_PATIENCE = 2.0  # seconds that the process may take to end after the second signal


class StopRequest:
    """Whether a signal asked the process to stop: `signal` is its number, or None."""

    def __init__(self):
        self.signal: int | None = None


@dataclasses.dataclass
class _Tally:
    """How many signals have reached their handlers in this process."""

    handled: int = 0


_TALLY = _Tally()


@contextlib.contextmanager
def catch_stop_signals() -> Iterator[StopRequest]:
    """Records SIGINT (Ctrl-C), SIGTERM and SIGHUP in a StopRequest; a second one ends the process.

    SIGHUP, which a terminal sends when it is closed, stays ignored where it is (nohup). Only the
    main thread can catch signals; in others none is recorded.
    """
    request = StopRequest()
    previous = {}

    def record(number, _):
        _TALLY.handled += 1
        request.signal = number
        for each, handler in previous.items():
            signal.signal(each, handler)
        logger.warning(
            "%s: saving a checkpoint after this step (send it again to exit immediately)",
            signal.Signals(number).name,
        )

    if threading.current_thread() is threading.main_thread():
        for number in STOPPING:
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                previous[number] = signal.signal(number, record)
    try:
        yield request
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def answer_at_once() -> Iterator[None]:
    """Answers signals within seconds, for a command's main thread that does anything inside.

    Python runs the handler of a signal in the main thread, between two instructions; while XLA
    compiles, which may take minutes, there is none. A thread sees the signal at once. It says so if
    the handler has not run after a second, and ends the process at the second signal.
    """
    ours, theirs = os.pipe()
    os.set_blocking(theirs, False)
    before = signal.set_wakeup_fd(theirs, warn_on_full_buffer=False)
    handler = signal.getsignal(signal.SIGINT)
    if handler is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)
    thread = threading.Thread(target=_answer, args=(ours,), name="signals", daemon=True)
    thread.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        if handler is signal.default_int_handler:
            signal.signal(signal.SIGINT, handler)
        os.close(theirs)
        thread.join()
        os.close(ours)


def _interrupt(number, _):
    _TALLY.handled += 1
    raise KeyboardInterrupt


def _answer(wakeups):
    """Reads the number of each signal until the other end of the pipe is closed."""
    handled_before, received = _TALLY.handled, 0
    while number := os.read(wakeups, 1):
        if number[0] not in STOPPING:
            continue
        received += 1
        name = signal.Signals(number[0]).name
        if received > 1:
            if not select.select([wakeups], [], [], LAST_PATIENCE)[0]:
                _end(number[0])
            continue
        deadline = time.monotonic() + PATIENCE
        while _TALLY.handled - handled_before < received and time.monotonic() < deadline:
            time.sleep(0.02)
        if _TALLY.handled - handled_before < received:
            print(
                f"{name}: ending when the program that is being compiled or computed is done (send "
                "it again to exit immediately)",
                file=sys.stderr,
                flush=True,
            )


def _end(number):
    """Ends the process and its workers now, as kill -9 would."""
    for child in multiprocessing.active_children():
        child.kill()
    os._exit(EXIT + number)
