"""Limits of a machine that keep worker processes from running, and what to change about them."""

import errno
import os
import resource
import shutil
import signal

SHARED_MEMORY = "/dev/shm"  # where Linux keeps the batches that workers pass on
# Writing into shared memory that has no room ends a process by this signal.
NO_ROOM = f"exit code {-signal.SIGBUS}"
MEBIBYTE = 2**20


def reason(error: BaseException) -> str:
    """Why workers cannot run on this machine, if `error` says so; "" otherwise."""
    number = error.errno if isinstance(error, OSError) else None
    if number == errno.ENOSPC or NO_ROOM in str(error):
        return (
            f"workers have no room to pass batches on: {SHARED_MEMORY} has {_free()} free; "
            "enlarge it (shm-size of a container), or set config.data.workers to 0"
        )
    if number in (errno.ENOENT, errno.EACCES, errno.EROFS, errno.ENOSYS) and _has_no_memory():
        return (
            f"workers have no shared memory: {SHARED_MEMORY} can't be written ({error}); mount it, "
            "or set config.data.workers to 0"
        )
    if number in (errno.EMFILE, errno.ENFILE):
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return (
            f"workers need more open files than the limit of {limit}; raise it (ulimit -n 4096), "
            "or set config.data.workers to 0"
        )
    if number in (errno.EAGAIN, errno.ENOMEM) or "start new thread" in str(error):
        return (
            f"workers can't be started ({error}); raise the limit on processes (ulimit -u) or on "
            "memory, or set config.data.workers to 0"
        )
    return ""


def _has_no_memory():
    return not os.access(SHARED_MEMORY, os.W_OK | os.X_OK)


def _free():
    try:
        return f"{shutil.disk_usage(SHARED_MEMORY).free / MEBIBYTE:.1f} MiB"
    except OSError as error:
        return f"nothing ({error})"
