"""Keeps compiled programs between processes."""

import os
import pathlib

import jax


def use_compilation_cache() -> None:
    """Keeps compiled programs between runs, so that a second start takes seconds."""
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        home = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
        jax.config.update("jax_compilation_cache_dir", str(pathlib.Path(home) / "hrjax"))
