"""The files of a Hub repo that are needed, in huggingface_hub's own cache, each found to be what config.json announces.

How it goes: one request finds the commit that the revision means now; everything else is asked for at that commit.
What is in the cache and right is not asked for. config.json comes first, then what it lists; the cache's note of the
branch's commit is renewed last, so that whatever it names offline is whole. A file that is wrong is fetched once more.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from ..artifact import CONFIG_FILE, MAX_CONFIG_BYTES, MODEL_FILES, Artifact, read_artifact
from ..artifact_file import ArtifactFile
from ..errors import ArtifactError, InputError, ModelNotFoundError
from ..files import git_blob_id, models_dir, sha256_of
from . import client
from .names import HubName

log = logging.getLogger("onnxzoo")

QUIET_WAIT_S = 5.0
"""For another process that downloads the same model, before the user is told."""

HASH_LENGTHS = (40, 64)
"""Hexadecimal digits of an etag that is a SHA-1 (of a git blob) or a SHA-256 (of a large file)."""

Problem = Callable[[Path], str | None]
"""What is wrong with a file, as the end of a sentence; None when it is right."""


@dataclass(frozen=True, slots=True)
class PlannedFile:
    """A file that `fetch` would have: its path in the repo, its size in bytes, whether it is in the cache."""

    path: str
    bytes: int
    cached: bool


def fetch(name: HubName, *, offline: bool | None, precision: str | None, files: Sequence[str] | None = ()) -> Path:
    """The folder in the cache with config.json, the ONNX file of `precision` and `files`; see `find_artifact`."""
    if is_offline(offline):
        return _from_cache(name, precision, files, why="offline, the Hub is not asked")
    with client.translated(name.repo_id, revision=name.wanted, path=CONFIG_FILE, hint=name.otherwise):
        return _Download(name).run(precision, files)


def plan(name: HubName, precision: str) -> tuple[str, list[PlannedFile]]:
    """The commit and the files that `fetch` would bring, without bringing them.

    Raises what `fetch` raises for a repo that cannot be asked.
    """
    with client.translated(name.repo_id, revision=name.wanted, path=CONFIG_FILE, hint=name.otherwise):
        commit = client.patiently(lambda: client.remote_file(name.repo_id, CONFIG_FILE, name.wanted)).commit
        paths = [CONFIG_FILE, MODEL_FILES[precision]]
        sizes = client.patiently(lambda: client.sizes(name.repo_id, paths, commit))
    if paths[1] not in sizes:
        raise ArtifactError(f"{name} has no {precision} model: there is no {paths[1]} in it")
    cached = {path: client.cached_file(name.repo_id, path, commit) is not None for path in paths}
    return commit, [PlannedFile(path, size, cached[path]) for path, size in sizes.items()]


def is_offline(offline: bool | None) -> bool:
    """Whether no request may be made; None leaves it to HF_HUB_OFFLINE."""
    if offline is not None and not isinstance(offline, bool):
        raise InputError(f"offline must be True, False or None, got {offline!r}")
    return client.offline_by_environment() if offline is None else offline


class _Download:
    """One call of `fetch` that may make requests."""

    def __init__(self, name: HubName) -> None:
        self.name = name
        self.repo_id = name.repo_id
        self.commit = name.wanted

    def run(self, precision: str | None, files: Sequence[str] | None) -> Path:
        facts = None
        if not self.name.pinned:
            facts = self.ask()
            if facts is None:
                return _from_cache(self.name, precision, files, why="the Hub cannot be reached")
            self.commit = facts.commit
        config = self.bring(CONFIG_FILE, lambda path: _config_problem(path, facts), facts, limit=MAX_CONFIG_BYTES)
        artifact = read_artifact(config.parent)
        for file in _needed(artifact, precision, files):
            self.bring(file.path, file.problem, size=file.bytes)
        self.note_commit()
        return artifact.folder

    def ask(self) -> client.RemoteFile | None:
        """What the Hub has as config.json now; None when it cannot be reached and the cache can stand in."""
        cached = client.cached_file(self.repo_id, CONFIG_FILE, self.name.wanted)

        def request() -> client.RemoteFile:
            return client.remote_file(self.repo_id, CONFIG_FILE, self.name.wanted)

        try:
            return client.patiently(request, tries=1 if cached else client.TRIES)
        except Exception as error:
            if cached is None or not client.is_unreachable(error):
                raise
            reason = client.as_ours(error, self.repo_id)
        log.warning("%s; using the copy in the cache, which may be an old one", reason)
        return None

    def bring(
        self,
        path: str,
        problem: Problem,
        offered: client.RemoteFile | None = None,
        *,
        size: int | None = None,
        limit: int | None = None,
    ) -> Path:
        """The file at `path` in the cache, without a fault.

        `offered`: what the Hub has there, if that is known. `size`, `limit`: in bytes, of what may be downloaded.
        """
        found = client.cached_file(self.repo_id, path, self.commit)
        with contextlib.suppress(FileNotFoundError):  # another process may be replacing it
            if found is not None and problem(found) is None:
                return found
        with alone(self.repo_id):
            # Another process may have brought it meanwhile.
            found = client.cached_file(self.repo_id, path, self.commit)
            wrong = None if found is None else problem(found)
            if found is not None and wrong is None:
                return found
            if wrong:
                log.warning("%s %s; fetching it again", found, wrong)
            _remove_leftovers(self.repo_id)
            for attempt in range(1 if found else 2):
                found = self.download(path, offered, size, limit, damaged=found)
                wrong = problem(found)
                if wrong is None:
                    return found
                if not attempt:
                    log.warning("%s of %s %s; fetching it again", path, self.name, wrong)
        raise ArtifactError(
            f"{path} of {self.name} {wrong}, and did again when it was fetched a second time; it is not used"
        )

    def download(
        self,
        path: str,
        offered: client.RemoteFile | None,
        size: int | None,
        limit: int | None,
        *,
        damaged: Path | None,
    ) -> Path:
        with client.translated(self.repo_id, revision=self.commit, path=path, hint=self.name.otherwise):
            if offered is None:
                offered = client.patiently(lambda: client.remote_file(self.repo_id, path, self.commit))
            _check_size(f"{path} of {self.name}", offered.size, size, limit)
            if damaged is not None and not damaged.is_symlink():
                # In a cache without links the client takes a file that is there for the one it just brought.
                damaged.unlink(missing_ok=True)
            return client.patiently(
                lambda: client.download_file(self.repo_id, path, self.commit, force=damaged is not None)
            )

    def note_commit(self) -> None:
        """Let the cache know which commit the branch or tag has, now that all of it is here."""
        known = client.cached_file(self.repo_id, CONFIG_FILE, self.name.wanted)
        if self.name.pinned or (known is not None and known.parent.name == self.commit):
            return
        try:
            client.download_file(self.repo_id, CONFIG_FILE, self.name.wanted)
        except (client.HttpError, OSError) as error:  # all files are here; the note serves the next time, offline
            log.debug("the cache of %s keeps its old commit: %s", self.name, client.redacted(str(error)))


def _check_size(what: str, offered: int | None, size: int | None, limit: int | None) -> None:
    """Raise ArtifactError when the Hub offers other sizes than config.json announces, or more than is allowed."""
    if offered is not None and size is not None and offered != size:
        raise ArtifactError(
            f"{what} has {offered} bytes on the Hub, {CONFIG_FILE} announces {size}; it was not downloaded"
        )
    if offered is not None and limit is not None and offered > limit:
        raise ArtifactError(f"{what} has {offered} bytes on the Hub, {limit} are allowed; it was not downloaded")


def _from_cache(name: HubName, precision: str | None, files: Sequence[str] | None, *, why: str) -> Path:
    """What `fetch` returns, from the cache alone."""
    config = client.cached_file(name.repo_id, CONFIG_FILE, name.wanted)
    if config is None:
        places = [str(client.repo_folder(name.repo_id))]
        if name.known_as is not None and name.revision is None:
            places.insert(0, str(models_dir() / name.known_as))
        cure = f"download it when online: {_command(name)}" + (f"; or {name.otherwise}" if name.otherwise else "")
        raise ModelNotFoundError(f"{name} is not on this machine (not in {' nor in '.join(places)}), and {why}; {cure}")
    wrong = _config_problem(config, None)
    if wrong is not None:
        raise ArtifactError(f"{config} {wrong}, and {why}; load the model online to have it fetched again")
    artifact = read_artifact(config.parent)
    for file in _needed(artifact, precision, files):
        if client.cached_file(name.repo_id, file.path, config.parent.name) is None:
            command = _command(name, precision if file.precision else None)
            raise ModelNotFoundError(
                f"{file.path} of {name} is not on this machine (not in {artifact.folder}), and {why}; "
                f"download it when online: {command}"
            )
        artifact.verified(file.path)
    return artifact.folder


def _command(name: HubName, precision: str | None = None) -> str:
    revision = f" --revision {name.revision}" if name.known_as and name.revision else ""
    return f"onnxzoo download {name.argument}{revision}" + (f" --precision {precision}" if precision else "")


def _needed(artifact: Artifact, precision: str | None, files: Sequence[str] | None) -> list[ArtifactFile]:
    if files is None:
        return list(artifact.files.values())
    model = None if precision is None else artifact.announced_model(precision)
    return [*([] if model is None else [model]), *(artifact.files[path] for path in files if path in artifact.files)]


def _config_problem(found: Path, facts: client.RemoteFile | None) -> str | None:
    """Nothing announces config.json but its etag, which the Hub says and the cache names its blob by."""
    etag = facts.etag if facts else _etag_in_cache(found)
    if etag is not None and len(etag) in HASH_LENGTHS:
        return etag_problem(found, etag)
    try:
        read_artifact(found.parent)
    except ArtifactError as error:
        return f"cannot be read ({error})"
    return None


def blob_problem(found: Path) -> str | None:
    """What is wrong with a file of huggingface_hub's cache, which knows it by its hash; None also where it does not."""
    etag = _etag_in_cache(found)
    return None if etag is None else etag_problem(found, etag)


