"""What to do about an error of the operating system, by its number."""

import errno
import resource

FULL = (errno.ENOSPC, errno.EDQUOT)
# How libraries that pass errors on as text word the two above.
FULL_TEXTS = ("No space left on device", "Disk quota exceeded")
MANY_FILES_TEXT = "Too many open files"


def is_full(error: BaseException) -> bool:
    """Whether `error` says that a disk or a quota is full."""
    return getattr(error, "errno", None) in FULL or any(x in str(error) for x in FULL_TEXTS)


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
        errno.ENOTDIR: "remove the file that stands where a folder is expected",
        errno.EEXIST: "remove the file that stands where a folder is expected",
        errno.ENAMETOOLONG: "shorten the name",
        errno.ELOOP: "repair its links, which lead in a circle",
        errno.ESTALE: "mount its disk again",
        errno.EIO: "check the disk",
    }.get(number, "")


def joined(*parts: str) -> str:
    """The parts that are not empty, as alternatives: "a, b or c"."""
    *others, last = [part for part in parts if part]
    return f"{', '.join(others)} or {last}" if others else last
