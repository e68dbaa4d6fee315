"""Where compiled programs are cached."""

import jax
import pytest

from hrjax.runtime import compilation_cache


@pytest.fixture
def configured(monkeypatch):
    """What is set in JAX's config; nothing is really set."""
    values = {}
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(jax.config, "update", values.__setitem__)
    return values


def test_the_cache_is_below_the_home_or_the_cache_directory(configured, monkeypatch):
    monkeypatch.setenv("HOME", "/home/user")
    compilation_cache.use_compilation_cache()
    assert configured == {"jax_compilation_cache_dir": "/home/user/.cache/hrjax"}
    monkeypatch.setenv("XDG_CACHE_HOME", "/scratch")
    compilation_cache.use_compilation_cache()
    assert configured == {"jax_compilation_cache_dir": "/scratch/hrjax"}


def test_the_environments_own_choice_is_kept(configured, monkeypatch):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "/elsewhere")
    compilation_cache.use_compilation_cache()
    assert not configured


def test_a_user_without_a_home_directory_has_no_cache(configured, monkeypatch, caplog):
    def no_home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(compilation_cache.pathlib.Path, "home", no_home)
    compilation_cache.use_compilation_cache()
    assert not configured
    assert "compiled programs are not cached: Could not determine home" in caplog.text
