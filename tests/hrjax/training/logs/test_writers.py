"""A slow or broken place for the log neither holds a run up nor ends it."""

import threading
import time

import numpy as np
import pytest

from hrjax.training.logs.writers import Background


class Place:
    """Takes reports; fails as often as `failures` says, and waits for `may_go_on`."""

    def __init__(self, failures=0):
        self.failures, self.reports, self.closed = failures, [], None
        self.may_go_on = threading.Event()
        self.may_go_on.set()

    def write(self, step, numbers, images):
        self.may_go_on.wait(30)
        if self.failures:
            self.failures -= 1
            raise ConnectionError("no route to host\nand more")
        self.reports.append((step, numbers, images))

    def close(self, *, failed=False):
        self.closed = failed


@pytest.mark.parametrize("failed", [False, True])
def test_reports_arrive_in_order_and_the_end_is_told(failed, caplog):
    place = Place()
    writer = Background("Place", lambda: place)
    picture = np.zeros((2, 3, 3), np.uint8)
    writer.write(1, {"loss": 1.0}, {})
    writer.write(2, {"loss": 0.5}, {"people": picture})
    writer.close(failed=failed)
    assert [report[:2] for report in place.reports] == [(1, {"loss": 1.0}), (2, {"loss": 0.5})]
    assert place.reports[1][2]["people"] is picture
    assert place.closed is failed
    assert caplog.text == ""


def test_a_network_that_is_gone_is_said_once_and_so_is_its_return(caplog):
    place = Place(failures=3)
    writer = Background("Place", lambda: place)
    for step in range(1, 6):
        writer.write(step, {}, {})
    writer.close()
    assert [step for step, *_ in place.reports] == [4, 5]
    assert caplog.text.count("Place can't be written to (no route to host); the run goes on") == 1
    assert caplog.text.count("Place works again; 3 reports are lost") == 1
    assert "and more" not in caplog.text


def test_a_place_that_hangs_holds_up_neither_the_steps_nor_the_end(caplog):
    place = Place()
    place.may_go_on.clear()
    writer = Background("Place", lambda: place, waiting=2, last_wait=0.05)
    started = time.monotonic()
    for step in range(1, 100):
        writer.write(step, {}, {})
    writer.close()
    assert time.monotonic() - started < 5
    assert caplog.text.count("2 reports wait already") == 1
    assert "Place has not taken the last reports within 0.05 seconds" in caplog.text
    place.may_go_on.set()


def test_a_place_that_cannot_be_opened_is_said_once(caplog):
    def fail():
        raise ConnectionError("no network\nTraceback")

    writer = Background("Place", fail, waiting=2)
    for step in range(1, 100):
        writer.write(step, {}, {})
    writer.close()
    assert caplog.text.count("nothing is logged to Place (no network); the run goes on") == 1
    assert "Traceback" not in caplog.text


def test_a_place_that_opens_slowly_gets_what_was_written_meanwhile():
    place, may_open = Place(), threading.Event()
    writer = Background("Place", lambda: may_open.wait(30) and place)
    writer.write(1, {}, {})
    may_open.set()
    writer.close()
    assert [step for step, *_ in place.reports] == [1]
