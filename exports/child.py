"""Runs a step of the export in a child process.

Paddle, paddle2onnx and onnxsim print a lot, call `sys.exit`, and can crash the interpreter. In a child process none
of this affects the caller, and the output goes to a log in the error.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ..errors import ExportError, MissingDependencyError
from ..signals import signal_name

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
    # -P, because the working directory may contain a file onnx.py, which must not be imported.
    command = [sys.executable, "-P", "-m", module, *map(str, arguments)]
    with tempfile.TemporaryFile() as log:
        # The child needs no terminal, and the tools' output must not reach stdout.
        code = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, env=_environment(), check=False
        ).returncode
        log.seek(0)
        output = log.read().decode("utf-8", errors="replace")
    if code < 0:
        raise ExportError(f"export step '{title}' was killed by {signal_name(-code)}", log=output)
    if code > 0:
        raise ExportError(f"export step '{title}' failed: {_reason(output) or f'exit code {code}'}", log=output)
    if not product.is_file() or product.stat().st_size == 0:
        raise ExportError(f"export step '{title}' ended without writing {product.name}", log=output)


def _environment() -> dict[str, str]:
    # Without these, Paddle prints a line for every step of its compiler.
    return {**os.environ, "GLOG_minloglevel": "2", "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1"}


def _reason(output: str) -> str:
    """The exception at the end of a traceback, on one line; empty if there is no traceback."""
    _, traceback, tail = output.rpartition("Traceback (most recent call last)")
    # Frames are indented; the exception's message may have several lines.
    lines = [line for line in tail.splitlines()[1:] if line.strip()]
    start = next((number for number, line in enumerate(lines) if not line.startswith(" ")), len(lines))
    return " ".join(" ".join(lines[start:]).split())[:300] if traceback else ""
