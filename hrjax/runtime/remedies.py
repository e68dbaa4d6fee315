"""What to do about an error of the operating system, by its number."""

import errno
import resource

FULL = (errno.ENOSPC, errno.EDQUOT)
# How libraries that pass errors on as text word the two above.
FULL_TEXTS = ("No space left on device", "Disk quota exceeded")
MANY_FILES_TEXT = "Too many open files"
# Errors that say nothing about the file that was to be read.
OF_THE_MACHINE = (
    *(errno.EMFILE, errno.ENFILE, errno.EACCES, errno.EPERM, errno.ENOMEM, errno.ESTALE),
    *(errno.EIO, errno.ETIMEDOUT, errno.EHOSTDOWN, errno.ENOTCONN, errno.EAGAIN, *FULL),
)
OF_THE_MACHINE_TEXTS = (
    *(MANY_FILES_TEXT, "Permission denied", "Cannot allocate memory", "Stale file handle"),
    *("Input/output error", "start new thread", "RESOURCE_EXHAUSTED", *FULL_TEXTS),
)


def is_full(error: BaseException) -> bool:
    """Whether `error` says that a disk or a quota is full."""
    return getattr(error, "errno", None) in FULL or any(x in str(error) for x in FULL_TEXTS)


def is_of_the_machine(error: BaseException | None) -> bool:
    """Whether `error`, or one that caused it, is about the machine rather than about a file."""
    while error is not None:
        texts = any(text in str(error) for text in OF_THE_MACHINE_TEXTS)
        numbers = isinstance(error, OSError) and error.errno in OF_THE_MACHINE
        if texts or numbers or isinstance(error, MemoryError):
            return True
        error = error.__cause__ or error.__context__
    return False


def advice(error: BaseException) -> str:
    """What to change so that the operation that raised `error` works; "" where nothing is known."""
    if is_full(error):
        return "free some disk space"
    number = getattr(error, "errno", None)
    if number in (errno.EMFILE, errno.ENFILE) or MANY_FILES_TEXT in str(error):
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return f"raise the limit on open files, which is {limit} (ulimit -n 4096)"
    return {
        errno.EACCES: "change its permissions",
        errno.EPERM: "change its permissions",
        errno.EROFS: "mount its disk for writing",
        errno.ENAMETOOLONG: "shorten the name",
        errno.ELOOP: "repair its links, which lead in a circle",
        errno.ESTALE: "mount its disk again",
        errno.EIO: "check the disk",
    }.get(number, "")


def joined(*parts: str) -> str:
    """The parts that are not empty, as alternatives: "a, b or c"."""
    *others, last = [part for part in parts if part]
    return f"{', '.join(others)} or {last}" if others else last
