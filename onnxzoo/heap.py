"""Memory that was freed goes back to the operating system."""

from __future__ import annotations

import ctypes
import sys


def give_back_memory() -> None:
    """Ask the C library for it; elsewhere than on Linux with glibc, nothing happens.

    glibc keeps what a compiler of graphs has freed, about the size of the model's weights, and uses it badly again.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)
