"""Where downloads are kept, under which names, and how processes share them."""

import logging
import os
import pathlib
import stat

import pytest

from data_pipelines.downloads import cache, locks


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("https://a.org/w.pth?x=../../y", "w.pth"),
        ("https://a.org/a%20b.pth", "a_b.pth"),
        ("https://a.org/%2e%2e%2f%2e%2e%2fw.pth", "_.._w.pth"),
        ("https://a.org/w%00.pth", "w_.pth"),
        ("https://a.org/a/..", ""),
        ("https://a.org/a/%2e%2e", ""),
        ("https://a.org/.hidden.pth", "hidden.pth"),
        (f"https://a.org/{'w' * 300}.pth", f"{'w' * 96}.pth"),
        (f"https://a.org/{'%C3%A9' * 300}.pth", f"{'_' * 96}.pth"),
        ("https://a.org/a\\..\\w.pth", "a_.._w.pth"),
    ],
)
def test_names_stay_inside_the_cache(address, name):
    assert cache.file_name(address) == name


def test_a_cache_that_cannot_be_used_is_replaced_by_a_temporary_one(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(cache.tempfile, "gettempdir", lambda: str(tmp_path))
    (tmp_path / "blocked").write_text("a file where a folder should be")
    monkeypatch.setenv("HRJAX_CACHE", str(tmp_path / "blocked" / "cache"))
    place = pathlib.PurePath("files/a/w.pth")
    file = cache.make(place)
    assert file.is_relative_to(tmp_path / f"hrjax-{os.getuid()}")
    assert stat.S_IMODE((tmp_path / f"hrjax-{os.getuid()}").stat().st_mode) == 0o700
    assert f"downloads are kept in {tmp_path}/hrjax-" in caplog.text
    file.write_bytes(b"x")
    assert cache.find(place) == cache.make(place) == file


def test_without_a_home_the_cache_is_temporary(tmp_path, monkeypatch):
    def no_home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("HRJAX_CACHE", raising=False)
    monkeypatch.setattr(cache.pathlib.Path, "home", no_home)
    monkeypatch.setattr(cache.tempfile, "gettempdir", lambda: str(tmp_path))
    assert cache.make(pathlib.PurePath("files/a/w.pth")).is_relative_to(tmp_path)


def test_a_folder_that_another_user_put_there_is_not_the_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(cache.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setenv("HRJAX_CACHE", "/dev/null/cache")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / f"hrjax-{os.getuid()}").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match=r"no folder for downloads: .*; set HRJAX_CACHE"):
        cache.make(pathlib.PurePath("files/a/w.pth"))


def test_a_disk_without_locks_gives_every_process_a_part_of_its_own(tmp_path, monkeypatch):
    def no_locks(*_):
        raise OSError(locks.errno.ENOLCK, "no locks")

    monkeypatch.setattr(locks.fcntl, "flock", no_locks)
    with cache.partial(tmp_path / "w") as one, cache.partial(tmp_path / "w") as two:
        assert one != two


def test_a_holder_that_makes_no_progress_does_not_block_others(tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(cache, "PATIENCE", 0.3)
    with cache.partial(tmp_path / "w") as one, cache.partial(tmp_path / "w") as two:
        assert one != two
    assert f"waiting for process {os.getpid()}, which has w" in caplog.text
    assert list(tmp_path.glob("*")) == [tmp_path / "w.lock"] or not list(tmp_path.glob("*"))
