"""A work directory belongs to one process at a time."""

import contextlib
import errno
import fcntl
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from hrjax.runtime import workdir_lock

ROOT = pathlib.Path(__file__).parents[3]
HOLD = """
import pathlib, subprocess, sys, time
from hrjax.runtime import workdir_lock
with workdir_lock.hold(pathlib.Path(sys.argv[1])):
    child = subprocess.Popen(["sleep", "60"])  # must not keep the lock
    print(child.pid, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """A process that holds tmp_path/run, and has a child."""
    command = [sys.executable, "-c", HOLD, str(tmp_path / "run")]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    child = int(process.stdout.readline())
    yield process
    process.kill()
    process.wait()
    os.kill(child, signal.SIGKILL)
    process.stdout.close()


@pytest.fixture
def quick(monkeypatch):
    """Heartbeats that follow one another quickly."""
    monkeypatch.setattr(workdir_lock, "HEARTBEAT", 0.05)
    monkeypatch.setattr(workdir_lock, "WATCH", 0.4)
    monkeypatch.setattr(workdir_lock, "SETTLE", 0.05)


@pytest.fixture
def no_locks(monkeypatch, quick):
    """A file system that has no locks."""

    def refuse(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)


def test_a_second_process_is_refused_and_told_who_holds_it(holder, tmp_path):
    asked = time.monotonic()
    with pytest.raises(workdir_lock.InUseError) as caught, workdir_lock.hold(tmp_path / "run"):
        pass
    assert time.monotonic() - asked < 1
    message = str(caught.value)
    assert str(tmp_path / "run") in message
    assert f"process {holder.pid} on {socket.gethostname()}" in message
    assert f" since {time.strftime('%Y-')}" in message
    assert "workdir_lock.hold" in message  # its command
    assert [file.name for file in (tmp_path / "run").iterdir()] == ["in_use.json"]


def test_another_path_to_the_same_folder_is_refused_too(holder, tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "run")
    for path in (tmp_path / "link", tmp_path / "x" / ".." / "run"):
        (tmp_path / "x").mkdir(exist_ok=True)
        with pytest.raises(workdir_lock.InUseError), workdir_lock.hold(path):
            pass


def test_a_killed_holder_does_not_block_the_next_even_if_its_children_live(holder, tmp_path):
    holder.kill()
    holder.wait()
    assert (tmp_path / "run" / "in_use.json").is_file()
    asked = time.monotonic()
    with workdir_lock.hold(tmp_path / "run"):
        assert time.monotonic() - asked < 1
        text = json.loads((tmp_path / "run" / "in_use.json").read_text())
        assert text["pid"] == os.getpid()


def test_what_was_made_for_the_lock_is_removed(tmp_path):
    with contextlib.suppress(ZeroDivisionError), workdir_lock.hold(tmp_path / "runs" / "a"):
        assert (tmp_path / "runs" / "a" / "in_use.json").is_file()
        raise ZeroDivisionError
    assert not (tmp_path / "runs").exists()
    with workdir_lock.hold(tmp_path / "runs" / "a"):
        (tmp_path / "runs" / "a" / "config.json").write_text("{}")
    assert [file.name for file in (tmp_path / "runs" / "a").iterdir()] == ["config.json"]
    (tmp_path / "own").mkdir()
    with workdir_lock.hold(tmp_path / "own"):
        pass
    assert (tmp_path / "own").is_dir()


def test_a_refusal_leaves_the_lock_and_the_folder_to_the_holder(tmp_path):
    with workdir_lock.hold(tmp_path / "run"):
        for _ in range(3):
            with pytest.raises(workdir_lock.InUseError), workdir_lock.hold(tmp_path / "run"):
                pass
        assert (tmp_path / "run" / "in_use.json").is_file()
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"pid": 1}', '{"host": 1}', "\0" * 99, "[" * 9999]
)
def test_a_damaged_lock_file_that_nobody_holds_is_taken(tmp_path, text):
    (tmp_path / "in_use.json").write_text(text)
    with workdir_lock.hold(tmp_path):
        assert json.loads((tmp_path / "in_use.json").read_text())["pid"] == os.getpid()


def leave(folder, **changes):
    """The lock file of a process that has ended on another machine."""
    fields = {"host": "node7", "pid": 5, "since": "then", "command": "train", "boot": "b"}
    (folder / "in_use.json").write_text(json.dumps(fields | changes))


def test_a_lock_left_on_another_machine_is_taken_after_watching_it(tmp_path, quick, caplog):
    leave(tmp_path)
    with workdir_lock.hold(tmp_path):
        pass
    assert "was left by process 5 on node7; watching for" in caplog.text


@pytest.mark.parametrize("locks", [True, False])
def test_a_heartbeat_on_another_machine_is_respected(tmp_path, quick, request, locks):
    # As on a disk whose locks are known to one machine only, or which has none.
    if not locks:
        request.getfixturevalue("no_locks")
    leave(tmp_path)
    ended = threading.Event()

    def beat():
        while not ended.wait(0.05):
            os.utime(tmp_path / "in_use.json")

    thread = threading.Thread(target=beat)
    thread.start()
    with pytest.raises(workdir_lock.InUseError, match="process 5 on node7 trains there since then"):
        workdir_lock.hold(tmp_path).__enter__()
    ended.set()
    thread.join()
    assert json.loads((tmp_path / "in_use.json").read_text())["pid"] == 5


def test_without_file_locks_the_heartbeat_decides(tmp_path, no_locks, caplog):
    with workdir_lock.hold(tmp_path / "run"):
        assert "has no file locks" in caplog.text
        with pytest.raises(workdir_lock.InUseError, match=f"process {os.getpid()} on "):
            workdir_lock.hold(tmp_path / "run").__enter__()
    assert not (tmp_path / "run").exists()
    (tmp_path / "in_use.json").write_text("cut o")
    with workdir_lock.hold(tmp_path):
        pass


def test_many_threads_that_take_turns_never_hold_it_together(tmp_path):
    inside, most, taken, deadline = [], [], [], time.monotonic() + 1.5

    def take():
        while time.monotonic() < deadline:
            try:
                with workdir_lock.hold(tmp_path / "runs" / "a"):
                    inside.append(1)
                    most.append(len(inside))
                    taken.append(1)
                    inside.pop()
            except workdir_lock.InUseError:
                pass

    threads = [threading.Thread(target=take) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) > 20
    assert max(most) == 1


def test_a_folder_that_cannot_be_written_says_why_and_what_to_change(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"can't write into the work directory .*file/run \(Not a"):
        workdir_lock.hold(tmp_path / "file" / "run").__enter__()
    with pytest.raises(OSError, match=r"file \(File exists.*remove the file that stands"):
        workdir_lock.hold(tmp_path / "file").__enter__()
    (tmp_path / "in_use.json").mkdir()
    with pytest.raises(OSError, match=r"\(Is a directory: .*in_use\.json\); choose another --work"):
        workdir_lock.hold(tmp_path).__enter__()
