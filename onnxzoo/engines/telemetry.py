"""Imports the libraries of the engines without their telemetry, which is on by default in both.

openvino imports the package openvino_telemetry if it is installed. This sends a request with a persistent id to Google
Analytics, waits for it behind a proxy that drops packets, starts a helper process (which runs the user's script a
second time with the start methods spawn and forkserver), writes files to ~/intel, and adds a handler to the root
logger. If it cannot be imported, openvino uses its own stub, with the same results.

onnxruntime from 1.29 on writes a persistent id and a database of events to ~/.cache/Microsoft/DeveloperTools when it
is imported, and sends them to Microsoft some seconds later: versions, providers, names and hashes of models (see its
Privacy.md; `disable_telemetry_events()` is too late). ORT_DISABLE_TELEMETRY, which is read at import, prevents this.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterator

OPENVINO_TELEMETRY = "openvino_telemetry"
ONNXRUNTIME_SWITCH = "ORT_DISABLE_TELEMETRY"

# Without this lock, a second thread would restore the changes of the first.
_importing = threading.Lock()
_ABSENT = object()


@contextlib.contextmanager
def without_telemetry() -> Iterator[None]:
    """Import openvino or onnxruntime in this block; afterwards sys.modules and the environment are restored.

    A value of ORT_DISABLE_TELEMETRY set by the user is kept.
    """
    with _importing:
        before = sys.modules.get(OPENVINO_TELEMETRY, _ABSENT)
        decided = ONNXRUNTIME_SWITCH in os.environ
        # With None the import system reports that there is no such module.
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
