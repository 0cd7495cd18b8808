"""A folder that the user may not open, also where the tests are run by the superuser, who may open any."""

from __future__ import annotations

import builtins
import errno
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def forbid(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse what the system refuses in a folder of mode 000: listing it, and everything about a path in it."""

    def refusing(call: Callable[..., Any], *, itself: bool) -> Callable[..., Any]:
        def asked(path: Any = ".", *arguments: Any, **options: Any) -> Any:
            if isinstance(path, str | bytes | os.PathLike):
                absolute = Path(os.path.normpath(Path.cwd() / os.fsdecode(path)))
                if folder in absolute.parents or (itself and absolute == folder):
                    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
            return call(path, *arguments, **options)

        return asked

    for name, itself in (("stat", False), ("lstat", False), ("scandir", True), ("listdir", True), ("open", True)):
        monkeypatch.setattr(os, name, refusing(getattr(os, name), itself=itself))
    for module in (io, builtins):
        monkeypatch.setattr(module, "open", refusing(open, itself=True))
