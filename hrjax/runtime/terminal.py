"""What all commands share: their streams, their log, their errors and their exit status."""

import contextlib
import errno
import io
import logging
import os
import resource
import select
import sys
import threading
import typing
from collections.abc import Callable

from hrjax.runtime import remedies, signals

INTERRUPTED = 130  # the exit status after Ctrl-C
OPEN_FILES = 4096  # the limit is raised to this where it may be
BLOCKED = 10.0  # seconds to wait for the reader of a pipe that does not block
THREADS, THREADS_OF_CORE = 24, 4  # to try to start
FEWEST_FILES = 48  # with fewer open files, saving a checkpoint or reading one fails


def run(main: Callable[[], int | None]) -> typing.NoReturn:
    """Runs the `main` of a command and exits with its status.

    Closed standard streams are opened on /dev/null, so that no file of ours gets their number. What
    a stream cannot take, because its pipe is closed or its disk is full, is lost, and the command
    goes on; the exit status tells when that was its result. Ctrl-C and errors that the user can act
    on end in one message.
    """
    open_closed_streams()
    # Whoever has replaced a stream, as notebooks and tests do, knows what to do with it.
    if sys.stdout is sys.__stdout__:
        sys.stdout = _lossy(sys.stdout, 1)
    if sys.stderr is sys.__stderr__:
        sys.stderr = _lossy(sys.stderr, 2)
    _raise_limit_on_files()
    set_up_logging()
    status = guard(_check_limits)
    if not status:
        with signals.answer_at_once():
            status = guard(main)
    status = _flush(status)
    if status > signals.EXIT and not _is_one_of_several():
        signals.end(status)
    sys.exit(status)


def _is_one_of_several():
    """Whether other processes of a job wait for this one's proper end."""
    jax = sys.modules.get("jax")
    return jax is not None and jax.distributed.is_initialized()


def set_up_logging() -> None:
    """Sends the log of hrjax to stderr, and what other libraries warn of."""
    import absl.logging

    # Some of the imported libraries have set up logging already; this replaces it.
    logging.basicConfig(level=logging.INFO, format="%(message)s", force=True)
    # Orbax logs each error that it raises, with a traceback; one message is enough.
    absl.logging.set_verbosity(absl.logging.FATAL)
    logging.getLogger("jax").setLevel(logging.WARNING)


def guard(
    command: Callable[[], int | None],
    *,
    explain: Callable[[Exception], str | None] = lambda error: None,
    debug: bool = False,
) -> int:
    """The exit status of `command`; errors that the user can act on are printed in one message.

    `explain` gives the message of further kinds of errors, None for those that are ours. With
    `debug` all errors are raised.
    """
    try:
        return command() or 0
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except SystemExit as ending:
        if isinstance(ending.code, str):
            print(ending.code, file=sys.stderr)
            return 1
        return ending.code or 0
    except Exception as error:
        message = explain(error) or message_of(error)
        if message is None or debug:
            raise
        print(f"error: {message}", file=sys.stderr)
        return 1


def message_of(error: Exception) -> str | None:
    """What to tell about an error that the user can act on; None for others."""
    if isinstance(error, MemoryError):
        return f"not enough memory ({error or 'or the limit that ulimit -v sets'})"
    if isinstance(error, RuntimeError) and "start new thread" in str(error):
        return _no_threads(error)
    if not isinstance(error, ValueError | OSError):
        return None
    advice = remedies.advice(error) if isinstance(error, OSError) and error.errno else ""
    return f"{error}; {advice}" if advice else str(error)


def open_closed_streams() -> None:
    """Opens those of stdin, stdout and stderr that are closed on /dev/null."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free
            os.set_inheritable(descriptor, True)
    if sys.stdin is None:
        sys.stdin = open(0, closefd=False)  # noqa: SIM115


class _Lossy(io.RawIOBase):
    """Writes to a descriptor; what it does not take is lost. `error` is the first reason."""

    def __init__(self, descriptor: int):
        self._descriptor = descriptor
        self.error: OSError | None = None

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def write(self, data: bytes) -> int:
        try:
            return os.write(self._descriptor, data)
        except BlockingIOError as error:
            if select.select([], [self._descriptor], [], BLOCKED)[1]:
                return 0
            self.error = self.error or error
        except OSError as error:
            self.error = self.error or error
        return len(data)


def _lossy(stream, descriptor):
    """A text stream like `stream` that never fails; characters it lacks are written as escapes."""
    if stream is not None:
        with contextlib.suppress(OSError):
            stream.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(_Lossy(descriptor)),
        encoding=getattr(stream, "encoding", None) or "utf-8",
        errors="backslashreplace",
        # In a log that has both streams, lines stay in the order in which they were written.
        line_buffering=True,
        write_through=getattr(stream, "write_through", False),
    )


def _flush(status):
    """Flushes both streams; returns the exit status, 1 where the output was lost on a disk."""
    sys.stdout.flush()
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    lost = raw.error if isinstance(raw, _Lossy) else None
    if lost is not None and lost.errno not in (errno.EPIPE, errno.EIO) and not status:
        print(f"error: the output is not complete: {message_of(lost)}", file=sys.stderr)
        status = 1
    sys.stderr.flush()
    return status


def _raise_limit_on_files():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _check_limits():
    """Raises an error where so little is allowed that a library would fail late, or abort."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= soft < FEWEST_FILES:
        raise OSError(
            f"the limit on open files is {soft}, and at least {FEWEST_FILES} are needed; raise it "
            f"(ulimit -n {OPEN_FILES})"
        )
    # XLA starts a few threads for each core, and aborts where it cannot.
    count = min(256, THREADS + THREADS_OF_CORE * (os.cpu_count() or 1))
    ended = threading.Event()
    started = []
    try:
        for _ in range(count):
            thread = threading.Thread(target=ended.wait)
            thread.start()
            started.append(thread)
    finally:
        ended.set()
        for thread in started:
            thread.join()


def _no_threads(error):
    limit, _ = resource.getrlimit(resource.RLIMIT_NPROC)
    shown = "not limited" if limit == resource.RLIM_INFINITY else f"{limit}"
    return (
        f"no more threads can be started ({error}); raise the limit on processes of a user (ulimit "
        f"-u, now {shown}), or that of the container"
    )
