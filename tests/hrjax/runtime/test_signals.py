"""Signals ask a run to stop."""

import os
import signal
import threading

import pytest

from hrjax.runtime import signals


@pytest.fixture
def interruptible():
    """Python's own SIGINT handler, which shells disable for background processes."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_the_first_signal_is_recorded_and_the_second_ends_the_process(interruptible):
    with signals.catch_stop_signals() as request:
        os.kill(os.getpid(), signal.SIGINT)
        assert request.signal == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_signal_handlers_are_restored():
    before = signal.getsignal(signal.SIGTERM)
    with signals.catch_stop_signals():
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_closed_terminal_asks_to_stop_unless_that_is_ignored():
    before = signal.getsignal(signal.SIGHUP)
    try:
        with signals.catch_stop_signals() as request:
            os.kill(os.getpid(), signal.SIGHUP)
            assert request.signal == signal.SIGHUP
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
        with signals.catch_stop_signals() as request:
            os.kill(os.getpid(), signal.SIGHUP)
            assert request.signal is None
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_thread_that_is_not_the_main_one_catches_nothing():
    def catch():
        with signals.catch_stop_signals() as request:
            caught.append(request.signal)

    caught = []
    thread = threading.Thread(target=catch)
    thread.start()
    thread.join()
    assert caught == [None]
