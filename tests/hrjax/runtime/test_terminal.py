"""Commands keep going without their streams, and end in one message and a status."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from hrjax.runtime import terminal

ROOT = pathlib.Path(__file__).parents[3]
START = "import os, pathlib, sys, time\nfrom hrjax.runtime import terminal\n"


def shell(program, redirection, *, before=""):
    """Runs a Python program in bash after some command, with its streams redirected."""
    command = f'{before} "$0" -c "$1" {redirection}'
    return subprocess.run(
        ["bash", "-c", command, sys.executable, START + program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-", "<&- 2>&-"])
def test_no_file_gets_the_number_of_a_closed_stream(tmp_path, closed):
    program = f"""
def main():
    file = open({str(tmp_path / "file")!r}, "w")
    print("to stdout"); print("to stderr", file=sys.stderr); os.write(2, b"from a library")
    sys.stdin.read(); input
    file.write(f"{{file.fileno() > 2}}")
terminal.run(main)
"""
    assert shell(program, closed).returncode == 0
    assert (tmp_path / "file").read_text() == "True"


def test_a_closed_pipe_does_not_end_the_command(tmp_path):
    program = f"""
import logging, tqdm
def main():
    for number in tqdm.tqdm(range(20000), mininterval=0):
        print(f"line {{number}}", flush=True)
        logging.getLogger("hrjax.x").warning("warning %d", number)
    pathlib.Path({str(tmp_path / "done")!r}).write_text("")
terminal.run(main)
"""
    done = shell(program, "2>&1 | head -3; echo ${PIPESTATUS[0]}")
    assert (tmp_path / "done").exists()
    assert done.stdout.split("\n")[-2] == "0"
    assert done.stderr == ""


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="/dev/full is Linux's full disk")
def test_a_full_disk_ends_in_an_error_only_for_the_output():
    program = "terminal.run(lambda: print('result', file=sys.std{}))"
    lost = shell(program.format("out"), ">/dev/full")
    assert lost.returncode == 1
    assert lost.stderr.startswith("error: the output is not complete: [Errno 28] No space left")
    assert shell(program.format("err"), "2>/dev/full").returncode == 0


def test_a_reader_that_is_slower_than_the_command_loses_nothing():
    program = """
os.set_blocking(1, False)
terminal.run(lambda: [print("x" * 99, flush=True) for _ in range(10000)] and 0)
"""
    done = shell(program, "| (sleep 1; wc -c)")
    assert done.stdout.strip() == "1000000"


@pytest.mark.parametrize("before", ["", "PYTHONUNBUFFERED=1"])
def test_both_streams_in_one_log_keep_their_order(before):
    program = """
def main():
    for number in range(3):
        print("result", number); print("log", number, file=sys.stderr)
terminal.run(main)
"""
    lines = [f"{name} {number}" for number in range(3) for name in ("result", "log")]
    assert shell(program, "2>&1 | cat", before=before).stdout.splitlines() == lines


def test_names_that_the_terminal_cannot_show_are_escaped():
    program = r"terminal.run(lambda: print('\u2192 \udcff'))"
    done = shell(program, "", before="PYTHONIOENCODING=ascii")
    assert (done.returncode, done.stdout) == (0, "\\u2192 \\udcff\n")


@pytest.mark.parametrize(
    ("statement", "status", "message"),
    [
        ("pass", 0, ""),
        ("return 3", 3, ""),
        ("sys.exit(4)", 4, ""),
        ("sys.exit('error: no')", 1, "error: no\n"),
        ("raise ValueError('a message')", 1, "error: a message\n"),
        ("raise KeyboardInterrupt", 130, "interrupted\n"),
        ("raise OSError(30, 'Read-only file system', 'x')", 1, "'x'; mount its disk for writing\n"),
        ("raise OSError(28, 'No space left on device', 'x')", 1, "'x'; free some disk space\n"),
        ("raise OSError(24, 'Too many open files')", 1, "raise the limit on open files, which is "),
        ("raise MemoryError", 1, "error: not enough memory"),
        ("raise RuntimeError('can\\'t start new thread')", 1, "(ulimit -u"),
    ],
)
def test_each_end_has_its_status_and_at_most_one_message(statement, status, message):
    done = shell(f"def main():\n    {statement}\nterminal.run(main)", "")
    assert done.returncode == status
    assert message in done.stderr
    assert done.stderr.count("\n") <= 1


def test_errors_that_are_ours_keep_their_traceback(capsys):
    with pytest.raises(ZeroDivisionError):
        terminal.guard(lambda: 1 / 0)
    assert terminal.guard(lambda: 1 / 0, explain=str) == 1
    assert capsys.readouterr().err == "error: division by zero\n"
    with pytest.raises(ValueError, match="invalid literal"):
        terminal.guard(lambda: int("x"), debug=True)


def test_a_limit_that_is_too_low_is_named_at_the_start():
    few = shell("terminal.run(lambda: print('begun'))", "", before="ulimit -n 20;")
    assert few.returncode == 1
    assert few.stderr.startswith("error: the limit on open files is 20, and at least 48 are needed")
    assert few.stdout == ""
    assert shell("terminal.run(lambda: 0)", "", before="ulimit -n 64;").returncode == 0


# Computes in C for a minute, in which no Python handler can run, as while XLA compiles. Shells
# disable SIGINT for background processes, of which the tests may be one.
COMPUTE = """
import hashlib, signal
signal.signal(signal.SIGINT, signal.default_int_handler)
def main():
    {}
    print("begun", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)
terminal.run(main)
"""


@pytest.mark.parametrize("in_a_run", [False, True])
def test_ctrl_c_in_a_long_compilation_is_answered_and_the_second_one_ends_it(in_a_run):
    catch = (
        "from hrjax.runtime import signals; held = signals.catch_stop_signals(); held.__enter__()"
    )
    program = START + COMPUTE.format(catch if in_a_run else "")
    number = signal.SIGTERM if in_a_run else signal.SIGINT
    with subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, stdout=-1, stderr=-1, text=True
    ) as process:
        try:
            assert process.stdout.readline() == "begun\n"
            time.sleep(0.5)
            asked = time.monotonic()
            process.send_signal(number)
            line = process.stderr.readline()
            assert line.startswith(f"{number.name}: ending when the program that is being compiled")
            assert time.monotonic() - asked < 5
            process.send_signal(number)
            assert process.wait(timeout=20) == 128 + number
        finally:
            process.kill()


def test_a_signal_in_a_long_compilation_ends_a_run_that_has_nothing_to_save():
    catch = (
        "from hrjax.runtime import signals; held = signals.catch_stop_signals(); "
        "held.__enter__().nothing_to_save = True"
    )
    program = START + COMPUTE.format(catch)
    with subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, stdout=-1, stderr=-1, text=True
    ) as process:
        try:
            assert process.stdout.readline() == "begun\n"
            time.sleep(0.5)
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=5) == 128 + signal.SIGTERM
            assert (
                process.stderr.read() == "SIGTERM: ending before the first step; nothing is lost\n"
            )
        finally:
            process.kill()
