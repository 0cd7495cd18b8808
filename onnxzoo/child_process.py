"""Runs a module in a child process, so that a library that prints, exits or crashes does not affect the caller."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .signals import signal_name

REASON_CHARS = 300


@dataclass(frozen=True, slots=True)
class Ended:
    """How a child process ended.

    `failure`: what went wrong, as the end of a sentence; None if its exit code is 0. `output`: all that it printed.
    `explained`: whether `failure` quotes the exception that ended it.
    """

    failure: str | None
    output: str
    explained: bool = False


def run_module(
    module: str,
    arguments: Sequence[str | Path],
    *,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
    timeout_s: float | None = None,
) -> Ended:
    """Run `python -m module` with these arguments, without a terminal.

    `environment`: all variables, by default this process's. `folder`: its working directory, by default this
    process's. `timeout_s`: seconds after which it is killed. It is also killed if this call is interrupted.
    """
    # -P, because the working directory may contain a file onnx.py, which must not be imported.
    command = [sys.executable, "-P", "-m", module, *map(str, arguments)]
    with tempfile.TemporaryFile() as log:
        try:
            code: int | None = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                cwd=folder,
                timeout=timeout_s,
                check=False,
            ).returncode
        except subprocess.TimeoutExpired:
            code = None
        log.seek(0)
        output = log.read().decode("utf-8", errors="replace")
    if code is None:
        return Ended(f"did not end within {timeout_s:g} s and was killed", output)
    if code < 0:
        return Ended(f"was killed by {signal_name(-code)}", output)
    if code > 0:
        reason = _reason(output)
        return Ended(f"failed: {reason or f'exit code {code}'}", output, explained=bool(reason))
    return Ended(None, output)


def _reason(output: str) -> str:
    """The exception at the end of a traceback, on one line; empty if there is no traceback."""
    _, traceback, tail = output.rpartition("Traceback (most recent call last)")
    # Frames are indented; the exception's message may have several lines.
    lines = [line for line in tail.splitlines()[1:] if line.strip()]
    start = next((number for number, line in enumerate(lines) if not line.startswith(" ")), len(lines))
    return " ".join(" ".join(lines[start:]).split())[:REASON_CHARS] if traceback else ""
