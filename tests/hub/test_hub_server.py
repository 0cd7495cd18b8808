"""The loopback Hub itself: what huggingface_hub's client makes of it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hub_server import READ_TOKEN, WRITE_TOKEN, LoopbackHub
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, ModelCard, hf_hub_download
from huggingface_hub import errors as hf

LARGE = bytes(range(256)) * 8000  # 2 MB
FILES = {"config.json": b'{"a": 1}', "onnx/model.onnx": LARGE}
REPO = "someone/model"


@pytest.fixture
def api(loopback: LoopbackHub) -> HfApi:
    loopback.store.add_repo(REPO, FILES)
    return HfApi(endpoint=loopback.url)


def test_the_client_lists_and_describes(api: HfApi, loopback: LoopbackHub) -> None:
    info = api.model_info(REPO, files_metadata=True)
    sizes = {one.rfilename: (one.size, one.lfs is not None) for one in info.siblings or []}
    assert sizes["config.json"] == (8, False)
    assert sizes["onnx/model.onnx"] == (len(LARGE), True)
    assert info.sha == loopback.store.repos[REPO].branches["main"].sha
    assert {one.path for one in api.list_repo_tree(REPO)} == {".gitattributes", "config.json", "onnx"}
    assert "onnx/model.onnx" in {one.path for one in api.list_repo_tree(REPO, recursive=True)}
    assert [one.path for one in api.list_repo_tree(REPO, "onnx")] == ["onnx/model.onnx"]
    (found,) = api.get_paths_info(REPO, ["onnx/model.onnx", "absent"])
    assert found.lfs.sha256 == loopback.store.repos[REPO].branches["main"].files["onnx/model.onnx"].sha256
    assert [commit.title for commit in api.list_repo_commits(REPO)] == ["Change", "initial commit"]


def test_the_client_downloads_both_kinds_of_files(api: HfApi, loopback: LoopbackHub, tmp_path: Path) -> None:
    for name, content in FILES.items():
        path = hf_hub_download(REPO, name, cache_dir=tmp_path)
        assert Path(path).read_bytes() == content
    assert loopback.log.sent(r"GET /objects/") == len(LARGE)
    assert [one.status for one in loopback.log.all(r"resolve/main/onnx/model.onnx")] == [302]
    sent = loopback.log.sent()
    hf_hub_download(REPO, "onnx/model.onnx", cache_dir=tmp_path)
    assert loopback.log.sent() == sent


def test_revisions(api: HfApi, loopback: LoopbackHub, tmp_path: Path) -> None:
    first = loopback.store.repos[REPO].branches["main"].sha
    loopback.store.change(REPO, {"config.json": b"{}"})
    loopback.store.change(REPO, {"config.json": b"[]"}, branch="v2/next")
    loopback.store.repos[REPO].tags["v1"] = loopback.store.repos[REPO].commits[first]
    for revision, content in {
        "main": b"{}",
        "v2/next": b"[]",
        "v1": FILES["config.json"],
        first: FILES["config.json"],
    }.items():
        assert Path(hf_hub_download(REPO, "config.json", revision=revision, cache_dir=tmp_path)).read_bytes() == content
    refs = api.list_repo_refs(REPO)
    assert {one.name for one in refs.branches} == {"main", "v2/next"}
    assert [(one.name, one.target_commit) for one in refs.tags] == [("v1", first)]
    with pytest.raises(hf.RevisionNotFoundError):
        hf_hub_download(REPO, "config.json", revision="v9", cache_dir=tmp_path)
    with pytest.raises(hf.RemoteEntryNotFoundError):
        hf_hub_download(REPO, "absent.json", cache_dir=tmp_path)


def test_a_private_repository_needs_its_owners_token(api: HfApi, loopback: LoopbackHub, tmp_path: Path) -> None:
    loopback.store.add_repo("someone/secret", FILES, private=True)
    for token in (None, READ_TOKEN):
        with pytest.raises(hf.RepositoryNotFoundError):
            hf_hub_download("someone/secret", "config.json", token=token, cache_dir=tmp_path)
    path = hf_hub_download("someone/secret", "onnx/model.onnx", token=WRITE_TOKEN, cache_dir=tmp_path)
    assert Path(path).read_bytes() == LARGE
    assert [one.authorized for one in loopback.log.all("GET /objects/")] == [False]
    with pytest.raises(hf.HfHubHTTPError) as caught:
        api.model_info(REPO, token="hf_unknown")  # noqa: S106
    assert caught.value.response.status_code == 401
    assert api.whoami(token=WRITE_TOKEN)["name"] == "someone"


def test_a_commit_uploads_what_is_new_only(api: HfApi, loopback: LoopbackHub) -> None:
    def commit(**more: object) -> object:
        operations = [CommitOperationAdd(name, content) for name, content in FILES.items()]
        return api.create_commit(repo, operations, commit_message="First", token=WRITE_TOKEN, **more)  # type: ignore

    repo = "onnxzoo/new"
    api.create_repo(repo, private=True, token=WRITE_TOKEN)
    assert loopback.store.repos[repo].private
    first = commit()
    assert loopback.store.repos[repo].branches["main"].sha == first.oid
    assert {k: b.content for k, b in loopback.store.repos[repo].branches["main"].files.items() if k in FILES} == FILES
    assert loopback.log.received("PUT") == len(LARGE)
    assert commit().oid == first.oid
    assert loopback.log.received("PUT") == len(LARGE)
    operations = [CommitOperationDelete("config.json"), CommitOperationAdd("b.onnx", LARGE)]
    second = api.create_commit(repo, operations, commit_message="Second", token=WRITE_TOKEN, parent_commit=first.oid)
    assert set(loopback.store.repos[repo].commits[second.oid].files) == {".gitattributes", "onnx/model.onnx", "b.onnx"}
    assert loopback.log.received("PUT") == len(LARGE)
    with pytest.raises(hf.HfHubHTTPError, match="A commit has happened since"):
        api.create_commit(
            repo,
            [CommitOperationAdd("c", b"c")],
            commit_message="Late",
            token=WRITE_TOKEN,
            parent_commit=first.oid,
        )
    pull = api.create_commit(
        repo, [CommitOperationAdd("c", b"c")], commit_message="PR", token=WRITE_TOKEN, create_pr=True
    )
    assert pull.pr_url.endswith("/discussions/1")
    assert "c" not in loopback.store.repos[repo].branches["main"].files
    api.create_branch(repo, branch="next", token=WRITE_TOKEN)
    assert "next" in loopback.store.repos[repo].branches


def test_who_may_not_write(api: HfApi) -> None:
    addition = CommitOperationAdd("a", b"a")
    for token, status in ((False, 401), (READ_TOKEN, 403)):
        with pytest.raises(hf.HfHubHTTPError) as caught:
            api.create_commit(REPO, [addition], commit_message="No", token=token)
        assert caught.value.response.status_code == status
        with pytest.raises(hf.HfHubHTTPError):
            api.create_repo("onnxzoo/other", token=token)


def test_cards_are_judged(api: HfApi, loopback: LoopbackHub) -> None:
    ModelCard("---\nlicense: mit\npipeline_tag: image-classification\n---\nText").validate()
    with pytest.raises(ValueError, match="pipeline_tag"):
        ModelCard("---\npipeline_tag: cats\n---\nText").validate()
    before = loopback.store.repos[REPO].branches["main"]
    for wrong in (
        "license: [mit]",
        "license: none-such",
        "a: b: c",
        "model-index:\n- name: x",
        "license: mit\ndatasets: [a b]",
    ):
        card = CommitOperationAdd("README.md", f"---\n{wrong}\n---\nText".encode())
        with pytest.raises(ValueError, match=r"Invalid metadata in README\.md"):
            api.create_commit(REPO, [card], commit_message="Card", token=WRITE_TOKEN)
    assert loopback.store.repos[REPO].branches["main"] is before


FAULTS = {
    "cut": {"cut_after": 1_000_000},
    "short": {"short_by": 1000},
    "wrong": {"wrong_at": 5},
    "slow": {"delay_s": 0.01, "chunk": 500_000},
    "refused": {"status": 403},
}


@pytest.mark.parametrize("name", FAULTS)
def test_faults_arrive_as_meant(
    name: str,
    api: HfApi,
    loopback: LoopbackHub,
    pauses: list[float],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 100_000)  # the client goes on by whole chunks
    loopback.fail("GET /objects/", **FAULTS[name])
    if name in ("short", "refused"):
        with pytest.raises(OSError, match=r"Consistency check failed|403 Forbidden: a fault of the test"):
            hf_hub_download(REPO, "onnx/model.onnx", cache_dir=tmp_path)
    content = Path(hf_hub_download(REPO, "onnx/model.onnx", cache_dir=tmp_path)).read_bytes()
    assert (content == LARGE) == (name != "wrong")
    assert len(content) == len(LARGE)
    if name == "cut":
        first, second = loopback.log.all("GET /objects/")
        assert (first.sent, second.status, second.range) == (1_000_000, 206, "bytes=1000000-")


def test_the_client_obeys_retry_after(api: HfApi, loopback: LoopbackHub, pauses: list[float], tmp_path: Path) -> None:
    loopback.fail("GET /objects/", times=2, status=429, headers={"Retry-After": "7"})
    assert Path(hf_hub_download(REPO, "onnx/model.onnx", cache_dir=tmp_path)).read_bytes() == LARGE
    assert pauses == [8.0, 8.0]


def test_a_child_process_uses_the_hub_by_its_environment(api: HfApi, loopback: LoopbackHub, tmp_path: Path) -> None:
    script = f"import huggingface_hub as h; print(h.hf_hub_download({REPO!r}, 'config.json'))"
    environment = {**os.environ, **loopback.environment, "HF_HUB_CACHE": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-P", "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    assert Path(done.stdout.strip()).read_bytes() == FILES["config.json"]
