"""Files on this machine: the cache folder, hashes, and atomic writing."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

from . import temporary
from .errors import ArtifactError, InputError, OnnxzooError, one_line

CACHE_VARIABLE = "ONNXZOO_CACHE"
# The folder of a model's compiled files is named after this many digits of its SHA-256.
COMPILED_DIGITS = 16

KeyValue = str | int | float | bool | None | list[int]


def cache_dir() -> Path:
    """The folder for exported models and downloaded checkpoints (not created here).

    `ONNXZOO_CACHE` if set, else the platform's user cache folder with `onnxzoo` appended:
    `$XDG_CACHE_HOME` or `~/.cache` on Linux, `~/Library/Caches` on macOS, `%LOCALAPPDATA%` on Windows.

    Raises InputError if that needs a home folder and the user has none.
    """
    chosen = os.environ.get(CACHE_VARIABLE)
    try:
        return Path(chosen).expanduser() if chosen else _users_cache() / "onnxzoo"
    except RuntimeError as error:
        where = f"{CACHE_VARIABLE}={chosen!r} is not a usable folder" if chosen else "there is no cache folder"
        raise InputError(f"{where} ({one_line(error)}); set {CACHE_VARIABLE} to a folder of yours") from None


def cache_fault() -> str | None:
    """Why the cache folder cannot be created, with the fix; None if it exists or can be created."""
    try:
        root = cache_dir()
    except InputError as error:
        return str(error)
    nearest = nearest_existing(root)
    if not nearest.is_dir():
        why = f"{nearest} is not a folder"
    elif nearest == root or os.access(nearest, os.W_OK | os.X_OK):
        return None
    else:
        why = f"{nearest} cannot be written to"
    return f"the cache folder {root} cannot be made: {why}; set {CACHE_VARIABLE} to a folder of yours"


def nearest_existing(path: Path) -> Path:
    """The path itself, or the nearest folder above it that exists; the path where none does."""
    return next((folder for folder in (path, *path.parents) if os.path.lexists(folder)), path)


def _users_cache() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


def models_dir() -> Path:
    """The folder of artifacts exported without `--out`, one folder per model."""
    return cache_dir() / "models"


def checkpoints_dir() -> Path:
    """The folder of downloaded checkpoints."""
    return cache_dir() / "checkpoints"


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes as 64 lower-case hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def key_digest(key: Mapping[str, KeyValue]) -> str:
    """The name of a cache key's file or folder: 32 hexadecimal digits, independent of the order of the key."""
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:32]


def git_blob_id(content: bytes) -> str:
    """The SHA-1 by which git, and the Hugging Face Hub for files not in LFS, identify a file's content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[IO[bytes]]:
    """Open a temporary file next to `path` for writing bytes; rename it to `path` when the block succeeds.

    When the block raises, the temporary file is removed and an existing `path` is unchanged. Leftovers of killed
    processes that were writing `path` are removed first.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    sweep(path)
    with temporary.held_file(path) as unfinished:
        with unfinished.open("r+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)


@contextlib.contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty temporary folder next to `folder` and replace `folder` by it when the block succeeds.

    An existing `folder` is replaced as a whole, on Linux in one step, so that readers see either the old or the new
    one. If several threads or processes write the same `folder`, the last one wins. An empty folder is filled instead
    of replaced, as it may be the working directory or a mount point. The target of a symbolic link is replaced, the
    link is kept. When the block raises, the temporary folder is removed and an existing `folder` is unchanged.
    Leftovers of killed processes that were writing `folder` are removed first. Raises NotADirectoryError if `folder` is
    a file.
    """
    folder = folder.resolve()
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"{folder} is a file, expected a folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    sweep(folder)
    with temporary.held_folder(folder) as building:
        yield building
        with temporary.alone(folder.parent):
            earlier = _put(building, folder)
        if earlier is not None:
            shutil.rmtree(earlier, ignore_errors=True)


@contextlib.contextmanager
def writing(what: str, error_type: type[OnnxzooError], fix: str) -> Iterator[None]:
    """Translate file system errors in the block to `error_type`: `what` cannot be written, the reason, the fix."""
    try:
        yield
    except OnnxzooError:
        raise
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        raise error_type(f"{what} cannot be written: {error.strerror or error}{where}; {fix}") from error


def refuse_unwritable(what: str, path: Path) -> None:
    """Raise InputError if the file `path`, called `what` in the message, could not be written; nothing is created.

    For the file that a long run ends with.
    """
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        with tempfile.TemporaryFile(dir=nearest_existing(path.absolute().parent)):
            pass
    except OSError as error:
        raise InputError(f"{what} cannot be written to {path}: {error.strerror or error}") from error


@contextlib.contextmanager
def readable(where: Path, error_type: type[OnnxzooError] = ArtifactError) -> Iterator[None]:
    """What the file system refuses in the block, as an error of `error_type` that names the path, by default `where`.

    Path.exists, is_file and is_dir raise a PermissionError for a path in a folder that may not be searched.
    """
    try:
        yield
    except OnnxzooError:
        raise
    except OSError as error:
        path = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes | os.PathLike) else where
        raise error_type(
            f"{path} cannot be read: {error.strerror or error}; check its permissions and those of the folders above it"
        ) from error


def sweep(path: Path) -> None:
    """Remove files left by killed processes that were writing `path`."""
    for leftover in temporary.abandoned(path.parent, path.name):
        temporary.remove(leftover)


def _put(building: Path, folder: Path) -> Path | None:
    """Move `building` to `folder`; returns where the previous folder is now, if there was one."""
    if not folder.exists():
        os.replace(building, folder)
        return None
    if not any(folder.iterdir()):
        for path in building.iterdir():
            shutil.move(path, folder / path.name)
        building.rmdir()
        return None
    if temporary.exchange(building, folder):
        return building
    retired = temporary.beside(folder, "old")
    os.replace(folder, retired)
    try:
        os.replace(building, folder)
    except BaseException:
        os.replace(retired, folder)
        raise
    return retired
