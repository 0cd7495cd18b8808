"""The only place that first imports PaddlePaddle, with an error that says what to do if it is missing.

Paddle's C++ signal handlers would end the process at once and leave temporary files and child processes behind. They
are installed by `init_glog`, which Paddle calls during its import. Restoring the handlers afterwards would leave a
window of about a second. Blocking the signals for that time does not close it, because threads of other libraries
(OpenBLAS of NumPy) do not block them, and run the handlers. So `init_glog` is replaced by a function that does nothing.
Paddle's log goes to stderr in both cases.
"""

from __future__ import annotations

import contextlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
import warnings
from collections.abc import Iterator, Sequence
from types import ModuleType

from ...errors import MissingDependencyError, one_line, raise_if_interrupted
from ...signals import handlers_kept

LIBRARY = "paddle.base.libpaddle"
INSTALLS_HANDLERS = "init_glog"


def require_paddle() -> None:
    """Import `paddle`, so that later imports are silent and cannot fail, and signal handlers are kept.

    Raises MissingDependencyError, in one line, if it is not installed or cannot be imported.
    """
    if importlib.util.find_spec("paddle") is None:
        raise MissingDependencyError(
            "PaddlePaddle is not installed: pip install 'onnxzoo[export]' (Python 3.11 or 3.12)"
        )
    # `handlers_kept` covers handlers that another version of Paddle may install.
    with warnings.catch_warnings(), handlers_kept(), _without_handlers():
        # It warns that it found no ccache, which is needed only for compiling custom operators.
        warnings.simplefilter("ignore")
        try:
            import paddle  # noqa: F401
        except ImportError as error:
            raise_if_interrupted(error)
            raise MissingDependencyError(
                f"PaddlePaddle is installed but cannot be imported ({one_line(error)}); install it again: pip install"
                " 'onnxzoo[export]'"
            ) from error
        except OSError as error:
            raise MissingDependencyError(
                f"PaddlePaddle cannot be imported ({one_line(error)}); it keeps files in the home folder: set HOME to "
                "a folder that can be written"
            ) from error


@contextlib.contextmanager
def _without_handlers() -> Iterator[None]:
    """Disable the function that installs signal handlers when Paddle's C++ module is imported in this block."""
    finder = _Finder()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


class _Finder(importlib.abc.MetaPathFinder):
    """Finds only LIBRARY, in the same place as Python."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != LIBRARY:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader)
        return spec


class _Loader(importlib.abc.Loader):
    """Loads a module with `loader`, and replaces INSTALLS_HANDLERS before it can be called."""

    def __init__(self, loader: importlib.abc.Loader) -> None:
        self._loader = loader

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        setattr(module, INSTALLS_HANDLERS, lambda _program: None)
