"""Readers with every fault that the fuzzer looks for, to see that it finds them."""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Callable
from pathlib import Path

from fuzz_readers import Format

from onnxzoo.errors import ArtifactError


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
    raise ArtifactError("x" * 501)


def _ramble() -> None:
    raise ArtifactError("two\nlines")


def _escape() -> None:
    raise ArtifactError("\x1b[2J")


def _refuse() -> None:
    raise ArtifactError("x" * 500)


def _accept() -> None:
    pass


def _format(read: Callable[[], None]) -> Format:
    """A format of one file whose second mutant in four is read so, and the others well."""

    def reader(_folder: Path) -> Callable[[bytes], None]:
        calls: list[bytes] = []

        def one(data: bytes) -> None:
            calls.append(data)
            if len(calls) == 2:
                read()

        return one

    return Format(1, lambda: [b"whole"], (), reader)


FORMATS = {
    read.__name__.lstrip("_"): _format(read)
    for read in (_crash, _leave, _hang, _fill, _stumble, _quit, _rattle, _ramble, _escape, _refuse, _accept)
}
