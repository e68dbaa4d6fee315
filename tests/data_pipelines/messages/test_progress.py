"""Progress is a bar on a terminal and lines in a log, and its rates leave out the first report."""

import io
import logging
import sys

import pytest

from data_pipelines.messages import progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """The time, which tests set."""
    now = {"seconds": 0.0}
    monkeypatch.setattr(progress.time, "monotonic", lambda: now["seconds"])
    return now


def test_a_log_gets_lines_from_time_to_time_and_nothing_is_redrawn(capsys, clock):
    with progress.Progress("packing", units="images", total=5000) as shown:
        for number in range(1, 6):
            clock["seconds"] = 20.0 * number
            shown.update(1000)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "packing: 2,000 of 5,000 images, 0:01:00 left",
        "packing: 4,000 of 5,000 images, 0:00:20 left",
        "packing: 5,000 of 5,000 images",
    ]


def test_short_work_leaves_nothing_in_a_log(capsys, clock):
    assert [*progress.over(iter("abc"), "reading", units="images")] == ["a", "b", "c"]
    with progress.Progress("evaluating", units="people", total=3, quiet=True) as shown:
        clock["seconds"] = 100.0
        shown.update(3)
        shown.report("half-way")
    assert capsys.readouterr().err == ""


def test_the_remaining_time_leaves_out_what_came_before_the_first_report(clock):
    shown = progress.Progress("training", units="steps", total=110, start=9, every=None)
    assert shown.left() == ""
    clock["seconds"] = 500.0  # compilation
    shown.update()
    assert shown.left() == ""
    clock["seconds"] = 502.0
    shown.update()
    assert shown.left() == ", 0:03:18 left"  # 99 steps of 2 seconds


def test_reports_are_lines_where_there_is_no_terminal(capsys):
    with progress.Progress("training", units="steps", total=1000, every=None) as shown:
        shown.update(50)
        shown.report("loss 0.1")
    assert capsys.readouterr().err == "training: 50 of 1,000 steps, loss 0.1\n"


def test_a_terminal_gets_a_bar_from_the_first_report_on_with_the_log_above_it(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    handler = logging.StreamHandler(terminal)
    monkeypatch.setattr(logging.getLogger(), "handlers", [handler])
    with progress.Progress("packing", units="images", total=3) as shown:
        assert terminal.getvalue() == ""
        shown.update()
        logging.getLogger("hrjax.x").warning("a warning")
        shown.say("a table")
        shown.report("loss 0.1")
    text = terminal.getvalue()
    assert "packing:" in text
    assert "1/3" in text
    assert "\ra warning\n" in text
    assert "\ra table\n" in text
    assert "loss 0.1" in text
    assert logging.getLogger().handlers == [handler]
    terminal.truncate(0)
    monkeypatch.setenv("TERM", "dumb")
    assert not progress.is_terminal()
