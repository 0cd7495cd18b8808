"""The terminal that progress is shown on."""

from __future__ import annotations

import os
import shutil
import sys


def bar_size() -> dict[str, int]:
    """The arguments `ncols` and `nrows` for tqdm on a terminal that states no size (`docker run -t`, serial lines).

    tqdm takes 0 columns or rows for no room, and shows nothing. Empty where stderr has a size, which tqdm finds itself.
    """
    try:
        stated = os.get_terminal_size(sys.stderr.fileno())
    except (OSError, ValueError, AttributeError):  # not a terminal
        return {}
    if all(stated):
        return {}
    columns, rows = shutil.get_terminal_size()
    return {"ncols": columns, "nrows": rows}
