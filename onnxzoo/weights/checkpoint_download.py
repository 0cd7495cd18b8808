"""Download a checkpoint: resumable, verified, and moved to its place only when it is complete."""

from __future__ import annotations

import contextlib
import errno
import http.client
import json
import logging
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from .. import files
from ..errors import CheckpointError, DownloadError
from ..network import environment_fault, offline_variable, opener, through_proxy
from ..registry import ModelEntry
from ..strict_json import parse_json

log = logging.getLogger("onnxzoo")

Progress = Callable[[int, int | None], None]
"""Called with the bytes received so far and the size of the whole file (None if the server does not state it)."""

TIMEOUT_S = 30.0
"""Timeout for connecting and for each read, so that a slow download can continue but a stalled one fails."""
TRIES = 5
"""Consecutive connections without any new data before the download is given up."""
FIRST_PAUSE_S = 0.5
"""Pause before the second try; doubled before each further one."""
CHUNK_BYTES = 1 << 20


class _InterruptedError(Exception):
    """Internal: this connection failed, but another one may succeed."""


def file_name(url: str) -> str:
    """The name of the file at `url`, which is the last part of its path."""
    return unquote(urlsplit(url).path).rpartition("/")[2]


class NotThereError(DownloadError):
    """The server has no file at the address."""


def checkpoint_path(entry: ModelEntry, progress: Progress | None = None, *, offline: bool = False) -> Path:
    """The checkpoint of `entry` in the cache folder, downloaded from the registry's URL when it is not there.

    If the server has nothing at that URL, the registry's other one is tried, if there is one. `offline`: no request is
    made.

    The SHA-256 of a file at its first use is stored next to it as `<file>.sha256` (the format of sha256sum); a file
    that has changed since is refused.

    Raises DownloadError as `download` does, for a model without a checkpoint URL in the registry, and for one that is
    not there when `offline`, and CheckpointError for a changed or unreadable file.
    """
    if entry.source.url is None:
        raise DownloadError(
            f"{entry.name} has no checkpoint to download: this project trained it itself; name its file, "
            f"training/checkpoints/{entry.name}.pdparams in the source repository, with --weights (onnxzoo export, "
            "eval, validate) or load(..., weights=)"
        )
    path = _present(entry) or _downloaded(entry, progress, offline)
    record = path.with_name(f"{path.name}.sha256")
    try:
        actual = files.sha256_of(path)
        recorded = record.read_text(encoding="utf-8").split() if record.exists() else []
        if not recorded:
            with files.atomic_write(record) as file:
                file.write(f"{actual}  {path.name}\n".encode())
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path} or its record {record.name} cannot be used: {error}; delete both") from error
    if recorded and recorded[0].lower() != actual:
        raise CheckpointError(
            f"{path} has changed since it was first used: expected sha256 {recorded[0][:64]}, got {actual}; "
            f"delete it to download it again, or delete {record.name} to accept it"
        )
    return path


def _urls(entry: ModelEntry) -> list[str]:
    return [url for url in (entry.source.url, entry.source.other_url) if url is not None]


def _present(entry: ModelEntry) -> Path | None:
    """The checkpoint that an earlier call downloaded, or None."""
    paths = (files.checkpoints_dir() / file_name(url) for url in _urls(entry))
    return next((path for path in paths if path.is_file()), None)


def _downloaded(entry: ModelEntry, progress: Progress | None, offline: bool) -> Path:
    first, *others = _urls(entry)
    if offline:
        raise DownloadError(
            f"the checkpoint of {entry.name} is not in {files.checkpoints_dir()}, and offline nothing is downloaded; "
            f"when online, run onnxzoo download {entry.name} --source paddleclas, or put {file_name(first)} there"
        )
    for url in others:
        try:
            return _fetched(first, progress)
        except NotThereError:
            log.info("there is nothing at %s; trying %s", first, url)
            first = url
    return _fetched(first, progress)


def _fetched(url: str, progress: Progress | None) -> Path:
    path = files.checkpoints_dir() / file_name(url)
    download(url, path, progress=progress)
    return path


