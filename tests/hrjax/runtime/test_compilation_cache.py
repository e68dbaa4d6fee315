"""Where compiled programs are cached."""

import logging
import pathlib
import stat
import subprocess
import sys

import jax
import pytest

from hrjax.runtime import compilation_cache

ROOT = pathlib.Path(__file__).parents[3]


def test_a_compilation_is_announced_once(caplog):
    step = compilation_cache.Announced(jax.jit(lambda x: x + 1), "the step")
    assert step.lower(1).as_text()  # what else a jitted function has
    assert caplog.text == ""
    with caplog.at_level(logging.INFO):
        assert [int(step(1)), int(step(2))] == [2, 3]
    messages = [record.getMessage() for record in caplog.records if record.name.startswith("hrjax")]
    assert messages == ["compiling the step … (a minute or two, once)"]


@pytest.fixture
def configured(monkeypatch, tmp_path):
    """What is set in JAX's config; nothing is really set."""
    values = {}
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(jax.config, "update", values.__setitem__)
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(compilation_cache.tempfile, "tempdir", str(tmp_path / "temporary"))
    return values


def test_the_cache_is_below_the_home_or_the_cache_directory(configured, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    compilation_cache.use_compilation_cache()
    assert configured == {"jax_compilation_cache_dir": f"{tmp_path}/home/.cache/hrjax"}
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "scratch"))
    compilation_cache.use_compilation_cache()
    assert configured == {"jax_compilation_cache_dir": f"{tmp_path}/scratch/hrjax"}


def test_the_environments_own_choice_is_kept(configured, monkeypatch):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "/elsewhere")
    compilation_cache.use_compilation_cache()
    assert not configured


@pytest.mark.parametrize("home", ["/dev/null", "/proc/x", "\0"])
def test_a_home_that_cannot_be_written_is_replaced_by_a_private_folder(
    configured, monkeypatch, caplog, home
):
    monkeypatch.setattr(compilation_cache.pathlib.Path, "home", lambda: pathlib.Path(home))
    compilation_cache.use_compilation_cache()
    folder = pathlib.Path(configured["jax_compilation_cache_dir"])
    assert folder.parent.name == "temporary"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert caplog.text.count("\n") == 1
    assert f"compiled programs are cached in {folder}: " in caplog.text
    compilation_cache.use_compilation_cache()
    assert configured["jax_compilation_cache_dir"] == str(folder)


def test_a_user_without_a_home_directory_has_a_cache(configured, monkeypatch, caplog):
    def no_home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(compilation_cache.pathlib.Path, "home", no_home)
    compilation_cache.use_compilation_cache()
    assert configured
    assert ": Could not determine home directory." in caplog.text


def test_a_folder_that_others_can_write_into_is_not_used(configured, monkeypatch, tmp_path):
    monkeypatch.setattr(compilation_cache.pathlib.Path, "home", lambda: pathlib.Path("/dev/null"))
    compilation_cache.use_compilation_cache()
    planted = pathlib.Path(configured["jax_compilation_cache_dir"])
    planted.chmod(0o777)
    compilation_cache.use_compilation_cache()
    assert configured["jax_compilation_cache_dir"] != str(planted)
    planted.rmdir()
    planted.symlink_to(tmp_path)
    compilation_cache.use_compilation_cache()
    assert configured["jax_compilation_cache_dir"] != str(planted)


PROGRAM = """
import jax, sys
jax.config.update("jax_compilation_cache_dir", sys.argv[1])
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
print(float(jax.jit(lambda x: (x * 2).sum())(jax.numpy.ones(3))))
"""


@pytest.mark.parametrize("damage", [b"", b"\x28\xb5\x2f\xfd", None])
def test_a_program_that_was_cut_short_in_the_cache_is_compiled_again(tmp_path, damage):
    # As another process may still be writing it, or was killed while it did.
    command = [sys.executable, "-c", PROGRAM, str(tmp_path)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "6.0\n"
    files = list(tmp_path.glob("*-cache"))
    assert files
    for file in files:
        whole = file.read_bytes()
        file.write_bytes(whole[: len(whole) // 2] if damage is None else damage)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "6.0\n")
