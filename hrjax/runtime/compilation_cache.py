"""The persistent cache of compiled programs."""

import logging
import os
import pathlib

import jax

logger = logging.getLogger(__name__)


def use_compilation_cache() -> None:
    """Caches compiled programs on disk, so that the next start takes seconds.

    The folder is JAX_COMPILATION_CACHE_DIR, or hrjax in XDG_CACHE_HOME or ~/.cache. A user without
    a home directory, as in some containers, has no cache.
    """
    if "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    try:
        home = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    except RuntimeError as error:
        logger.warning("compiled programs are not cached: %s", error)
        return
    jax.config.update("jax_compilation_cache_dir", str(pathlib.Path(home) / "hrjax"))
