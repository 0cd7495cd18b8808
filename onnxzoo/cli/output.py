"""What commands print: lines for people, made printable, and JSON for programs, which escapes by itself.

Every command prints through this module, so that nothing from outside (a label, a path, a message of a library) reaches
a terminal as it is. Results go to stdout, where a failure is an OutputError; the rest goes to stderr, and is lost where
that cannot be written.
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
    """What a command prints cannot be written: a full disk behind standard output, or none at all."""


def say(*lines: str, err: bool = False, nl: bool = True) -> None:
    """Print each of the lines, escaped, to stdout, or with `err` to stderr. `nl`: end them.

    Raises OutputError when stdout cannot be written, BrokenPipeError when nobody reads it any more.
    """
    for line in lines:
        _write(escaped(line), err=err, nl=nl)


def report(message: str) -> None:
    """Write one line about something that went wrong to stderr."""
    say(f"onnxzoo: error: {shortened(escaped(message))}", err=True)


def print_json(document: Any) -> None:
    """Print one JSON document to stdout. Raises as `say`, ValueError for NaN and infinity, which JSON does not have."""
    write_json(json.dumps(document, indent=2, allow_nan=False) + "\n")


def write_json(text: str) -> None:
    """Write a part of a JSON document that is made piece by piece to stdout. Raises as `say`."""
    _write(text, err=False, nl=False)


def flush() -> None:
    """Write what stdout still holds. Raises as `say`."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except (OSError, ValueError) as error:
        raise unwritable(error) from None


def require_stdout() -> None:
    """Raise OutputError where the program was started without a standard output."""
    if sys.stdout is None:
        raise OutputError("the output cannot be written: standard output is closed; send it to a file, or to /dev/null")


def discard_stdout() -> None:
    """Let what stdout still holds go nowhere: Python would complain once more when it flushes it at exit."""
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
    """Take a line of progress away while something is written to the same terminal."""
    bars = sys.modules.get("tqdm")
    if bars is None:
        return contextlib.nullcontext()
    above: contextlib.AbstractContextManager[None] = bars.tqdm.external_write_mode()
    return above


def unwritable(error: Exception) -> OutputError:
    """The error for a failure to write to stdout."""
    reason = (error.strerror if isinstance(error, OSError) else None) or one_line(error)
    return OutputError(f"the output cannot be written: {reason}; make room, or send it elsewhere")
