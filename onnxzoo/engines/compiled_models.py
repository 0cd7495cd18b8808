"""Compiled models on disk: a folder per model, machine and options, which is used only when it is complete.

    <cache>/<engine>/<model>/<key>/               the library's files, and manifest.json
    <cache>/<engine>/<model>/<key>.lock           held while the folder is being built
    <cache>/<engine>/<model>/.<key>.<random>.tmp  a build in progress, or one left by a killed process

The folder is named by a hash of the cache key, which contains everything that the compiled model depends on. The
manifest has the key, and the size and SHA-256 of every file. It is written last, then the folder is renamed, so an
unfinished build is never used. Libraries crash on damaged files, so they only get files that match the manifest.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from ..errors import EngineError, InputError, one_line
from ..files import CACHE_VARIABLE, COMPILED_DIGITS, KeyValue, atomic_folder, key_digest, sha256_of
from ..strict_json import parse_json
from .options import EngineOptions

MANIFEST = "manifest.json"
MAX_MANIFEST_BYTES = 2**20
WAITING_SECONDS = 10.0
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)

# Name of the cache key in the manifest. It is historical; renaming it would invalidate every compiled model.
KEY = "facts"

T = TypeVar("T")

logger = logging.getLogger(__name__)
_warned_about: set[Path] = set()


@dataclass(frozen=True, slots=True)
class Entry:
    """The entry of a compiled model in the cache, which need not exist. `key`: all that its content depends on."""

    folder: Path
    key: Mapping[str, KeyValue]

    def manifest(self) -> dict[str, Any] | None:
        """The manifest; None if there is none. Raises ValueError if it is damaged."""
        path = self.folder / MANIFEST
        try:
            if path.stat().st_size > MAX_MANIFEST_BYTES:
                raise ValueError(f"{MANIFEST} has more than {MAX_MANIFEST_BYTES} bytes")
            content = parse_json(path.read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise ValueError(f"{MANIFEST} cannot be read ({one_line(error)})") from None
        if not isinstance(content, dict) or not isinstance(content.get("files"), dict):
            raise ValueError(f"{MANIFEST} does not list files")
        return content

    def exists(self) -> bool:
        """Whether the entry was built; a cheap test, without checking that it is complete."""
        return (self.folder / MANIFEST).is_file()

    def fault(self) -> str | None:
        """Why the folder cannot be used; None if it is complete and has this key, "" if it does not exist."""
        try:
            manifest = self.manifest()
            if manifest is None:
                return "it has no manifest" if self.folder.is_dir() else ""
            if manifest.get(KEY) != dict(self.key):
                return f"{MANIFEST} belongs to another model or machine"
            found = {path.relative_to(self.folder).as_posix() for path in self.folder.rglob("*") if path.is_file()}
            if found - {MANIFEST} != manifest["files"].keys():
                return "its files are not those that were built"
            for name, announced in manifest["files"].items():
                path = self.folder / name
                if path.stat().st_size != announced["bytes"] or sha256_of(path) != announced["sha256"]:
                    return f"{name} was altered"
        except (OSError, ValueError, KeyError, TypeError) as error:
            return one_line(error)
        return None

    def discard(self, *, whole: bool = False) -> None:
        """Remove the folder, unless it is `whole`, and the files left by killed builds; the lock must be held."""
        left = self.folder.parent.glob(f".{self.folder.name}.*")
        for path in left if whole else (self.folder, *left):
            shutil.rmtree(path, ignore_errors=True)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the entry's lock, which the system releases if the process dies. Raises OSError if it cannot be made."""
        from filelock import FileLock, Timeout

        self.folder.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.folder.with_name(f"{self.folder.name}.lock"))
        started = time.monotonic()
        while not lock.is_locked:
            try:
                lock.acquire(timeout=WAITING_SECONDS)
            except Timeout:
                waited = time.monotonic() - started
                logger.info("waiting for another process that is compiling the same model, %.0f s", waited)
        try:
            yield
        finally:
            lock.release()


def faults(cache: Path) -> list[str]:
    """Read all compiled models in a cache folder, or a part of it, and list their faults, one line each."""
    found = []
    for manifest in sorted(cache.rglob(MANIFEST)):
        if manifest.parent.name.startswith("."):
            continue  # a build in progress
        entry = Entry(manifest.parent, {})
        try:
            key = (entry.manifest() or {}).get(KEY)
        except ValueError as error:
            found.append(f"{manifest.parent}: {error}")
            continue
        wrong = Entry(manifest.parent, key if isinstance(key, dict) else {}).fault()
        if wrong:
            found.append(f"{manifest.parent}: {wrong}")
    return found


