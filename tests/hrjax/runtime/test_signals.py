"""Signals ask a run to stop."""

import os
import signal

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
