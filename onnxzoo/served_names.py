"""The names of models on servers: a model's own, or the one that the user gives it as NAME=MODEL."""

from __future__ import annotations

import os
import re
from pathlib import Path

from .errors import InputError
from .text import beginning

# A name is a folder's name on every operating system, and a part of a URL that needs no escapes.
_SERVED = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,98}[A-Za-z0-9_-])?")


def name_and_model(given: str | os.PathLike[str]) -> tuple[str | None, str | os.PathLike[str]]:
    """NAME and MODEL of `NAME=MODEL`; the name is None without one, and for the path of a folder that exists."""
    if not isinstance(given, str) or "=" not in given or Path(given).is_dir():
        return None, given
    name, _, model = given.partition("=")
    return (name, model) if "/" not in name and os.sep not in name else (None, given)


def served_name(name: str, given: str | os.PathLike[str]) -> str:
    """The name, if servers can have it; `given`: what the user named the model by.

    Raises InputError unless it has up to 100 letters, digits, `_`, `.` and `-`, and begins with a letter or digit.
    """
    if not _SERVED.fullmatch(name):
        model = name_and_model(given)[1]
        raise InputError(
            f"{beginning(name)!r} cannot be a model's name on a server: expected up to 100 letters, digits and _ . -, "
            f"the first of them a letter or digit; give another one, NAME={os.fspath(model)}"
        )
    return name
