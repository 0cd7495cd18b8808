"""Makes the artifact of a registry model from its official weights, which are downloaded and assembled in the cache.

One process makes an artifact, and others that need the same one wait for it. An interrupted call leaves no incomplete
artifact, and the next call reuses downloaded weights.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from .artifact.folder import Artifact, is_artifact
from .assemble import STEPS, assemble, can_assemble
from .errors import ArtifactError, InputError, ModelNotFoundError
from .files import CACHE_VARIABLE, models_dir
from .registry import ModelEntry, find
from .terminal import bar_size
from .weights.checkpoint_download import Progress, checkpoint_path

log = logging.getLogger("onnxzoo")

TIMM, PADDLECLAS = "timm", "paddleclas"
SOURCES = (TIMM, PADDLECLAS)
"""Publishers of the same weights: timm on the Hugging Face Hub, PaddleClas on its own server."""

DOWNLOAD = "get the official weights"

StepProgress = Callable[[int, int, str], None]
"""Called when a step begins, with its number from 1, the number of steps, and its title."""

QUIET_WAIT_S = 5.0
"""Time to wait for another process that assembles the same model, before the user is told."""


def weights_of(artifact: Artifact, *, offline: bool | None = None) -> Path:
    """The file of weights that an artifact was made from, or for an exported one the registry's checkpoint.

    It is taken from the caches or downloaded. Raises ModelNotFoundError, HubError, DownloadError or ArtifactError if it
    is not available. The caller checks that it is the same file (`source`, `sha256`).
    """
    entry = find(artifact.name)
    if artifact.source.get("repo") is not None:
        from .hub.official import cached_weights, official_weights

        with contextlib.suppress(ModelNotFoundError):
            return cached_weights(artifact)
        return official_weights(entry, offline=offline).path
    return _checkpoint(entry, offline, None)


def _checkpoint(entry: ModelEntry, offline: bool | None, progress: Progress | None) -> Path:
    from .hub.snapshot import is_offline  # imports huggingface_hub

    return checkpoint_path(entry, progress, offline=is_offline(offline))


def official_artifact(
    entry: ModelEntry,
    *,
    source: str = TIMM,
    offline: bool | None = None,
    again: bool = False,
    progress: StepProgress | None = None,
    download_progress: Progress | None = None,
) -> Path:
    """The artifact of a registry model in the cache, assembled from its official weights if it is not there.

    `source`: one of SOURCES. `offline`: True makes no request, None follows HF_HUB_OFFLINE. `again`: assemble it even
    if it exists. `progress`: by default a log line for each step or, on a terminal without the log, a bar.
    `download_progress`: for PaddleClas's server; huggingface_hub has its own progress.

    Raises InputError for another source, ModelNotFoundError for a model without published weights, or whose weights are
    not here while requests are forbidden, HubError, DownloadError, and the errors of `assemble`.
    """
    if source not in SOURCES:
        raise InputError(f"the source of weights must be {' or '.join(SOURCES)}, got {source!r}")
    if not can_assemble(entry):
        raise InputError(f"{entry.name} cannot be assembled: onnxzoo has no graph of it to fill")
    folder = models_dir() / entry.name
    with alone(folder):
        if is_artifact(folder) and not again:
            return folder
        with _shown(entry.name, progress) as begin:
            _make(entry, folder, source, offline, begin, download_progress)
    return folder


def _make(
    entry: ModelEntry,
    folder: Path,
    source: str,
    offline: bool | None,
    begin: StepProgress,
    download_progress: Progress | None,
) -> None:
    """Get the weights and assemble; the caller holds the lock."""
    from .hub.snapshot import is_offline  # imports huggingface_hub

    total = len(STEPS) + 1
    if not is_offline(offline):
        begin(1, total, DOWNLOAD)
    if source == TIMM:
        from .hub.official import official_weights

        weights = official_weights(entry, offline=offline)
        path, origin, license_id = weights.path, weights.origin, weights.license_id
    else:
        path = _checkpoint(entry, offline, download_progress)
        origin, license_id = {}, None

    def step(number: int, _total: int, title: str) -> None:
        begin(number + 1, total, title)

    assemble(entry, path, folder, origin=origin, license_id=license_id, progress=step)


@contextlib.contextmanager
def _shown(name: str, progress: StepProgress | None) -> Iterator[StepProgress]:
    """The function to call at the beginning of each step."""
    if progress is not None:
        yield progress
        return
    from tqdm import tqdm  # type: ignore[import-untyped]

    # The first use takes seconds to a minute, so a terminal shows a bar.
    disabled = True if log.isEnabledFor(logging.INFO) else None
    with tqdm(desc=name, unit=" steps", disable=disabled, leave=False, **bar_size()) as bar:

        def begin(number: int, total: int, title: str) -> None:
            log.info("%s: %s (%d of %d)", name, title, number, total)
            bar.total = total
            bar.set_description(f"{name}: {title}")
            bar.update(number - 1 - bar.n)

        yield begin


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold the lock for making the artifact `folder`. On a file system without locks each process makes it."""
    path = folder.with_name(f".{folder.name}.lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path)
        try:
            lock.acquire(timeout=QUIET_WAIT_S)
        except Timeout:
            log.warning("another process assembles %s; waiting for it", folder.name)
            lock.acquire()
    except NotImplementedError:
        pass
    except OSError as error:
        raise ArtifactError(
            f"{folder} cannot be written: {error.strerror or error}; set {CACHE_VARIABLE} to a folder of yours"
        ) from error
    try:
        yield
    finally:
        lock.release()
