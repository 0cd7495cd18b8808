"""A Hub repo at one commit: the needed files in huggingface_hub's cache, verified by config.json.

One request resolves the revision to its present commit, and everything else is requested at that commit. Valid files
in the cache are not requested. config.json is fetched first, then the files that it lists. The commit of the branch is
recorded in the cache last, so that offline it always refers to a complete model. A wrong file is fetched once more.
"""

from __future__ import annotations

import contextlib
import logging
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from ..artifact.file import ArtifactFile
from ..artifact.folder import CONFIG_FILE, CONFORMANCE_FILE, MAX_CONFIG_BYTES, Artifact, read_artifact
from ..errors import ArtifactError, InputError
from ..files import atomic_write
from ..registry import models
from . import client
from .names import HubName
from .offline import cached_file_of, config_problem, from_cache, needed

log = logging.getLogger("onnxzoo")

QUIET_WAIT_S = 5.0
"""Time to wait for another process that downloads the same model, before the user is told."""

NOT_ASKED = "offline, the Hub is not asked"

Problem = Callable[[Path], str | None]
"""Returns what is wrong with a file, as the end of a sentence; None if nothing is."""


@dataclass(frozen=True, slots=True)
class PlannedFile:
    """A file that `take` needs: its path in the repo, its size in bytes, whether it is in the cache."""

    path: str
    bytes: int
    cached: bool


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A Hub repo at the commit to which its revision was resolved.

    `artifact`: the artifact that its config.json describes. `checked`: the verified files in the cache, by path in the
    repo; no file is hashed twice. `offline`: whether requests for other files are forbidden.
    """

    name: HubName
    artifact: Artifact
    checked: dict[str, Path]
    offline: bool

    @property
    def commit(self) -> str:
        """The commit of all files, even if the branch has moved since."""
        return self.artifact.folder.name

    def bring(self, file: ArtifactFile) -> Path:
        """A verified file of the artifact in the cache, downloaded if it is missing or damaged.

        Raises ModelNotFoundError if it is missing and requests are forbidden, ArtifactError for a file that is still
        wrong after it was fetched again, HubError if the Hub refuses or cannot be reached.
        """
        found = self.checked.get(file.path)
        if found is not None:
            return found
        if self.offline:
            pinned = HubName(self.name.repo_id, self.commit, self.name.known_as)
            found = cached_file_of(self.artifact, file, pinned, why=NOT_ASKED)
        else:
            download, hint = Download(self.name, self.commit), self.name.otherwise
            with client.translated(self.name.repo_id, revision=self.commit, path=file.path, hint=hint):
                found = download.bring(file.path, file.problem, size=file.bytes)
                download.note_commit()
        self.checked[file.path] = found
        return found


def take(name: HubName, *, offline: bool | None, precision: str | None, files: Sequence[str] | None = ()) -> Snapshot:
    """The repo at the present commit of the revision of `name`, with the needed files in the cache and verified.

    Needed are config.json, the ONNX file of `precision` (no file if it is None or the artifact does not have it) and
    those of `files` that the artifact has (None: all files of the artifact). Only files missing in huggingface_hub's
    cache are requested; a complete pinned commit needs no request at all. `offline`: True makes no request, None
    follows HF_HUB_OFFLINE. If the Hub cannot be reached, the cache is used, with a warning. If the newest copy of main
    in the cache lacks a file, an older complete one is used, also with a warning.

    Raises ModelNotFoundError for a model that is not on the Hub, or offline not in the cache, ArtifactError for a file
    that is still wrong after it was fetched again, HubError if the Hub refuses or cannot be reached.
    """
    if is_offline(offline):
        return Snapshot(name, *from_cache(name, precision, files, why=NOT_ASKED), offline=True)
    with (
        _told_from_weights(name),
        client.translated(name.repo_id, revision=name.wanted, path=CONFIG_FILE, hint=name.otherwise),
    ):
        return Snapshot(name, *Download(name).run(precision, files), offline=False)


def plan(name: HubName, precision: str) -> tuple[str, list[PlannedFile]]:
    """The commit and the files that `onnxzoo download` would bring. Only config.json is downloaded, temporarily.

    Raises as `take` does for a repo that is missing or cannot be reached, InputError if it lacks the precision.
    """
    with (
        _told_from_weights(name),
        client.translated(name.repo_id, revision=name.wanted, path=CONFIG_FILE, hint=name.otherwise),
    ):
        config = client.patiently(lambda: client.remote_file(name.repo_id, CONFIG_FILE, name.wanted))
        _check_size(f"{CONFIG_FILE} of {name}", config.size, None, MAX_CONFIG_BYTES)
        with tempfile.TemporaryDirectory() as folder:
            client.patiently(lambda: client.download_to(Path(folder), name.repo_id, CONFIG_FILE, config.commit))
            artifact = read_artifact(Path(folder))
            artifact.required_model(precision)
            size = (Path(folder) / CONFIG_FILE).stat().st_size
            files = needed(artifact, precision, [CONFORMANCE_FILE])
    return config.commit, [
        PlannedFile(path, size, client.cached_file(name.repo_id, path, config.commit) is not None)
        for path, size in ((CONFIG_FILE, size), *((one.path, one.bytes) for one in files))
    ]


@contextlib.contextmanager
def _told_from_weights(name: HubName) -> Iterator[None]:
    """Say of a repo with a model's official weights that it is no artifact, and what to ask for instead."""
    try:
        yield
    except ArtifactError:
        model = next((one.name for one in models().values() if one.source.timm_repo == name.repo_id), None)
        if model is None:
            raise
        raise ArtifactError(
            f"{name.repo_id} has the weights of {model} and no artifact of onnxzoo; ask for {model!r} instead"
        ) from None