def entry_for(cache: Path, engine: str, model_sha256: str, key: Mapping[str, KeyValue]) -> Entry:
    """The entry of a model with this key, to which the names of engine and model are added."""
    whole: dict[str, KeyValue] = {"engine": engine, "model_sha256": model_sha256, **key}
    return Entry(_model_folder(cache, engine, model_sha256) / key_digest(whole), whole)


def has_entries(cache: Path, engine: str, model_sha256: str) -> bool:
    """Whether this engine compiled this model before, under any key; a cheap test without reading files."""
    try:
        return any(_model_folder(cache, engine, model_sha256).glob(f"*/{MANIFEST}"))
    except OSError:
        return False


def kept_keys(cache: Path, engine: str, model_sha256: str) -> list[Mapping[str, object]]:
    """The keys of all entries of this engine for this model, as in their manifests, which are not verified."""
    found: list[Mapping[str, object]] = []
    with contextlib.suppress(OSError):
        for folder in sorted(path.parent for path in _model_folder(cache, engine, model_sha256).glob(f"*/{MANIFEST}")):
            with contextlib.suppress(ValueError):
                key = (Entry(folder, {}).manifest() or {}).get(KEY)
                if isinstance(key, dict):
                    found.append(key)
    return found


def compiled(
    entry: Entry,
    options: EngineOptions,
    *,
    build: Callable[[Path | None], T],
    load: Callable[[Path], T],
    close: Callable[[T], None] = lambda _: None,
) -> T:
    """The compiled model, loaded by `load` from the entry's folder if that is complete, else built there by `build`.

    `build` gets an empty folder to write to, or None if the cache cannot be written, and then builds without it. Of
    several processes one builds, and the others wait and load. A damaged entry is removed with a warning, and one that
    `load` rejects with EngineError is removed when another is built. So `load` must only make the library read the
    entry, as a failure to run it says nothing about the files. `close` releases a built model that is not returned.

    Raises InputError if a cache folder given in the options cannot be written (for the default one a warning is
    logged), and any error of `build`.
    """
    rejected = damaged = entry.fault()
    if rejected is None:
        try:
            return load(entry.folder)
        except EngineError as error:
            rejected = one_line(error)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(entry.locked())
        except OSError as error:
            _refuse(options, error)
            return build(None)
        # Another process may have built it meanwhile.
        if not rejected and entry.fault() is None:
            with contextlib.suppress(EngineError):
                return load(entry.folder)
        if rejected:
            logger.warning("the compiled model in %s is thrown away and built again: %s", entry.folder, rejected)
        # A complete entry stays until it is replaced, as the library may only have lacked memory, and may fail again.
        entry.discard(whole=damaged is None)
        return _build(entry, options, build, close)


def _build(entry: Entry, options: EngineOptions, build: Callable[[Path | None], T], close: Callable[[T], None]) -> T:
    done: list[T] = []
    try:
        try:
            _fill(entry, build, done)
        except OSError as error:
            _refuse(options, error)
    except BaseException:
        for one in done:
            close(one)
        raise
    # A built model can be used even if it could not be saved.
    return done[0] if done else build(None)


def _fill(entry: Entry, build: Callable[[Path | None], T], done: list[T]) -> None:
    """Build in the entry's folder; `done` has the result even if saving it fails with an OSError."""
    started = time.monotonic()
    with atomic_folder(entry.folder) as folder:
        try:
            done.append(build(folder))
        except OSError as error:
            if not _is_about(folder, error):
                raise EngineError(f"the model cannot be compiled: {one_line(error)}") from error
            raise
        _write_manifest(folder, entry.key, time.monotonic() - started)


def _is_about(folder: Path, error: OSError) -> bool:
    """Whether an error of a build is about writing `folder`; errors of open files and a full disk name no file."""
    if error.filename is None:
        return error.errno in NO_ROOM
    return Path(os.fsdecode(error.filename)).is_relative_to(folder)


def _write_manifest(folder: Path, key: Mapping[str, KeyValue], seconds: float) -> None:
    files = {
        path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "sha256": sha256_of(path)}
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    manifest = {
        KEY: dict(key),
        "files": files,
        "built": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(seconds, 1),
    }
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2), encoding="utf-8")


def _refuse(options: EngineOptions, error: OSError) -> None:
    """Raise InputError if the user named the folder, else warn once per process and folder."""
    what = f"the cache folder {options.cache_folder} cannot be written ({one_line(error)})"
    if options.cache is not None:
        raise InputError(f"{what}; name another one, or free it") from error
    if options.cache_folder not in _warned_about:
        _warned_about.add(options.cache_folder)
        logger.warning("%s: running without it; set %s to a folder of yours", what, CACHE_VARIABLE)


def _model_folder(cache: Path, engine: str, model_sha256: str) -> Path:
    return cache / engine / model_sha256[:COMPILED_DIGITS]
