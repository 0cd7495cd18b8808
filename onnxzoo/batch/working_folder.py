"""The finished parts of a table that is being written, in a working folder beside it.

    answers.csv.parts/
        lock                                            locked by the run that writes
        run.json                                        what the rows depend on, and `run`, a number of this run's own
        part-NUMBER-ROWS-ERRORS-PATHS-CONTENT           finished rows, in the order of the source

A part gets its name when its bytes are on the disk, and is never changed afterwards. NUMBER counts from 0; ROWS and
ERRORS are the images in it and those of them that cannot be read; PATHS and CONTENT are the first DIGITS of the SHA-256
of their paths and of the file. So a run that is killed at any moment leaves whole parts, and perhaps a temporary file.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import temporary
from ..errors import TableError, one_line
from ..files import atomic_write, readable, writing
from ..strict_json import parse_json

LOCK, RECORD = "lock", "run.json"
DIGITS = 16
ELSEWHERE = "make room, or name an output elsewhere"

_NAME = re.compile(rf"part-(\d{{6,}})-(\d+)-(\d+)-([0-9a-f]{{{DIGITS}}})-([0-9a-f]{{{DIGITS}}})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Part:
    """A finished part; the fields are those of its name."""

    path: Path
    number: int
    rows: int
    errors: int
    paths: str
    content: str

    def read(self) -> bytes:
        """Its bytes. Raises TableError if they are not those that were written, or cannot be read."""
        with readable(self.path, TableError):
            content = self.path.read_bytes()
        if (found := _digits(hashlib.sha256(content))) != self.content:
            raise TableError(
                f"{self.path} was altered after it was written: its SHA-256 begins with {found}, expected "
                f"{self.content}; begin anew with --restart (restart=True)"
            )
        return content


class WorkingFolder:
    """The working folder of a table, for one run at a time."""

    def __init__(self, out: Path) -> None:
        """`out`: the file of the table."""
        self.folder = out.with_name(f"{out.name}.parts")

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder, which is created if it is missing; it is removed at the end if there is no run in it.

        Raises TableError if another run holds it, or if it has other files than those of a run.
        """
        with contextlib.ExitStack() as held:
            with writing(str(self.folder), TableError, ELSEWHERE):
                alone = entered(self.folder / LOCK, held)
            if not alone:
                raise TableError(f"another run is writing to {self.folder}; wait for it, or name another output")
            strange = next((path.name for path in self.folder.iterdir() if not _is_ours(path)), None)
            if strange is not None:
                raise TableError(
                    f"{self.folder} is needed for unfinished parts of the table, but it contains {strange!r}, which is "
                    "not one; move it away, or name another output"
                )
            try:
                yield
            finally:
                if not (self.folder / RECORD).exists():
                    self.discard()

    def record(self) -> dict[str, Any] | None:
        """The record of the run that began here; None if none has. Raises TableError if it is damaged."""
        return read_record(self.folder / RECORD, "run", "description")

    def begin(self, record: Mapping[str, Any]) -> None:
        """Begin a run, and keep nothing of an earlier one."""
        self.clear()
        write_record(self.folder / RECORD, record)

    def clear(self) -> None:
        """Remove everything but the lock; the record first, as parts without a record are nobody's."""
        for path in sorted(self.folder.iterdir(), key=lambda path: path.name != RECORD):
            if path.name != LOCK:
                path.unlink()

    def finished(self) -> list[Part]:
        """The finished parts in their order; what a killed run left behind is removed.

        Raises TableError if one is missing.
        """
        for leftover in temporary.abandoned(self.folder):
            temporary.remove(leftover)
        found = sorted((part for path in self.folder.iterdir() if (part := _part(path))), key=lambda part: part.number)
        for number, part in enumerate(found):
            if part.number != number:
                raise TableError(
                    f"{self.folder} lacks part {number} of {len(found)}; begin anew with --restart (restart=True)"
                )
        return found

    def add(self, number: int, content: bytes, paths: Iterable[str], errors: int) -> Part:
        """Write a part; when this returns, it is on the disk. It is not written again if it is there already."""
        names = list(paths)
        fields = (f"{number:06}", len(names), errors, digest_of_paths(names), _digits(hashlib.sha256(content)))
        path = self.folder / f"part-{'-'.join(map(str, fields))}"
        if not path.exists():
            with atomic_write(path) as file:
                file.write(content)
        return Part(path, number, *fields[1:])

    def discard(self) -> None:
        """Remove the folder. What cannot be removed is left."""
        with contextlib.suppress(OSError):
            self.clear()
            (self.folder / LOCK).unlink()
            self.folder.rmdir()


def entered(lock: Path, held: contextlib.ExitStack) -> bool:
    """Whether no other run has this lock; its folder is created if it is missing. `held` keeps it until it ends."""
    while True:
        lock.parent.mkdir(parents=True, exist_ok=True)
        try:
            return held.enter_context(temporary.sole_user(lock))
        except FileNotFoundError:  # the run that has just finished removed the folder
            continue


def read_record(path: Path, *keys: str) -> dict[str, Any] | None:
    """The record of a run, an object with a `description` and other `keys`; None if there is no such file.

    Raises TableError if it is damaged.
    """
    with readable(path, TableError):
        content = path.read_bytes() if path.exists() else None
    if content is None:
        return None
    try:
        found = parse_json(content)
        if isinstance(found, dict) and isinstance(found.get("description"), dict) and found.keys() >= set(keys):
            return found
        reason = "it is not a record of a run"
    except ValueError as error:
        reason = one_line(error)
    raise TableError(f"{path} is damaged ({reason}); begin anew with --restart (restart=True)")


def write_record(path: Path, record: Mapping[str, Any]) -> None:
    """Write the record of a run in one step."""
    with atomic_write(path) as file:
        file.write(json.dumps(record, indent=1).encode())


def digest_of_paths(paths: Iterable[str]) -> str:
    """What identifies the images of a part: DIGITS hexadecimal digits."""
    found = hashlib.sha256()
    for path in paths:
        found.update(path.encode("utf-8", "surrogatepass") + b"\0")
    return _digits(found)


def _digits(found: Any) -> str:
    return str(found.hexdigest()[:DIGITS])


def _part(path: Path) -> Part | None:
    fields = _NAME.fullmatch(path.name)
    return None if fields is None else Part(path, *map(int, fields.groups()[:3]), *fields.groups()[3:])  # type: ignore[arg-type]


def _is_ours(path: Path) -> bool:
    return path.name in (LOCK, RECORD) or _part(path) is not None or temporary.is_temporary(path)
