"""The publications of a Hub repo: its branches and tags with their contents, and the commits of main."""

from __future__ import annotations

from dataclasses import dataclass

from ..artifact.folder import Artifact
from ..errors import ArtifactError, ModelNotFoundError
from . import answers, client, names
from .answers import CommitNote
from .names import HubName
from .snapshot import take

MAX_INSPECTED = 20
"""Maximum number of commits whose config.json is fetched, as a repo may have any number of tags."""


@dataclass(frozen=True, slots=True)
class Edition:
    """A branch or tag: the `artifact` that its config.json describes, or None and the `problem`."""

    name: str
    kind: str
    commit: str
    artifact: Artifact | None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Listing:
    """A Hub repo: main first, then the other branches, then the tags; `history` is main's, newest first."""

    repo_id: str
    url: str
    editions: tuple[Edition, ...]
    history: tuple[CommitNote, ...]


def published(name: HubName) -> Listing:
    """List what the Hub has of this model; the only file fetched is config.json, once per commit.

    If `name` has a revision, only that branch, tag or commit is listed. Raises ModelNotFoundError for a repo or
    revision that does not exist, HubError if the Hub cannot be reached or, offline, must not be.
    """
    with client.translated(name.repo_id, revision=name.wanted, hint=name.otherwise):
        refs, history = answers.refs(name.repo_id), answers.history(name.repo_id)
    branches = [ref for ref in refs if ref.kind == answers.BRANCH]
    branches.sort(key=lambda ref: (ref.name != names.DEFAULT_REVISION, ref.name))
    listed = [*branches, *(ref for ref in refs if ref.kind == answers.TAG)]
    wanted = [(ref.kind, ref.name, ref.commit) for ref in listed]
    wanted += [("commit", note.sha, note.sha) for note in history if note.sha == name.revision]
    if name.revision is not None:
        wanted = [one for one in wanted if name.revision == one[1]]
        if not wanted:
            known = ", ".join(ref.name for ref in listed)
            raise ModelNotFoundError(f"{name.repo_id} has no branch, tag or commit {name.revision!r}; it has {known}")
    found: dict[str, Artifact | str] = {}
    for _, _, commit in wanted:
        if commit not in found:
            found[commit] = _inspect(name, commit) if len(found) < MAX_INSPECTED else "not asked for, there are many"
    editions = tuple(
        Edition(label, kind, commit, *((None, held) if isinstance(held := found[commit], str) else (held, "")))
        for kind, label, commit in wanted
    )
    return Listing(name.repo_id, client.web_address(name.repo_id), editions, history)


def _inspect(name: HubName, commit: str) -> Artifact | str:
    """The artifact at a commit, or the reason why there is none."""
    try:
        return take(HubName(name.repo_id, commit, name.known_as), offline=False, precision=None).artifact
    except ArtifactError as error:
        return str(error)
