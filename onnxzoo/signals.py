"""Termination signals: clean up before the process ends, whatever handlers libraries install."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Iterator
from types import FrameType

TERMINATING = tuple(signal.Signals[name] for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))
"""Signals that ask a process to end; SIGHUP is sent when its terminal is closed."""

# Size of C's `struct sigaction`, with room to spare on every system.
_SIGACTION_BYTES = 512
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


class Terminated(SystemExit):
    """Raised in the main thread by a signal of TERMINATING; ends the process with 128 + the signal's number."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.signal = signal.Signals(number)


def signal_name(number: int) -> str:
    """The name of a signal, such as SIGKILL; `signal NUMBER` for one without a name on this system."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def raise_when_terminated() -> None:
    """Let TERMINATING raise Terminated, so that temporary files are removed and children end, as they do on Ctrl-C.

    Ignored signals stay ignored, as `nohup` expects. Call it in the main thread; in others it does nothing.
    """
    with contextlib.suppress(ValueError):
        for number in TERMINATING:
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, _raise)


def _raise(number: int, _frame: FrameType | None) -> None:
    # A second one must not interrupt the clean-up that the first began.
    for other in TERMINATING:
        signal.signal(other, signal.SIG_IGN)
    raise Terminated(number)


@contextlib.contextmanager
def handlers_kept() -> Iterator[None]:
    """Restore the signal handlers after the block, an import of C++ modules, in whatever thread it runs."""
    if sys.platform == "win32":
        yield
        return
    import ctypes

    sigaction = ctypes.CDLL(None).sigaction
    before = {}
    for code in map(int, signal.valid_signals()):
        action = ctypes.create_string_buffer(_SIGACTION_BYTES)
        if sigaction(code, None, action) == 0:
            before[code] = action
    try:
        yield
    finally:
        for code, action in before.items():
            sigaction(code, action, None)


def end_with_parent() -> None:
    """Let Linux kill this process when its parent dies, even by SIGKILL; does nothing on other systems."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
