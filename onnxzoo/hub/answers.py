"""Queries the metadata of a Hub repo and checks its types, which huggingface_hub does not.

The functions raise the client's errors, and NotAHubError for an impossible answer: wrap the calls in
`client.translated`.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import TypeGuard

from huggingface_hub import ModelInfo, constants

from . import client, names

BRANCH, TAG = "branch", "tag"


@dataclass(frozen=True, slots=True)
class Ref:
    """A branch or tag (`kind`), and the SHA-1 of its commit."""

    kind: str
    name: str
    commit: str


@dataclass(frozen=True, slots=True)
class CommitNote:
    """A commit in a repo's history: its SHA-1, its date, and the first line of its message."""

    sha: str
    date: datetime.datetime
    title: str


def refs(repo_id: str) -> list[Ref]:
    """The branches and tags of a repo, in the Hub's order, branches first."""
    answer = client.patiently(lambda: client.api().list_repo_refs(repo_id))
    found = []
    for kind, listed in ((BRANCH, answer.branches), (TAG, answer.tags)):
        for one in listed:
            if not names.is_revision(one.name) or not names.is_commit(one.target_commit):
                raise client.not_a_hub(f"it lists a {kind} without a name or commit")
            found.append(Ref(kind, one.name, one.target_commit))
    return found


def history(repo_id: str) -> tuple[CommitNote, ...]:
    """The commits of main, newest first."""
    answer = client.patiently(lambda: client.api().list_repo_commits(repo_id))
    for one in answer:
        if not (names.is_commit(one.commit_id) and _is_time(one.created_at) and _is_text(one.title)):
            raise client.not_a_hub("it lists a commit without a hash, date or title")
    return tuple(CommitNote(one.commit_id, one.created_at, one.title) for one in answer)


def state(repo_id: str, branch: str) -> ModelInfo:
    """The state of the repo at a branch: its commit, and its files with sizes and hashes."""
    timeout = constants.HF_HUB_DOWNLOAD_TIMEOUT
    answer = client.api().model_info(repo_id, revision=branch, files_metadata=True, timeout=timeout)
    if answer.sha is not None and not names.is_commit(answer.sha):
        raise client.not_a_hub("it names an invalid commit")
    for file in answer.siblings or ():
        if not _is_text(file.rfilename) or not (file.size is None or _is_size(file.size)):
            raise client.not_a_hub("it lists a file without a name or size")
    return answer


def _is_text(value: object) -> TypeGuard[str]:
    return isinstance(value, str)


def _is_time(value: object) -> TypeGuard[datetime.datetime]:
    return isinstance(value, datetime.datetime)


def _is_size(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
