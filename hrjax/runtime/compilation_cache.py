"""The persistent cache of compiled programs."""

import logging
import os
import pathlib
import stat
import tempfile
from collections.abc import Callable

import jax

logger = logging.getLogger(__name__)

NAME = "jax_compilation_cache_dir"


def use_compilation_cache() -> None:
    """Caches compiled programs on disk, so that the next start takes seconds.

    The folder is JAX_COMPILATION_CACHE_DIR, or hrjax in XDG_CACHE_HOME or ~/.cache. Where that
    can't be written, as for a user without a home directory, it is one in the temporary folder that
    only this user can write into: programs from it are run.
    """
    if "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    try:
        folder = _of_the_user()
        folder.mkdir(parents=True, exist_ok=True)
        problem = "" if os.access(folder, os.W_OK | os.X_OK) else f"{folder} can't be written"
    except (OSError, RuntimeError, ValueError) as error:
        problem = str(error)
    if problem:
        folder = _private()
        logger.warning("compiled programs are cached in %s: %s", folder, problem)
    jax.config.update(NAME, str(folder))


def _of_the_user():
    home = os.environ.get("XDG_CACHE_HOME")
    # Without HOME and without an entry for the user, home() raises a RuntimeError.
    return (pathlib.Path(home) if home else pathlib.Path.home() / ".cache") / "hrjax"


def _private():
    """A folder of this user in the temporary one, a new one if another user made that."""
    folder = pathlib.Path(tempfile.gettempdir(), f"hrjax-{os.getuid()}")
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
    except OSError:
        return pathlib.Path(tempfile.mkdtemp(prefix="hrjax-"))
    others = stat.S_IWGRP | stat.S_IWOTH
    if (
        stat.S_ISDIR(status.st_mode)
        and status.st_uid == os.getuid()
        and not status.st_mode & others
    ):
        return folder
    return pathlib.Path(tempfile.mkdtemp(prefix="hrjax-"))


class Announced:
    """A jitted function that says in the log before its first call that it is compiled.

    `what` names it. The line comes before the wait, which without it looks like a hang.
    """

    def __init__(self, function: Callable, what: str):
        self._function, self._what, self._is_new = function, what, True

    def __call__(self, *arguments: object) -> object:
        if self._is_new:
            self._is_new = False
            logger.info("compiling %s … (a minute or two, once)", self._what)
        return self._function(*arguments)

    def __getattr__(self, name: str) -> object:
        return getattr(self._function, name)
