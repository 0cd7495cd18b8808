"""The only place that imports openvino, and without its telemetry.

openvino imports the package openvino_telemetry when it is there. That sends a request with a persistent id to Google
Analytics, waits for it behind a proxy that drops packets, starts a helper process (which runs the user's script a
second time under the start methods spawn and forkserver), writes files to ~/intel, and adds a handler to the root
logger. Where it cannot be imported, openvino uses a stub of its own, and its answers are the same.
"""

from __future__ import annotations

import sys
import threading
from typing import Any

from .libraries import unavailable

NAME = "openvino"
TELEMETRY = "openvino_telemetry"
INSTALL = "pip install openvino"

# Of two threads at once, the second would put back what the first had hidden.
_importing = threading.Lock()
_ABSENT = object()


def import_openvino() -> Any:
    """The library. Raises EngineUnavailableError when it is absent or broken."""
    with _importing:
        before = sys.modules.get(TELEMETRY, _ABSENT)
        # None makes the import system say that there is no such module.
        sys.modules[TELEMETRY] = None  # type: ignore[assignment]
        try:
            import openvino
        except Exception as error:
            raise unavailable(NAME, error, INSTALL) from error
        finally:
            if before is _ABSENT:
                del sys.modules[TELEMETRY]
            else:
                sys.modules[TELEMETRY] = before  # type: ignore[assignment]
    return openvino