def download(url: str, target: Path, *, progress: Progress | None = None, sha256: str | None = None) -> None:
    """Download `url` (http or https) to `target`, replacing an earlier file there in one step at the end.

    Data is written to `<target>.part`, which is kept when the download fails; the next call resumes it if the
    server still has the same file (`<target>.part.json` identifies it), else it starts again. Broken connections
    and server errors are retried. Of two processes with the same `target`, one downloads and the other waits for it.

    Raises DownloadError when HF_HUB_OFFLINE is set, the URL is not http(s) or does not exist, the file is not received
    completely, its SHA-256 is not `sha256`, or it cannot be written.
    """
    from filelock import FileLock

    target = Path(target)
    if urlsplit(url).scheme not in ("http", "https"):
        raise DownloadError(f"{url} is not a valid download URL; expected one that starts with https:// or http://")
    if variable := offline_variable():
        raise DownloadError(
            f"{url} is not downloaded, as {variable} is set; unset it, or put the file there yourself: {target}"
        )
    before = _identity(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(target.with_name(f"{target.name}.lock"))
        lock.acquire()
    except OSError as error:
        raise _unwritable(target, error) from error
    try:
        # Another process may have downloaded the file while this one waited.
        arrived = _identity(target) not in (before, None)
        if not arrived or (sha256 is not None and files.sha256_of(target) != sha256.lower()):
            _Download(url, target, progress).run(sha256)
    finally:
        lock.release()


class _Download:
    def __init__(self, url: str, target: Path, progress: Progress | None) -> None:
        self.url = url
        self.target = target
        self.part = target.with_name(f"{target.name}.part")
        self.note = target.with_name(f"{target.name}.part.json")
        self.progress = progress

    def run(self, sha256: str | None) -> None:
        most, tries = self.size(), 0
        while True:
            try:
                self.connect()
                break
            except _InterruptedError as error:
                tries = 0 if self.size() > most else tries + 1
                most = max(most, self.size())
                if tries >= TRIES:
                    kept = self.size()
                    fix = f"{kept} bytes are kept: run the command again to continue" if kept else "check the network"
                    raise DownloadError(
                        f"{self.url} did not arrive{' whole' if kept else ''}{through_proxy(self.url)}: {error} "
                        f"(after {TRIES} tries); {fix}, "
                        f"or put the file there yourself: {self.target}"
                    ) from error
                time.sleep(FIRST_PAUSE_S * 2 ** max(0, tries - 1))
        if sha256 is not None and (actual := files.sha256_of(self.part)) != sha256.lower():
            self.restart()
            raise DownloadError(
                f"{self.url} is not the expected file: expected sha256 {sha256}, got {actual}; it was deleted; "
                "run the command again, and if this repeats, the file at this URL has changed"
            )
        try:
            os.replace(self.part, self.target)
            self.note.unlink(missing_ok=True)
        except OSError as error:
            raise _unwritable(self.target, error) from error

    def connect(self) -> None:
        """Open one connection and fetch what is missing. Raises _InterruptedError if another one may succeed."""
        have, validator = self.resumable()
        headers = {"User-Agent": "onnxzoo", "Accept-Encoding": "identity"}
        if have:
            headers |= {"Range": f"bytes={have}-", "If-Range": validator}
        request = urllib.request.Request(self.url, headers=headers)  # noqa: S310 - the scheme is checked
        try:
            response = opener(_Redirects).open(request, timeout=TIMEOUT_S)
        except urllib.error.HTTPError as error:
            error.close()
            return self.refused(error)
        except DownloadError:  # a refused redirect, which is a ConnectionError but must not be retried
            raise
        except (http.client.HTTPException, OSError) as error:
            self.refuse_variables(error)
            raise _InterruptedError(_reason(error)) from error
        except ValueError as error:
            self.refuse_variables(error)
            raise DownloadError(f"{self.url} is not a valid download URL: {error}; check it") from error
        with response:
            return self.receive(response, have)

    def refuse_variables(self, error: BaseException) -> None:
        """Raise DownloadError if a variable for proxies or certificates is wrong, which retrying does not fix."""
        if fault := environment_fault(error, url=self.url):
            raise DownloadError(f"{self.url} cannot be downloaded: {fault}") from error

    def refused(self, error: urllib.error.HTTPError) -> None:
        """Return if the response means that the part is complete, else raise _InterruptedError or DownloadError."""
        status = http.HTTPStatus
        if error.code == status.REQUESTED_RANGE_NOT_SATISFIABLE:
            # Nothing follows the part: it is complete (the validator matched, otherwise the answer would be 200), or it
            # belongs to another file.
            total = _content_range(error.headers.get("Content-Range", ""))[1]
            if self.size() and self.size() == total == self.noted().get("total", total):
                return
            self.restart()
        elif error.code < 500 and error.code not in (status.REQUEST_TIMEOUT, status.TOO_MANY_REQUESTS):
            kind = NotThereError if error.code in (status.NOT_FOUND, status.GONE) else DownloadError
            raise kind(
                f"{self.url} cannot be downloaded{through_proxy(self.url)}: the server answers {error.code} "
                f"{error.reason}; "
                "check the address, or download the file in another way and give it with --weights"
            ) from error
        raise _InterruptedError(f"the server answers {error.code} {error.reason}") from error

    def receive(self, response: Any, have: int) -> None:
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise DownloadError(f"{self.url} is sent compressed, which was not requested; download it in another way")
        length = _integer(response.headers.get("Content-Length"))
        if response.status == http.HTTPStatus.PARTIAL_CONTENT:
            start, total = _content_range(response.headers.get("Content-Range", ""))
            if not have or start != have:
                self.restart()
                raise _InterruptedError(f"the server sent another part than the one after byte {have}")
            if total is None and length is not None:
                total = have + length
        else:
            have, total = 0, length
        try:
            with self.part.open("ab" if have else "wb") as file:
                if not have:
                    self.remember(response.headers, total)
                self.copy(response, file, have, total)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise _unwritable(self.target, error) from error
        arrived = self.size()
        if total is not None and arrived < total:
            raise _InterruptedError(f"the connection ended after {arrived} of {total} bytes")
        if total is not None and arrived > total:
            self.restart()
            raise _InterruptedError(f"{arrived} bytes arrived instead of {total}")

    def copy(self, response: Any, file: Any, have: int, total: int | None) -> None:
        self.report(have, total)
        while True:
            try:
                chunk = response.read(CHUNK_BYTES)
            except http.client.IncompleteRead as error:
                file.write(error.partial)
                raise _InterruptedError(f"the connection was cut after {have + len(error.partial)} bytes") from error
            except (http.client.HTTPException, OSError) as error:
                raise _InterruptedError(f"the connection was cut after {have} bytes ({_reason(error)})") from error
            if not chunk:
                return
            file.write(chunk)
            have += len(chunk)
            self.report(have, total)

    def report(self, have: int, total: int | None) -> None:
        if self.progress is not None:
            self.progress(have, total)

    def size(self) -> int:
        try:
            return self.part.stat().st_size
        except OSError:
            return 0

    def resumable(self) -> tuple[int, str]:
        """Bytes received so far for this URL, and the validator of the file's version; (0, "") to start again."""
        note = self.noted()
        validator = note.get("validator")
        if note.get("url") == self.url and isinstance(validator, str) and validator.isprintable() and validator:
            return self.size(), validator
        return 0, ""

    def noted(self) -> dict[str, Any]:
        """What is known about the part; empty if there is no valid note."""
        try:
            note = parse_json(self.note.read_bytes())
        except (OSError, ValueError):
            return {}
        return note if isinstance(note, dict) else {}

    def remember(self, headers: Any, total: int | None) -> None:
        """Record the version of the file that the part belongs to. If-Range needs a strong ETag (RFC 9110, 13.1.5)."""
        etag = headers.get("ETag", "")
        validator = headers.get("Last-Modified", "") if not etag or etag.startswith("W/") else etag
        note = {"url": self.url, "validator": validator} | ({} if total is None else {"total": total})
        self.note.write_text(json.dumps(note), encoding="utf-8")

    def restart(self) -> None:
        with contextlib.suppress(OSError):
            self.part.unlink(missing_ok=True)
            self.note.unlink(missing_ok=True)


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to http and https only, and never from https to http."""

    def redirect_request(self, req: Any, fp: Any, code: Any, msg: Any, headers: Any, newurl: str) -> Any:
        kinds = (urlsplit(req.full_url).scheme, urlsplit(newurl).scheme)
        if kinds not in (("http", "http"), ("http", "https"), ("https", "https")):
            raise DownloadError(f"{req.full_url} redirects to {newurl}, which is less safe; check the address")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _identity(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _integer(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdecimal() and text.isascii() else None


def _content_range(text: str) -> tuple[int | None, int | None]:
    """Start and total of `bytes 5-9/10`."""
    span, _, total = text.removeprefix("bytes ").partition("/")
    return _integer(span.partition("-")[0]), _integer(total)


def _reason(error: BaseException) -> str:
    reason = getattr(error, "reason", error)
    return str(reason) or type(reason).__name__


def _unwritable(target: Path, error: OSError) -> DownloadError:
    if error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)):
        return DownloadError(f"{target} cannot be written: the disk is full; free space and run the command again")
    return DownloadError(
        f"{target} cannot be written: {error.strerror or error}; make {target.parent} writable or choose another "
        f"folder (the cache is set by {files.CACHE_VARIABLE})"
    )
