"""Only regular files are read, and writing a file never changes another one."""

import os
import socket
import subprocess
import sys

import pytest

from data_pipelines import files

needs_pipes = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")


@needs_pipes
@pytest.mark.parametrize("linked", [False, True])
def test_a_pipe_is_named_and_not_waited_for(tmp_path, linked):
    path = tmp_path / "a.json"
    os.mkfifo(path)
    if linked:
        path = tmp_path / "link.json"
        path.symlink_to("a.json")
    with pytest.raises(ValueError, match=rf"{path.name} is a named pipe; expected a regular file"):
        files.read_bytes(path, limit=100)


def test_folders_sockets_and_devices_are_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    server = socket.socket(socket.AF_UNIX)
    server.bind("s")  # the path of a socket has at most 107 characters
    for path, kind in ((tmp_path, "a directory"), (tmp_path / "s", "a socket")):
        with pytest.raises(ValueError, match=f"{path} is {kind}; expected a regular file"):
            files.require_regular_file(path)
    server.close()
    (tmp_path / "zero").symlink_to("/dev/zero")
    with pytest.raises(ValueError, match="zero is a device"):
        files.read_bytes(tmp_path / "zero", limit=100)
    with pytest.raises(FileNotFoundError):
        files.require_regular_file(tmp_path / "gone")
    with pytest.raises(ValueError, match="cannot be the name of a file"):
        files.require_regular_file("a\0b")


def test_a_file_of_more_bytes_than_the_limit_is_not_read(tmp_path):
    path = tmp_path / "a"
    with path.open("wb") as file:
        file.truncate(10**12)  # takes no space
    with pytest.raises(ValueError, match=r"a has 1,000,000,000,000 bytes; at most 1,000 are read"):
        files.read_bytes(path, limit=1000)
    path.write_bytes(b"x" * 1000)
    assert files.read_bytes(path, limit=1000) == b"x" * 1000


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="needs /proc")
def test_a_file_that_states_no_size_is_not_read():
    with pytest.raises(ValueError, match="/proc/self/status grew while it was read"):
        files.read_bytes("/proc/self/status", limit=1000)


def test_writing_replaces_links_and_leaves_what_they_lead_to(tmp_path):
    original = tmp_path / "original"
    original.write_text("mine")
    (tmp_path / "link").symlink_to("original")
    os.link(original, tmp_path / "hard")
    for name in ("link", "hard"):
        files.write_text(tmp_path / name, "new")
        assert (tmp_path / name).read_text() == "new"
    assert original.read_text() == "mine"
    assert sorted(os.listdir(tmp_path)) == ["hard", "link", "original"]


def test_text_is_utf8_and_what_is_not_is_escaped(tmp_path):
    files.write_text(tmp_path / "a", "café \udcff █")
    assert (tmp_path / "a").read_bytes() == "café \\udcff █".encode()


def test_a_file_that_cannot_be_written_leaves_nothing_behind(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="folder"):
        files.write_text(tmp_path / "folder", "text")
    assert os.listdir(tmp_path) == ["folder"]


@needs_pipes
def test_a_pipe_and_stdout_are_written_to(tmp_path):
    code = "from data_pipelines import files; files.write_text('/dev/stdout', 'text')"
    before = os.readlink("/dev/stdout")
    output = subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.PIPE)
    assert output.stdout == b"text"
    with (tmp_path / "out").open("wb") as file:
        subprocess.run([sys.executable, "-c", code], check=True, stdout=file)
    assert (tmp_path / "out").read_bytes() == b"text"
    assert os.readlink("/dev/stdout") == before


def test_files_are_the_same_through_links_and_dots(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "link").symlink_to("a")
    assert files.is_same(tmp_path / "a", tmp_path / "link")
    assert files.is_same(tmp_path / "a", tmp_path / "a" / ".." / "a")
    assert files.is_same(tmp_path / "a" / "gone", tmp_path / "link" / "gone")
    assert not files.is_same(tmp_path / "a", tmp_path)


@pytest.mark.parametrize("output", ["a.json", "link.json", "hard.json", "folder/../a.json"])
def test_an_output_that_is_an_input_is_refused(tmp_path, output):
    (tmp_path / "a.json").write_text("[]")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link.json").symlink_to("a.json")
    os.link(tmp_path / "a.json", tmp_path / "hard.json")
    inputs = [tmp_path / "gone", tmp_path / "a.json"]
    with pytest.raises(ValueError, match=r"the output .* would replace the input .*a\.json"):
        files.require_no_input([tmp_path / "new", tmp_path / output], inputs)
    files.require_no_input([tmp_path / "new"], inputs)


def test_names_in_two_cases_are_one_where_the_folder_takes_them_so(tmp_path, monkeypatch):
    outputs = {tmp_path / "new" / "x.jpg": "a/x.jpg", tmp_path / "new" / "X.jpg": "b/x.jpg"}
    files.require_different(outputs)
    monkeypatch.setattr(files, "_ignores_case", lambda folder: True)
    with pytest.raises(ValueError, match=r"a/x\.jpg and b/x\.jpg would be written to the same"):
        files.require_different(outputs)
    files.require_different(dict(list(outputs.items())[:1]))


@pytest.mark.parametrize("name", ["a.jpg", "b/a.jpg", "..a/b...jpg", "é█.jpg", "\udcff.jpg"])
def test_names_of_files_below_a_folder(name):
    assert files.name_problem(name) == ""
    assert files.below("images", name) == f"images/{name}"


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        (5, "expected the name of a file"),
        ("", "expected the name of a file"),
        ("a\0b", "expected the name of a file"),
        ("\ud800", "expected valid Unicode"),
        ("../a.jpg", "doesn't lead out of its folder"),
        ("a/../../b.jpg", "doesn't lead out of its folder"),
        ("/etc/passwd", "doesn't lead out of its folder"),
    ],
)
def test_names_that_lead_elsewhere_are_refused(name, problem):
    if name != "/etc/passwd":
        assert problem in files.name_problem(name)
    if isinstance(name, str):
        with pytest.raises(ValueError, match=problem):
            files.below("images", name)


def test_an_absolute_name_may_lead_into_the_folder(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path)
    assert files.below(tmp_path / "link", f"{tmp_path}/a.jpg") == f"{tmp_path}/a.jpg"
    with pytest.raises(ValueError, match="doesn't lead out"):
        files.below(tmp_path / "images", f"{tmp_path}/images2/a.jpg")
