"""The cache of downloads: where it is, and how processes share it."""

import contextlib
import logging
import os
import pathlib
import re
import tempfile
import time
import urllib.parse
from collections.abc import Iterator

from data_pipelines.downloads import locks

logger = logging.getLogger(__name__)

MAX_NAME = 100  # characters
PATIENCE = 40  # seconds to wait for another process's download that does not grow


def find(place: pathlib.PurePath) -> pathlib.Path | None:
    """The file at a place below the cache, or None."""
    return next((root / place for root, _ in _roots() if os.path.isfile(root / place)), None)


def make(place: pathlib.PurePath) -> pathlib.Path:
    """A path for a file at a place below the cache, in a folder that can be written.

    The cache is $HRJAX_CACHE or ~/.cache/hrjax, or a folder among the temporary files where there
    is no home folder or it cannot be written.
    """
    problem = "there is no home folder"
    for root, is_temporary in _roots(make=True):
        path = root / place
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            problem = str(error)
            continue
        if os.access(path.parent, os.W_OK | os.X_OK):
            if is_temporary:
                logger.warning("downloads are kept in %s (%s)", root, problem)
            return path
        problem = f"{path.parent} cannot be written"
    raise OSError(f"no folder for downloads: {problem}; set HRJAX_CACHE to one that can be written")


def file_name(address: str) -> str:
    """A plain name for the file at an address, with its ending; "" where it names none."""
    path = urllib.parse.urlsplit(address).path
    name = re.sub(r"[^\w.+-]", "_", urllib.parse.unquote(path.rpartition("/")[2]), flags=re.ASCII)
    return name[-MAX_NAME:].lstrip(".")


@contextlib.contextmanager
def partial(file: pathlib.Path) -> Iterator[pathlib.Path]:
    """The path to download `file` to, which no other process writes to at the same time.

    It is the same one for every process, so that interrupted downloads resume, and a lock that
    ends with its process guards it. Where another process holds the lock and makes no progress, or
    the disk has no locks, it is a new one, removed at the end.
    """
    lock = file.with_name(f"{file.name}.lock")
    part = file.with_name(f"{file.name}.part")
    descriptor, _ = locks.acquire(lock, file.name, _stalled(part))
    if descriptor is None:
        with tempfile.TemporaryDirectory(prefix=f"{file.name}.", dir=file.parent) as folder:
            yield pathlib.Path(folder, part.name)
        return
    try:
        yield part
    finally:
        locks.release(lock, descriptor)


def _stalled(part):
    """A function that says whether a part has not grown for a while."""
    size, since = None, time.monotonic()

    def is_stalled():
        nonlocal size, since
        now = part.stat().st_size if part.exists() else None
        if now != size:
            size, since = now, time.monotonic()
        return time.monotonic() - since > PATIENCE

    return is_stalled


def _roots(make=False):
    """The folders that the cache may be in, the best first, and whether they are temporary."""
    if os.environ.get("HRJAX_CACHE"):
        yield pathlib.Path(os.environ["HRJAX_CACHE"]), False
    else:
        with contextlib.suppress(RuntimeError):  # HOME is not set and the user is not known
            yield pathlib.Path.home() / ".cache" / "hrjax", False
    with contextlib.suppress(OSError):
        root = pathlib.Path(tempfile.gettempdir()) / f"hrjax-{os.getuid()}"
        if make:
            root.mkdir(mode=0o700, exist_ok=True)
        # Another user could have made it, to put files of theirs there.
        if not root.is_symlink() and root.stat().st_uid == os.getuid():
            yield root, True
