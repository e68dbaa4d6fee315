"""Checks of paths before anything is opened."""

import os
import pathlib
import stat

KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def require_regular_file(path: str | os.PathLike) -> None:
    """Raises an error unless a regular file, or a link to one, is at `path`.

    Opening a named pipe waits for a writer, and a device such as /dev/zero never ends.
    """
    path = pathlib.Path(path)
    try:
        mode = path.stat().st_mode
    except ValueError as error:  # a NUL character
        raise ValueError(f"{str(path)!r} cannot be the name of a file: {error}") from error
    if not stat.S_ISREG(mode):
        kind = KINDS.get(stat.S_IFMT(mode), "a special file")
        raise ValueError(f"{path} is {kind}; expected a regular file")
