"""Locks between processes that the system gives back when their holder ends, however it ends."""

import contextlib
import errno
import fcntl
import logging
import os
import pathlib
import time
from collections.abc import Callable, Iterator

logger = logging.getLogger(__name__)

POLL = 0.1  # seconds between attempts


@contextlib.contextmanager
def hold(file: pathlib.Path, what: str) -> Iterator[bool]:
    """Holds the lock on `file`; says whether an earlier holder ended before its work did.

    `file` is removed at the end, unless an error ends the work or the process is killed. On a disk
    without locks nothing is held.
    """
    descriptor, was_left = acquire(file, what)
    try:
        yield was_left
    except BaseException:
        if descriptor is not None:
            os.close(descriptor)
        raise
    release(file, descriptor)


def acquire(
    file: pathlib.Path, what: str, is_lost: Callable[[], bool] = lambda: False
) -> tuple[int | None, bool]:
    """The descriptor of the lock on `file`, and whether an earlier holder left it behind.

    The descriptor is None where the disk has no locks, and where the holder is given up: while it
    has the lock, `is_lost` is asked again and again whether it makes no progress.
    """
    was_told = False
    while True:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.read(descriptor, 100).decode("ascii", "replace") or "another process"
            os.close(descriptor)
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                return None, False
        else:
            if _is_still_there(descriptor, file):
                was_left = os.fstat(descriptor).st_size > 0
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, f"process {os.getpid()}".encode(), 0)
                return descriptor, was_left
            os.close(descriptor)  # its holder has removed it
            continue
        if not was_told:
            logger.info("waiting for %s, which has %s", holder, what)
        was_told = True
        if is_lost():
            return None, False
        time.sleep(POLL)


def release(file: pathlib.Path, descriptor: int | None) -> None:
    """Removes a lock that `acquire` returned."""
    file.unlink(missing_ok=True)
    if descriptor is not None:
        os.close(descriptor)


def _is_still_there(descriptor, file):
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(file))
    except FileNotFoundError:
        return False
