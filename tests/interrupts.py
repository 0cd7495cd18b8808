"""Interrupting a call at any of its lines."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Collection
from types import FrameType


def interrupted_at(moment: int, action: Callable[[], object], inside: Collection[str | None]) -> bool:
    """Whether the action was interrupted; `moment` counts the lines and returns in the files `inside`."""
    left = moment

    def trace(frame: FrameType, event: str, _argument: object) -> Callable[..., object] | None:
        nonlocal left
        if frame.f_code.co_filename not in inside:
            return None
        # Python does not interrupt a generator between its `yield` and its caller.
        if event == "line" or (event == "return" and not frame.f_code.co_flags & inspect.CO_GENERATOR):
            left -= 1
            if left < 0:
                sys.settrace(None)
                raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        action()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
    return False