def etag_problem(found: Path, etag: str) -> str | None:
    """What is wrong with a file that has this etag on the Hub; None also for an etag that is no hash."""
    if len(etag) not in HASH_LENGTHS:
        return None
    digest = sha256_of(found) if len(etag) == 64 else git_blob_id(found.read_bytes())
    return None if digest == etag else f"was altered: its hash is {digest}, expected {etag}"


def _etag_in_cache(found: Path) -> str | None:
    """The name of the blob that a snapshot's file links to; None in a cache without links."""
    return found.readlink().name if found.is_symlink() else None


@contextlib.contextmanager
def alone(repo_id: str) -> Iterator[None]:
    """One process at a time changes a repo: huggingface_hub's own lock does not suffice in a cache without links.

    Where the file system has no locks, each downloads for itself, which is slower and no less right.
    """
    path = lock_file(repo_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        try:
            lock.acquire(timeout=QUIET_WAIT_S)
        except Timeout:
            log.warning("another process downloads %s; waiting for it", repo_id)
            lock.acquire()
    except NotImplementedError:
        pass
    try:
        yield
    finally:
        lock.release()


def _remove_leftovers(repo_id: str) -> None:
    """Remove what killed processes left half downloaded, which huggingface_hub neither continues nor removes.

    Its downloads hold a lock that is named like the blob: what nobody holds is dead.
    """
    for part in (client.repo_folder(repo_id) / "blobs").glob("*.*.incomplete"):
        lock = FileLock(_locks(repo_id) / f"{part.name.partition('.')[0]}.lock", timeout=0)
        with contextlib.suppress(Timeout, OSError, NotImplementedError), lock:
            part.unlink(missing_ok=True)


def lock_file(repo_id: str) -> Path:
    """What `alone` locks, and leaves behind: a sign that onnxzoo has downloaded from this repo."""
    return _locks(repo_id) / "onnxzoo.lock"


def _locks(repo_id: str) -> Path:
    return client.cache_folder() / ".locks" / client.repo_folder(repo_id).name
