"""The official weights of the registry's models, from timm's repos on the Hub, in huggingface_hub's cache.

A file is accepted if its size and SHA-256 match the Hub's metadata (the etag of a large file) and, for a model whose
weights are pinned in the registry, the registry's. A valid file in the cache is not requested again.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..artifact.folder import Artifact
from ..errors import ArtifactError, ModelNotFoundError
from ..files import sha256_of
from ..registry import ModelEntry
from . import client
from .names import HubName
from .offline import blob_problem
from .snapshot import Download, Problem, is_offline

WEIGHTS_FILE = "model.safetensors"
LARGEST_BYTES = 2**32
"""Maximum size of a file of weights; the largest model's has 787 MB."""


@dataclass(frozen=True, slots=True)
class OfficialWeights:
    """A file of weights in the cache, and its origin on the Hub. `license_id`: the Hub's identifier of its licence."""

    path: Path
    repo: str
    commit: str
    license_id: str | None

    @property
    def origin(self) -> dict[str, str]:
        """The entries for `source` in config.json."""
        return {"repo": self.repo, "commit": self.commit}


def official_weights(entry: ModelEntry, *, offline: bool | None = None) -> OfficialWeights:
    """The weights of a registry model, downloaded if they are not in the cache; interrupted downloads start again.

    `offline`: True makes no request, None follows HF_HUB_OFFLINE. Raises ModelNotFoundError for a model without
    official weights, and offline for weights that are not in the cache, ArtifactError for a file that differs from the
    Hub's metadata or the pinned hash, HubError if the Hub refuses or cannot be reached.
    """
    name = _repo(entry)
    if is_offline(offline):
        return _from_cache(name, entry, "offline, the Hub is not asked")
    with client.translated(name.repo_id, revision=name.wanted, path=WEIGHTS_FILE, hint=name.otherwise):
        download = Download(name, None)
        if name.pinned:
            path = download.bring(WEIGHTS_FILE, _other_than(entry.source.timm_sha256), limit=LARGEST_BYTES)
        else:
            facts = download.ask(WEIGHTS_FILE)
            if facts is None:
                return _from_cache(name, entry, "the Hub cannot be reached")
            _require_announced(name, facts)
            download.commit = facts.commit
            problem = _other_than(facts.etag)
            path = download.bring(WEIGHTS_FILE, problem, facts, size=facts.size, limit=LARGEST_BYTES)
            download.note_commit()
    return OfficialWeights(path, name.repo_id, download.commit, entry.source.timm_license)


def announced_weights(entry: ModelEntry, *, latest: bool = False) -> client.RemoteFile:
    """The metadata of a model's official weights, in one request. Raises as `official_weights` does.

    They are looked up in `main` if `latest` is set or the registry has no pinned commit, else at that commit.
    """
    name = _repo(entry)
    if latest:
        name = dataclasses.replace(name, revision=None)
    with client.translated(name.repo_id, revision=name.wanted, path=WEIGHTS_FILE, hint=name.otherwise):
        facts = client.patiently(lambda: client.remote_file(name.repo_id, WEIGHTS_FILE, name.wanted))
    _require_announced(name, facts)
    return facts


def is_cached(entry: ModelEntry, commit: str) -> bool:
    """Whether the cache has the weights of this commit of a model's repo, without checking them."""
    return client.cached_file(_repo(entry).repo_id, WEIGHTS_FILE, commit) is not None


def cached_weights(artifact: Artifact) -> Path:
    """The weights that an artifact was assembled from, from the cache; makes no request.

    Raises ModelNotFoundError if they are missing or are not the ones that the artifact records.
    """
    source: Mapping[str, Any] = artifact.source
    repo, commit, file = (source.get(key) for key in ("repo", "commit", "file"))
    given = all(isinstance(value, str) for value in (repo, commit, file))
    path = client.cached_file(str(repo), str(file), str(commit)) if given else None
    if path is None or sha256_of(path) != source.get("sha256"):
        raise ModelNotFoundError(
            f"the weights that {artifact.folder} was made from are not on this machine; give their file with --weights "
            "(weights=)"
        )
    return path


def _repo(entry: ModelEntry) -> HubName:
    if entry.source.timm_repo is None:
        raise ModelNotFoundError(f"{entry.name} has no official weights on the Hub")
    return HubName(entry.source.timm_repo, entry.source.timm_commit, known_as=entry.name)


def _from_cache(name: HubName, entry: ModelEntry, why: str) -> OfficialWeights:
    path = client.cached_file(name.repo_id, WEIGHTS_FILE, name.wanted)
    if path is None:
        raise ModelNotFoundError(
            f"{entry.name} is not on this machine, nor are its weights ({name.repo_id}), and {why}; when online: "
            f"onnxzoo download {entry.name}; or {name.otherwise}"
        )
    pinned = entry.source.timm_sha256
    wrong = blob_problem(path) if pinned is None else _other_than(pinned)(path)
    if wrong:
        raise ArtifactError(f"{path} {wrong}, and {why}; when online: onnxzoo download {entry.name}")
    return OfficialWeights(path, name.repo_id, path.parent.name, entry.source.timm_license)


def _other_than(sha256: str | None) -> Problem:
    def problem(path: Path) -> str | None:
        digest = sha256_of(path)
        return None if digest == sha256 else f"was altered: its sha256 is {digest}, expected {sha256}"

    return problem


def _require_announced(name: HubName, facts: client.RemoteFile) -> None:
    """Raise an error if the Hub states no SHA-256, as it does for large files; the download could not be verified."""
    if facts.etag is None or len(facts.etag) != 64 or facts.size is None:
        raise ArtifactError(
            f"{WEIGHTS_FILE} of {name} is not used: the Hub at {client.endpoint()} does not say its size and SHA-256; "
            "check HF_ENDPOINT"
        )
