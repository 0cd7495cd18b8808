"""Names of signals, as errors about processes that were killed say them."""

from __future__ import annotations

import signal

from onnxzoo.signals import signal_name


def test_signals_are_named_as_the_manual_does_and_others_by_number():
    assert signal_name(signal.SIGKILL) == "SIGKILL"
    assert signal_name(signal.SIGTERM) == "SIGTERM"
    assert signal_name(1000) == "signal 1000"
