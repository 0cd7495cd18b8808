"""Returns freed memory to the operating system."""

from __future__ import annotations

import ctypes
import sys


def give_back_memory() -> None:
    """Make the C library return freed memory; does nothing except on Linux with glibc.

    glibc keeps the memory that a graph compiler has freed, about the size of the model's weights, and reuses it badly.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)
