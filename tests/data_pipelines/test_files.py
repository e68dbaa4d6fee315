"""Only regular files are opened."""

import os
import pathlib
import socket

import pytest

from data_pipelines import files


def test_a_regular_file_and_a_link_to_one_pass(tmp_path):
    file, link = tmp_path / "a.pth", tmp_path / "b.pth"
    file.write_bytes(b"x")
    link.symlink_to(file)
    files.require_regular_file(file)
    files.require_regular_file(str(link))


def test_everything_else_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.pth")
    (tmp_path / "folder.pth").mkdir()
    (tmp_path / "link.pth").symlink_to("pipe.pth")
    kinds = {"pipe.pth": "named pipe", "folder.pth": "directory", "link.pth": "named pipe"}
    for name, kind in kinds.items():
        with pytest.raises(ValueError, match=rf"{name} is a {kind}; expected a regular file"):
            files.require_regular_file(tmp_path / name)
    with pytest.raises(ValueError, match=r"/dev/zero is a device; expected a regular file"):
        files.require_regular_file("/dev/zero")


def test_a_socket_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # a socket's path is at most 107 characters long
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("a.pth")
        with pytest.raises(ValueError, match=r"a\.pth is a socket; expected a regular file"):
            files.require_regular_file("a.pth")


def test_a_missing_file_and_an_impossible_name_are_errors(tmp_path):
    with pytest.raises(FileNotFoundError, match="missing"):
        files.require_regular_file(tmp_path / "missing.pth")
    with pytest.raises(ValueError, match=r"cannot be the name of a file"):
        files.require_regular_file(pathlib.Path("a\0b.pth"))
