"""Ctrl-C while a C++ module is being imported becomes an ImportError there; the package must not be blamed."""

from __future__ import annotations

import importlib.abc
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from types import ModuleType

import pytest

from onnxzoo.engines.onnxruntime_library import import_onnxruntime
from onnxzoo.engines.openvino_module import import_openvino
from onnxzoo.errors import EngineUnavailableError, MissingDependencyError
from onnxzoo.reference.paddle.importing import require_paddle


class Interrupted(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds a module whose import ends as pybind11's PYBIND11_MODULE lets it end."""

    def __init__(self, name: str, cause: BaseException) -> None:
        self._name, self._cause = name, cause

    def find_spec(self, name: str, _path: object, _target: object = None) -> ModuleSpec | None:
        return ModuleSpec(name, self) if name == self._name else None

    def exec_module(self, _module: ModuleType) -> None:
        raise ImportError("initialization failed") from self._cause


@pytest.mark.parametrize(
    ("name", "ask"),
    [
        ("openvino", import_openvino),
        ("onnxruntime", lambda: import_onnxruntime("pip install it")),
        ("paddle", require_paddle),
    ],
)
def test_ctrl_c_stays_ctrl_c(monkeypatch: pytest.MonkeyPatch, name: str, ask: Callable[[], object]) -> None:
    monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(sys, "meta_path", [Interrupted(name, KeyboardInterrupt()), *sys.meta_path])
    with pytest.raises(KeyboardInterrupt):
        ask()
    monkeypatch.setattr(sys, "meta_path", [Interrupted(name, RuntimeError("broken")), *sys.meta_path])
    with pytest.raises((EngineUnavailableError, MissingDependencyError), match="initialization failed"):
        ask()
