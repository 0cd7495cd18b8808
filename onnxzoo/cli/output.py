"""Output of the commands: escaped lines for people, and JSON for programs, which has its own escaping.

Every command prints through this module, so that text from outside (a label, a path, a message of a library) reaches
a terminal only escaped. Results go to stdout, where a failure raises OutputError; everything else goes to stderr, where
failures are ignored.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from typing import Any

import click

from ..errors import OnnxzooError, one_line
from ..text import escaped, shortened


class OutputError(OnnxzooError, OSError):
    """Standard output cannot be written: its disk is full, or it is closed."""


def say(*lines: str, err: bool = False, nl: bool = True) -> None:
    """Print each of the lines, escaped, to stdout, or with `err` to stderr. `nl`: end each with a newline.

    Raises OutputError if stdout cannot be written, BrokenPipeError if its reader has closed it.
    """
    for line in lines:
        _write(escaped(line), err=err, nl=nl)


def report(message: str) -> None:
    """Write an error message to stderr, in one line."""
    say(f"onnxzoo: error: {shortened(escaped(message))}", err=True)


def print_json(document: Any) -> None:
    """Print one JSON document to stdout. Raises as `say`, and ValueError for NaN and infinity, which JSON lacks."""
    write_json(json.dumps(document, indent=2, allow_nan=False) + "\n")


def write_json(text: str) -> None:
    """Write a part of a JSON document to stdout. Raises as `say`."""
    _write(text, err=False, nl=False)


def flush() -> None:
    """Flush stdout. Raises as `say`."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except (OSError, ValueError) as error:
        raise unwritable(error) from None


def require_stdout() -> None:
    """Raise OutputError if the program was started without a standard output."""
    if sys.stdout is None:
        raise OutputError("the output cannot be written: standard output is closed; send it to a file, or to /dev/null")


def discard_stdout() -> None:
    """Redirect stdout to the null device, because Python's flush at exit would report the same error again."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _write(text: str, *, err: bool, nl: bool) -> None:
    try:
        with _above_progress():
            click.echo(text, err=err, nl=nl)
    except (OSError, ValueError) as error:
        if err:
            return
        if isinstance(error, BrokenPipeError):
            raise
        raise unwritable(error) from None


def _above_progress() -> contextlib.AbstractContextManager[None]:
    """Hide the progress line while something is written to the same terminal."""
    bars = sys.modules.get("tqdm")
    if bars is None:
        return contextlib.nullcontext()
    above: contextlib.AbstractContextManager[None] = bars.tqdm.external_write_mode()
    return above


def unwritable(error: Exception) -> OutputError:
    """The error for a failure to write to stdout."""
    reason = (error.strerror if isinstance(error, OSError) else None) or one_line(error)
    return OutputError(f"the output cannot be written: {reason}; make room, or send it elsewhere")
