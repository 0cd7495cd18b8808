"""Readers with every fault that the fuzzer looks for, to see that it finds them."""

from __future__ import annotations

import ctypes
import itertools
import os
import time
from collections.abc import Callable
from pathlib import Path

from fuzz_readers import Format

from onnxzoo.errors import ArtifactError


class _UnescapedError(ArtifactError):
    """An error of ours that says what it was given, whole."""

    def __str__(self) -> str:
        return str(self.args[0])


def _crash() -> None:
    ctypes.string_at(0)


def _leave() -> None:
    os._exit(0)


def _hang() -> None:
    time.sleep(600)


def _fill() -> None:
    bytearray(1200 << 20)[:: 1 << 12] = b"x" * (1200 << 8)


def _stumble() -> None:
    raise KeyError("a\nb")


def _quit() -> None:
    raise SystemExit(3)


def _rattle() -> None:
    raise _UnescapedError("x" * 501)


def _ramble() -> None:
    raise _UnescapedError("two\nlines")


def _escape() -> None:
    raise _UnescapedError("\x1b[2J")


def _refuse() -> None:
    raise ArtifactError("x" * 500)


def _accept() -> None:
    pass


def _at_call(number: int, act: Callable[[], None]) -> Callable[[], None]:
    """Do it at this call, and nothing at the others."""
    calls = itertools.count(1)

    def one() -> None:
        if next(calls) == number:
            act()

    return one


def _read_so(act: Callable[[], None]) -> Format:
    """A format of one file: the second mutant that a process reads is read so, and the others well."""

    def reader(_folder: Path) -> Callable[[bytes], None]:
        step = _at_call(2, act)
        return lambda _data: step()

    return Format(1, lambda: [b"whole"], (), reader)


def _drawn_so(act: Callable[[], None]) -> Format:
    """The same for drawing it: the whole files are asked for once before the first."""
    step = _at_call(3, act)

    def wholes() -> list[bytes]:
        step()
        return [b"whole"]

    return Format(1, wholes, (), lambda _folder: lambda _data: None)


def _started_so(act: Callable[[], None]) -> Format:
    def reader(_folder: Path) -> Callable[[bytes], None]:
        act()
        return lambda _data: None

    return Format(1, lambda: [b"whole"], (), reader)


STARTED = "FUZZ_FAULTY_STARTED"
"""The variable with a file that is there from the first start on."""


def _stumble_once() -> None:
    started = Path(os.environ[STARTED])
    if not started.exists():
        started.touch()
        _stumble()


FORMATS = {
    read.__name__.lstrip("_"): _read_so(read)
    for read in (_crash, _leave, _hang, _fill, _stumble, _quit, _rattle, _ramble, _escape, _refuse, _accept)
} | {
    "draw badly": _drawn_so(_stumble),
    "draw for ever": _drawn_so(_hang),
    "start never": _started_so(_stumble),
    "start for ever": _started_so(_hang),
    "start late": _started_so(_stumble_once),
}
