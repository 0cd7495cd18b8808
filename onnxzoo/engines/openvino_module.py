"""The only module that imports openvino, without the parts that running models does not need."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from .library_failures import unavailable
from .telemetry import without_telemetry

NAME = "openvino"
INSTALL = "pip install openvino"
CONVERTER = "openvino.tools.ovc"
CONVERT = "convert_model"


def import_openvino() -> Any:
    """The library. Raises EngineUnavailableError if it is missing or broken."""
    try:
        with without_telemetry(), _without_converter():
            import openvino
    except Exception as error:
        raise unavailable(NAME, error, INSTALL) from error
    return openvino


@contextlib.contextmanager
def _without_converter() -> Iterator[None]:
    """Import openvino in this block without its model converter, which takes half of the time.

    `openvino.convert_model` imports the converter on first use.
    """
    if NAME in sys.modules or CONVERTER in sys.modules:
        yield
        return
    # With None the import system reports that there is no such module, which openvino does not need.
    sys.modules[CONVERTER] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[CONVERTER]
    _convert_on_demand(sys.modules[NAME])


def _convert_on_demand(module: ModuleType) -> None:
    """Add the attribute that the module lacks without its converter, for other users of the module."""

    def attribute(name: str) -> Any:
        if name != CONVERT:
            raise AttributeError(f"module {NAME!r} has no attribute {name!r}")
        with without_telemetry():
            from openvino.tools.ovc import convert_model
        module.__dict__[CONVERT] = convert_model
        return convert_model

    if not hasattr(module, CONVERT):
        module.__dict__.setdefault("__getattr__", attribute)
