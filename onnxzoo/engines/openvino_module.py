"""The only place that imports openvino."""

from __future__ import annotations

from typing import Any

from .library_failures import unavailable
from .telemetry import without_telemetry

NAME = "openvino"
INSTALL = "pip install openvino"


def import_openvino() -> Any:
    """The library. Raises EngineUnavailableError when it is absent or broken."""
    try:
        with without_telemetry():
            import openvino
    except Exception as error:
        raise unavailable(NAME, error, INSTALL) from error
    return openvino