def is_offline(offline: bool | None) -> bool:
    """Whether requests are forbidden; None follows HF_HUB_OFFLINE."""
    if offline is not None and not isinstance(offline, bool):
        raise InputError(f"offline must be True, False or None, got {offline!r}")
    return client.offline_by_environment() if offline is None else offline


class Download:
    """Downloads files of a repo into the cache. `commit`: the commit of the revision, if it is known."""

    def __init__(self, name: HubName, commit: str | None = None) -> None:
        self.name = name
        self.repo_id = name.repo_id
        self.commit = name.wanted if commit is None else commit

    def run(self, precision: str | None, files: Sequence[str] | None) -> tuple[Artifact, dict[str, Path]]:
        """The artifact, and the needed files by path."""
        facts = None
        if not self.name.pinned:
            facts = self.ask()
            if facts is None:
                return from_cache(self.name, precision, files, why="the Hub cannot be reached")
            self.commit = facts.commit
        config = self.bring(CONFIG_FILE, lambda path: config_problem(path, facts), facts, limit=MAX_CONFIG_BYTES)
        artifact = read_artifact(config.parent)
        files_needed = needed(artifact, precision, files)
        checked = {file.path: self.bring(file.path, file.problem, size=file.bytes) for file in files_needed}
        if files_needed or client.cached_file(self.repo_id, CONFIG_FILE, self.name.wanted) is None:
            # A config.json alone must not replace an older commit that can be run.
            self.note_commit()
        return artifact, checked

    def ask(self, path: str = CONFIG_FILE) -> client.RemoteFile | None:
        """The Hub's present metadata of `path`; None if the Hub cannot be reached and the cache can be used instead."""
        cached = client.cached_file(self.repo_id, path, self.name.wanted)

        def request() -> client.RemoteFile:
            return client.remote_file(self.repo_id, path, self.name.wanted)

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
        """The file at `path` in the cache, verified by `problem`, and downloaded if necessary.

        `offered`: the Hub's metadata of the file, if known. `size`, `limit`: its expected and maximum size in bytes.
        """
        found = client.cached_file(self.repo_id, path, self.commit)
        with contextlib.suppress(FileNotFoundError):  # another process may be replacing it
            if found is not None and problem(found) is None:
                return found
        with alone(self.repo_id):
            # Another process may have downloaded it meanwhile.
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
                # In a cache without links the client would keep the existing file instead of the downloaded one.
                damaged.unlink(missing_ok=True)
            return client.patiently(
                lambda: client.download_file(self.repo_id, path, self.commit, force=damaged is not None)
            )

    def note_commit(self) -> None:
        """Record in the cache, as huggingface_hub does, that the branch or tag has this commit."""
        note = client.repo_folder(self.repo_id) / "refs" / self.name.wanted
        try:
            if not self.name.pinned and not (note.is_file() and note.read_text(encoding="utf-8") == self.commit):
                with atomic_write(note) as file:
                    file.write(self.commit.encode())
        except OSError as error:  # all files are here; the record is only for later use offline
            log.debug("the cache of %s keeps its old commit: %s", self.name, error)


def _check_size(what: str, offered: int | None, size: int | None, limit: int | None) -> None:
    """Raise ArtifactError if the Hub's size differs from config.json's or exceeds the limit."""
    if offered is not None and size is not None and offered != size:
        raise ArtifactError(
            f"{what} has {offered} bytes on the Hub, {CONFIG_FILE} announces {size}; it was not downloaded"
        )
    if offered is not None and limit is not None and offered > limit:
        raise ArtifactError(f"{what} has {offered} bytes on the Hub, {limit} are allowed; it was not downloaded")


@contextlib.contextmanager
def alone(repo_id: str) -> Iterator[None]:
    """Hold a repo's lock, because huggingface_hub's own lock is not sufficient in a cache without links.

    On a file system without locks every process downloads for itself, which is slower but correct.
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
    """Remove partial downloads of killed processes, which huggingface_hub neither resumes nor removes.

    A running download holds a lock named like the blob, so a download whose lock is free was killed.
    """
    for part in (client.repo_folder(repo_id) / "blobs").glob("*.*.incomplete"):
        lock = FileLock(_locks(repo_id) / f"{part.name.partition('.')[0]}.lock", timeout=0)
        with contextlib.suppress(Timeout, OSError, NotImplementedError), lock:
            part.unlink(missing_ok=True)


def lock_file(repo_id: str) -> Path:
    """The file that `alone` locks and does not remove, which shows that onnxzoo has downloaded from this repo."""
    return _locks(repo_id) / "onnxzoo.lock"


def _locks(repo_id: str) -> Path:
    return client.cache_folder() / ".locks" / client.repo_folder(repo_id).name
