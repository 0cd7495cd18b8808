"""The one place that imports PaddlePaddle for the first time, and says what to do when it is missing.

Paddle's C++ handlers of signals would end the process at once, and leave temporary files and children behind. They are
installed by `init_glog`, which Paddle calls while it is imported. Undoing that afterwards leaves a window of about a
second, and blocking the signals for so long does not close it: threads that other libraries have started (OpenBLAS of
NumPy) do not block them, and run the handlers. So the call does nothing here. Without it, Paddle's log goes to stderr
as it would otherwise.
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
    """Import `paddle`, so that later imports of it are silent and cannot fail, and handlers of signals stay.

    Raises MissingDependencyError, one line, when it is not installed or cannot be imported.
    """
    if importlib.util.find_spec("paddle") is None:
        raise MissingDependencyError(
            "PaddlePaddle is not installed: pip install 'onnxzoo[export]' (Python 3.11 or 3.12)"
        )
    # `handlers_kept` is for what another version of Paddle may install.
    with warnings.catch_warnings(), handlers_kept(), _without_handlers():
        # It warns that it found no ccache, which only those need who compile their own operators.
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
    """Have Paddle's C++ module imported in this block without what installs handlers of signals."""
    finder = _Finder()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


class _Finder(importlib.abc.MetaPathFinder):
    """Finds LIBRARY where Python finds it, and nothing else."""

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
    """Loads a module as `loader` does, and takes INSTALLS_HANDLERS out before anyone can call it."""

    def __init__(self, loader: importlib.abc.Loader) -> None:
        self._loader = loader

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        setattr(module, INSTALLS_HANDLERS, lambda _program: None)
