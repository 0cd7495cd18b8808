"""Fixtures of the tests of the engines."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture
def compiled_sizes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The batch sizes that models were compiled for, in order."""
    from onnxzoo.engines.openvino_compile import Compiler

    sizes: list[int] = []
    original = Compiler.compile

    def recorded(self: Any, size: int) -> Any:
        sizes.append(size)
        return original(self, size)

    monkeypatch.setattr(Compiler, "compile", recorded)
    return sizes
