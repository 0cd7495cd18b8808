"""Runs a step of the export in a child process.

Paddle, paddle2onnx and onnxsim print a lot, call `sys.exit`, and can crash the interpreter. In a child process none
of this affects the caller, and the output goes to a log in the error.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from ..child_process import run_module
from ..errors import ExportError, MissingDependencyError

TOOLS = ("paddle", "paddle2onnx", "onnx", "onnxsim", "ml_dtypes")


def require_export_tools() -> None:
    """Raise MissingDependencyError, in one line, unless the packages of the extra `export` can be found."""
    missing = [tool for tool in TOOLS if importlib.util.find_spec(tool) is None]
    if not missing:
        return
    version = ".".join(map(str, sys.version_info[:2]))
    if sys.version_info >= (3, 13):
        fix = f"the export tools have wheels for Python 3.11 and 3.12 only, this is {version}: use one of those"
    else:
        fix = "install them with: pip install 'onnxzoo[export]'"
    raise MissingDependencyError(f"exporting needs {', '.join(missing)}, which is not installed; {fix}")


def run_step(module: str, title: str, arguments: Sequence[str | Path], product: Path) -> None:
    """Run `python -m module` with these arguments; it must write the file `product`.

    Raises ExportError, with the child's output in `log`, if it exits with an error, is killed by a signal, or succeeds
    without writing `product`.
    """
    ended = run_module(module, arguments, environment=_environment())
    if ended.failure is not None:
        raise ExportError(f"export step '{title}' {ended.failure}", log=ended.output)
    if not product.is_file() or product.stat().st_size == 0:
        raise ExportError(f"export step '{title}' ended without writing {product.name}", log=ended.output)


def _environment() -> dict[str, str]:
    # Without these, Paddle prints a line for every step of its compiler.
    return {**os.environ, "GLOG_minloglevel": "2", "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1"}
