"""Answers that no Hub gives, to every question: an error of ours, in one line, or the copy in the cache."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from found import find_artifact
from hub_server import LoopbackHub
from recorded import SHIPPED
from tiny import write_artifact

from onnxzoo.errors import HubError, InputError, OnnxzooError
from onnxzoo.hub import client, names
from onnxzoo.hub.listing import published
from onnxzoo.hub.publish import publish

REPO = "someone/tiny"
COMMIT = "0" * 40
WHEN = "2026-11-26T00:00:00.000Z"


def ref(**changes: Any) -> dict[str, Any]:
    return {"branches": [{"name": "main", "ref": "r", "targetCommit": COMMIT} | changes], "tags": [], "converts": []}


def commit(**changes: Any) -> list[Any]:
    return [{"id": COMMIT, "title": "x", "message": "", "date": WHEN, "authors": [{"user": "a"}]} | changes]


def info(**changes: Any) -> dict[str, Any]:
    return {"id": REPO, "sha": COMMIT, "private": False, "tags": [], "siblings": []} | changes


REFS, COMMITS, INFO = "GET /api/models/.*/refs", "GET /api/models/.*/commits/", "GET /api/models/.*/revision/"
ANSWERS: dict[str, tuple[str, Any]] = {
    "refs: a list": (REFS, []),
    "refs: text": (REFS, "main"),
    "refs: nothing": (REFS, None),
    "refs: no branches": (REFS, {"tags": []}),
    "refs: branches that are a number": (REFS, {"branches": 3, "tags": [], "converts": []}),
    "refs: a name that is a number": (REFS, ref(name=3)),
    "refs: a name that is a list": (REFS, ref(name=["main"])),
    "refs: a name with line breaks": (REFS, ref(name="a\nb")),
    "refs: a name of a folder above": (REFS, ref(name="../x")),
    "refs: a commit that is a number": (REFS, ref(targetCommit=7)),
    "refs: a commit that is a list": (REFS, ref(targetCommit=[COMMIT])),
    "refs: a commit that is a path": (REFS, ref(targetCommit="../../../elsewhere")),
    "commits: an object": (COMMITS, {"id": COMMIT}),
    "commits: a number": (COMMITS, 10**30),
    "commits: no date": (COMMITS, commit(date=None)),
    "commits: a date of no format": (COMMITS, commit(date="yesterday")),
    "commits: a hash that is a number": (COMMITS, commit(id=3)),
    "commits: a title that is an object": (COMMITS, commit(title={})),
    "commits: authors that are text": (COMMITS, commit(authors="a")),
    "info: a list": (INFO, [[]]),
    "info: a commit that is a number": (INFO, info(sha=3)),
    "info: files that are a number": (INFO, info(siblings=3)),
    "info: a file whose name is a number": (INFO, info(siblings=[{"rfilename": 3}])),
    "info: a file of negative size": (INFO, info(siblings=[{"rfilename": "x", "size": -1}])),
    "info: a file whose size is text": (INFO, info(siblings=[{"rfilename": "x", "size": "many"}])),
}


@pytest.fixture
def folder(loopback: LoopbackHub, tmp_path: Path, pauses: list[float]) -> Path:
    made = write_artifact(tmp_path / "tiny")
    loopback.store.add_repo(REPO, made)
    return made


@pytest.mark.parametrize("case", ANSWERS)
def test_an_answer_of_other_types_is_not_one_of_a_hub(case: str, folder: Path, loopback: LoopbackHub) -> None:
    pattern, answer = ANSWERS[case]
    loopback.fail(pattern, times=9, answer=json.dumps(answer).encode())
    name = names.parse(REPO)
    assert name is not None
    with pytest.raises(HubError) as caught:  # noqa: PT012 - one of two calls
        if pattern == INFO:
            publish(SHIPPED["pvt_v2_nano_fashion"], REPO, dry_run=True, allow_unvalidated=True)
        else:
            published(name)
    assert str(caught.value).startswith(f"{loopback.url} does not answer as a Hugging Face Hub (")
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 300
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("answer", [b"", b"<html>", b"[" * 100_000, b'{"branches": ' + b"9" * 5000 + b"}", b"\xff\xfe"])
def test_bytes_that_are_no_json(answer: bytes, folder: Path, loopback: LoopbackHub) -> None:
    loopback.fail(REFS, times=9, answer=answer)
    name = names.parse(REPO)
    assert name is not None
    with pytest.raises(
        HubError, match=r"does not answer as a Hugging Face Hub \(huggingface_hub's list_repo_refs ends"
    ):
        published(name)


@pytest.mark.parametrize("sha", [None, "", "main", "../../x", "g" * 40, "0" * 39])
def test_a_file_of_a_commit_that_cannot_be(
    sha: str | None, loopback: LoopbackHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = SimpleNamespace(commit_hash=sha, size=1, etag="x")
    monkeypatch.setattr(type(client.api()), "get_hf_file_metadata", lambda *_arguments, **_options: answer)
    with pytest.raises(HubError, match="it does not report the commit of the file"):
        client.remote_file(REPO, "config.json", "main")


@pytest.mark.parametrize("answer", [[], "text", {"harnesses": [3]}, {"harnesses": {"a": 3}}])
def test_a_list_of_agents_that_is_none(
    answer: Any, folder: Path, loopback: LoopbackHub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """huggingface_hub asks for it by itself, keeps what comes, and fails over it in every call from then on."""
    from huggingface_hub import constants

    agents = pytest.importorskip("huggingface_hub.utils._detect_agent", reason="came with a later version")
    monkeypatch.setattr(agents, "_registry", None)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", False)
    monkeypatch.setattr(constants, "HF_HOME", str(tmp_path))
    monkeypatch.setattr(constants, "AGENT_HARNESSES_PATH", str(tmp_path / client.AGENTS_FILE))
    loopback.fail("GET /api/agent-harnesses", times=9, answer=json.dumps(answer).encode())
    for _ in range(2):
        with pytest.raises(HubError, match=r"delete .*\.agent_harnesses\.json, or set HF_HUB_DISABLE_TELEMETRY=1$"):
            find_artifact(REPO)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)
    assert find_artifact(REPO).name == loopback.store.repos[REPO].branches["main"].sha


def test_the_copy_in_the_cache_stands_in_for_a_malformed_answer(
    folder: Path, loopback: LoopbackHub, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    found = find_artifact(REPO)
    monkeypatch.setattr(type(client.api()), "get_hf_file_metadata", _stumble)
    with pytest.raises(KeyError):  # ours, in a test: not one of huggingface_hub
        find_artifact(REPO)
    monkeypatch.setitem(_stumble.__globals__, "__name__", "huggingface_hub.hf_api")
    assert find_artifact(REPO) == found
    assert "(huggingface_hub's _stumble ends in KeyError)" in caplog.text
    assert "using the copy in the cache" in caplog.text


def _stumble(*_arguments: Any, **_options: Any) -> Any:
    raise KeyError("etag")


def test_what_our_own_code_raises_stays_what_it_is(loopback: LoopbackHub) -> None:
    with pytest.raises(TypeError), client.translated(REPO):
        len(3)  # type: ignore[arg-type]
    with pytest.raises(KeyError), client.translated(REPO):
        client.patiently(lambda: {}["x"])
    with pytest.raises(MemoryError), client.translated(REPO):
        raise MemoryError


@pytest.mark.parametrize("revision", [3, True, ["main"], b"main"])
def test_a_revision_that_is_not_text_is_refused(revision: Any) -> None:
    with pytest.raises(InputError, match="is not a valid revision; expected a branch"):
        find_artifact(REPO, revision=revision)
    with pytest.raises(OnnxzooError):
        find_artifact(f"{REPO}@", revision=revision)
