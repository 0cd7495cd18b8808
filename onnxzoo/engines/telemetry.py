"""Importing the libraries of the engines without their telemetry, which is on by default in both.

openvino imports the package openvino_telemetry when it is there. That sends a request with a persistent id to Google
Analytics, waits for it behind a proxy that drops packets, starts a helper process (which runs the user's script a
second time under the start methods spawn and forkserver), writes files to ~/intel, and adds a handler to the root
logger. Where it cannot be imported, openvino uses a stub of its own, and its answers are the same.

onnxruntime from 1.29 on writes a persistent id and a database of events to ~/.cache/Microsoft/DeveloperTools while it
is imported, and sends them to Microsoft some seconds later: versions, providers, names and hashes of models (its file
Privacy.md; `disable_telemetry_events()` comes too late). ORT_DISABLE_TELEMETRY, read during the import, stops it.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterator

OPENVINO_TELEMETRY = "openvino_telemetry"
ONNXRUNTIME_SWITCH = "ORT_DISABLE_TELEMETRY"

# Of two threads at once, the second would put back what the first had changed.
_importing = threading.Lock()
_ABSENT = object()


@contextlib.contextmanager
def without_telemetry() -> Iterator[None]:
    """Import openvino or onnxruntime within. The table of modules and the environment are as before afterwards.

    Who sets ORT_DISABLE_TELEMETRY has decided: its value stays.
    """
    with _importing:
        before = sys.modules.get(OPENVINO_TELEMETRY, _ABSENT)
        decided = ONNXRUNTIME_SWITCH in os.environ
        # None makes the import system say that there is no such module.
        sys.modules[OPENVINO_TELEMETRY] = None  # type: ignore[assignment]
        os.environ.setdefault(ONNXRUNTIME_SWITCH, "1")
        try:
            yield
        finally:
            if before is _ABSENT:
                del sys.modules[OPENVINO_TELEMETRY]
            else:
                sys.modules[OPENVINO_TELEMETRY] = before  # type: ignore[assignment]
            if not decided:
                del os.environ[ONNXRUNTIME_SWITCH]
