"""One writer for each work directory: a lock file that names the process that trains there.

The kernel holds the lock (flock) and releases it when the process ends, however it ends, so a lock
that a killed process left behind does not block the next one. On NFS, Linux turns flock into a lock
of the server. Where the file system has no locks, or has them for one machine only, the holder's
heartbeat decides: it touches the file every few seconds for as long as it runs.
"""

import contextlib
import dataclasses
import errno
import fcntl
import json
import logging
import os
import pathlib
import shlex
import socket
import sys
import threading
import time
from collections.abc import Iterator

from hrjax.runtime import run_folder

logger = logging.getLogger(__name__)

FILE = "in_use.json"
HEARTBEAT = 5.0  # seconds between two
WATCH = 3 * HEARTBEAT  # a holder on another machine is watched for so long before it counts as dead
SETTLE = 1.0  # seconds after which a lock without the kernel's help must still be ours
SHOWN_COMMAND = 300  # characters
ATTEMPTS = 20  # to make the folder and the file while other processes remove them
NOT_SUPPORTED = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)
BUSY = (errno.EWOULDBLOCK, errno.EACCES)


class InUseError(OSError):
    """Another process trains in the work directory."""


@dataclasses.dataclass(frozen=True)
class _Holder:
    """What the lock file says; `boot` is the id of the machine's last start."""

    host: str
    pid: int
    since: str
    command: str
    boot: str


UNKNOWN = _Holder("an unknown machine", 0, "an unknown time", "an unknown command", "")


@contextlib.contextmanager
def hold(workdir: pathlib.Path) -> Iterator[None]:
    """Makes the work directory and holds its lock; OSError names the process that holds it already.

    At the end the lock file is removed, and so are the folders that were made here if they are
    still empty. Nothing else is written.
    """
    file = workdir.absolute() / FILE
    made = []
    try:
        descriptor = _take(file, made)
        try:
            with _heartbeat(descriptor):
                yield
        finally:
            _release(descriptor, file)
    finally:
        for folder in made:
            with contextlib.suppress(OSError):
                folder.rmdir()


def _take(file, made):
    """The descriptor of the locked file; the folders made for it are put into `made`."""
    while True:
        descriptor, is_new = _open(file, made)
        try:
            locked = _lock(descriptor, file)
            if _is_at(descriptor, file):
                left = None if is_new else _read(descriptor)
                if not locked and not is_new:
                    _check_dead(left or UNKNOWN, file)
                elif left and left.boot != _own().boot:
                    _check_dead(left, file)
                _write(descriptor)
                if not locked:
                    _settle(file)
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # its holder has ended and removed it in this moment


def _open(file, made):
    """An open descriptor of the file, and whether this process created it."""
    for _ in range(ATTEMPTS):
        try:
            return _make_and_open(file, made)
        except (FileNotFoundError, FileExistsError) as error:
            failure = error  # another process that failed may have removed the folder just now
        except OSError as error:
            raise run_folder.write_error(file.parent, error) from error
    raise run_folder.write_error(file.parent, failure) from failure


def _make_and_open(file, made):
    missing = [folder for folder in (file.parent, *file.parent.parents) if not folder.exists()]
    file.parent.mkdir(parents=True, exist_ok=True)
    made[:] = [*missing, *(folder for folder in made if folder not in missing)]
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    with contextlib.suppress(FileExistsError):
        return os.open(file, flags | os.O_EXCL, 0o666), True
    return os.open(file, flags, 0o666), False


def _lock(descriptor, file):
    """Whether the kernel holds the lock for us; False where the file system has no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in BUSY:
            raise _in_use(_wait_for_text(descriptor), file) from None
        if error.errno not in NOT_SUPPORTED:
            raise run_folder.write_error(file.parent, error) from error
        logger.warning(
            "the disk of %s has no file locks (%s); another process on it is noticed only by its "
            "heartbeat",
            *(file.parent, error.strerror),
        )
        return False
    return True


def _wait_for_text(descriptor):
    """Who holds the lock; it may have been taken in this moment and have no text yet."""
    for _ in range(20):
        if (holder := _read(descriptor)) is not None:
            return holder
        time.sleep(0.05)
    return None


def _in_use(holder, file):
    who = "another process"
    since = ""
    if holder is not None:
        who = f"process {holder.pid} on {holder.host}"
        since = f" since {holder.since} ({holder.command})"
    return InUseError(
        f"{file.parent} is in use: {who} trains there{since}. Choose another --workdir, or wait "
        "until that process has ended; after Ctrl-C or SIGTERM it still saves a checkpoint"
    )


def _check_dead(left, file):
    """Raises InUseError if the holder that the file names, on another machine, has a heartbeat."""
    logger.warning(
        "%s was left by process %d on %s; watching for %.0f seconds whether that still runs",
        *(file, left.pid, left.host, WATCH),
    )
    first, deadline = _beat(file), time.monotonic() + WATCH
    while time.monotonic() < deadline:
        time.sleep(HEARTBEAT / 5)
        if _beat(file) != first:
            raise _in_use(left, file)


def _beat(file):
    """When the file was last touched; opening it makes a network disk ask its server."""
    with contextlib.suppress(OSError), file.open("rb") as opened:
        return os.fstat(opened.fileno()).st_mtime_ns
    return None


def _settle(file):
    """Without the kernel's help two processes may have taken the lock: the later one has it."""
    time.sleep(SETTLE)
    with contextlib.suppress(OSError), file.open("rb") as opened:
        holder = _read(opened.fileno())
        if holder is not None and holder != _own():
            raise _in_use(holder, file)


def _release(descriptor, file):
    with contextlib.suppress(OSError):
        if _is_at(descriptor, file):
            file.unlink()
    os.close(descriptor)


def _is_at(descriptor, file):
    """Whether the open file is still the one with this name."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(file))
    except FileNotFoundError:
        return False


@contextlib.contextmanager
def _heartbeat(descriptor):
    ended = threading.Event()

    def beat():
        while not ended.wait(HEARTBEAT):
            with contextlib.suppress(OSError):
                os.utime(descriptor)

    thread = threading.Thread(target=beat, name="work directory lock", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


_STARTED = time.strftime("%Y-%m-%d %H:%M:%S")


def _own():
    boot = pathlib.Path("/proc/sys/kernel/random/boot_id")
    host = socket.gethostname()
    return _Holder(
        host=host,
        pid=os.getpid(),
        since=_STARTED,
        command=shlex.join(sys.orig_argv)[:SHOWN_COMMAND],
        boot=boot.read_text().strip() if boot.exists() else host,
    )


def _write(descriptor):
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, (json.dumps(dataclasses.asdict(_own())) + "\n").encode(), 0)


def _read(descriptor):
    """The holder that the file names; None where it holds nothing of the kind."""
    try:
        fields = json.loads(os.pread(descriptor, 2**16, 0))
        holder = _Holder(**fields)
    except (ValueError, TypeError, RecursionError):
        return None
    kinds = {"host": str, "pid": int, "since": str, "command": str, "boot": str}
    right = all(type(getattr(holder, name)) is kind for name, kind in kinds.items())
    return holder if right else None
