"""Models from a Hub on loopback: what is asked for, kept, checked, and said when something is wrong."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest
from artifacts import announce
from click.testing import CliRunner
from found import find_artifact
from hub_server import READ_TOKEN, WRITE_TOKEN, LoopbackHub
from huggingface_hub import constants
from tiny import tiny_logits, two_precisions, write_artifact

import onnxzoo
from onnxzoo.artifact.folder import read_artifact
from onnxzoo.cli import main
from onnxzoo.errors import ArtifactError, HubError, InputError, ModelNotFoundError, OnnxzooError
from onnxzoo.files import sha256_of
from onnxzoo.hub import client, lookup
from onnxzoo.source import resolve

REPO = "someone/tiny"
MODEL = "onnx/model.onnx"


@pytest.fixture
def hub(loopback: LoopbackHub, tiny: Path) -> LoopbackHub:
    """The loopback Hub with the tiny artifact as someone/tiny."""
    loopback.store.add_repo(REPO, tiny)
    return loopback


def head(hub: LoopbackHub, repo: str = REPO) -> str:
    """The commit of main."""
    return hub.store.repos[repo].branches["main"].sha


def asked(hub: LoopbackHub) -> list[str]:
    """METHOD and file of each request for a file, redirects within the Hub left out."""
    return [f"{one.method} {one.path.split('?')[0]}" for one in hub.log.all() if "/api/" not in one.path]


def blob_of(folder: Path, path: str) -> Path:
    return (folder / path).resolve()


def test_a_model_by_its_repo_runs_as_the_local_one(hub: LoopbackHub, tiny: Path, batch: np.ndarray) -> None:
    with onnxzoo.load(REPO) as model:
        np.testing.assert_allclose(model.logits(batch), tiny_logits(batch), atol=1e-5)
        assert (model.artifact.folder / MODEL).read_bytes() == (tiny / MODEL).read_bytes()
        assert model.artifact.config == read_artifact(tiny).config


def test_the_requests_of_a_first_and_a_second_load(hub: LoopbackHub) -> None:
    folder = find_artifact(REPO)
    commit = head(hub)
    large = hub.store.repos[REPO].branches["main"].files[MODEL].sha256
    at = f"/{REPO}/resolve/{commit}"
    assert asked(hub) == [
        f"HEAD /{REPO}/resolve/main/config.json",
        f"HEAD {at}/config.json",
        f"HEAD {at}/{MODEL}",
        f"HEAD {at}/{MODEL}",
        f"GET /objects/{REPO}/{large}",
    ]
    assert len(hub.log.all("GET .*config.json")) == 1
    hub.log.clear()
    assert find_artifact(REPO) == folder
    assert asked(hub) == [f"HEAD /{REPO}/resolve/main/config.json"]
    assert hub.log.sent() == 0


def test_only_what_is_needed_comes(hub: LoopbackHub, tmp_path: Path, batch: np.ndarray) -> None:
    folder = two_precisions(tmp_path / "two")
    (folder / "README.md").write_text("a card")
    (folder / "conformance.npz").write_bytes(b"vectors")
    announce(folder, "conformance.npz")
    hub.store.add_repo("someone/two", folder)

    def here(found: Path) -> set[str]:
        return {path.relative_to(found).as_posix() for path in found.rglob("*") if path.is_file()}

    assert here(find_artifact("someone/two", precision=None)) == {"config.json"}
    assert here(find_artifact("someone/two", precision="fp16")) == {"config.json", "onnx/model_fp16.onnx"}
    both = {"config.json", MODEL, "onnx/model_fp16.onnx"}
    assert here(find_artifact("someone/two")) == both
    assert here(find_artifact("someone/two", files=["conformance.npz", "absent"])) == both | {"conformance.npz"}
    with pytest.raises(InputError, match="the model has fp32, fp16"):
        onnxzoo.load("someone/two", precision="int8")


def test_a_registry_name_is_looked_for_in_the_namespace(
    loopback: LoopbackHub, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_artifact(tmp_path / "b0", name="pvt_v2_b0")
    loopback.store.add_repo("onnxzoo/pvt_v2_b0", folder)
    loopback.store.add_repo("mine/pvt_v2_b0", folder)
    assert find_artifact("PVT_V2_B0").parent.parent.name == "models--onnxzoo--pvt_v2_b0"
    monkeypatch.setenv("ONNXZOO_NAMESPACE", "mine")
    assert find_artifact("pvt_v2_b0").parent.parent.name == "models--mine--pvt_v2_b0"
    loopback.log.clear()
    exported = write_artifact(cache / "models" / "pvt_v2_b0", name="pvt_v2_b0")
    assert find_artifact("pvt_v2_b0") == exported
    assert loopback.log.all() == []
    assert find_artifact("pvt_v2_b0", revision="main").parent.parent.name == "models--mine--pvt_v2_b0"
    assert find_artifact("pvt_v2_b0@main").parent.parent.name == "models--mine--pvt_v2_b0"
    monkeypatch.setenv("ONNXZOO_NAMESPACE", "a/b")
    with pytest.raises(InputError, match="ONNXZOO_NAMESPACE is 'a/b', expected the name of a Hub user"):
        find_artifact("pvt_v2_b1")


def test_revisions(hub: LoopbackHub, tmp_path: Path) -> None:
    first = head(hub)
    hub.store.repos[REPO].tags["v1"] = hub.store.repos[REPO].commits[first]
    newer = write_artifact(tmp_path / "newer", name="newer")
    second = hub.store.change(REPO, newer)
    hub.store.change(REPO, {"config.json": b"{}"}, branch="a/b")
    for name, revision, commit in (
        (REPO, None, second),
        (f"{REPO}@main", None, second),
        (REPO, "v1", first),
        (f"{REPO}@v1", None, first),
        (f"{REPO}@v1", "v1", first),
        (REPO, first, first),
        (REPO, first[:10], first),
        (REPO, second, second),
    ):
        assert find_artifact(name, revision=revision).name == commit
    with pytest.raises(ArtifactError, match="has no schema_version"):
        find_artifact(f"{REPO}@a/b")
    with pytest.raises(ModelNotFoundError, match=f"{REPO} has no revision 'v9'; 'onnxzoo info {REPO} --hub' lists"):
        find_artifact(REPO, revision="v9")
    with pytest.raises(InputError, match="two revisions: 'v1' behind the @ and 'v2' beside it"):
        find_artifact(f"{REPO}@v1", revision="v2")


def test_a_commit_that_is_here_takes_no_request(hub: LoopbackHub) -> None:
    folder = find_artifact(REPO, revision=head(hub))
    hub.log.clear()
    assert find_artifact(REPO, revision=head(hub)) == folder
    assert find_artifact(f"{REPO}@{head(hub)}") == folder
    assert hub.log.all() == []


@pytest.mark.parametrize(
    "revision", ["", "../../up", "a b", "a..b", "/a", "-a", "a/", "a\0", "a\n", "C:\\a", "a:b", "a@{1}", 3]
)
def test_what_is_no_revision(hub: LoopbackHub, revision: Any) -> None:
    with pytest.raises(InputError, match="is no revision; expected a branch, a tag or a commit"):
        find_artifact(REPO, revision=revision)
    assert hub.log.all() == []


def test_a_folder_that_is_here_wins_unless_a_revision_is_given(
    hub: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    local = write_artifact(tmp_path / REPO)
    assert find_artifact(REPO) == Path(REPO)
    assert hub.log.all() == []
    assert find_artifact(f"{REPO}@main").name == head(hub)
    assert find_artifact(REPO, revision="main").name == head(hub)
    for path in (f"./{REPO}", local):
        with pytest.raises(InputError, match="is a folder, which has no revisions"):
            find_artifact(path, revision="main")


@pytest.mark.parametrize(
    "name",
    ["some--one/x", "a/b.git", "a/..", "-a/b", "a/b-", "a/b/c", "a/b\0", "datasets/a/b", "ä/b", "a/" + "b" * 200],
)
def test_what_is_no_repo_is_a_folder(loopback: LoopbackHub, name: str) -> None:
    with pytest.raises((ModelNotFoundError, InputError), match=r"there is no folder|is no name of a Hub repository"):
        find_artifact(name)
    assert loopback.log.all() == []


# Damage


@pytest.mark.parametrize("path", ["config.json", MODEL])
@pytest.mark.parametrize("damage", ["altered", "truncated", "empty"])
@pytest.mark.parametrize("pinned", [False, True])
def test_a_damaged_file_in_the_cache_is_fetched_again(
    hub: LoopbackHub, tiny: Path, path: str, damage: str, pinned: bool
) -> None:
    revision = head(hub) if pinned else None
    blob = blob_of(find_artifact(REPO, revision=revision), path)
    spoil(blob, damage)
    hub.log.clear()
    folder = find_artifact(REPO, revision=revision)
    assert (folder / path).read_bytes() == (tiny / path).read_bytes()
    assert len(hub.log.all("^GET /objects|^GET /api/resolve")) == 1


@pytest.mark.parametrize("path", ["config.json", MODEL])
@pytest.mark.parametrize("damage", ["altered", "truncated"])
def test_offline_a_damaged_file_is_named(hub: LoopbackHub, path: str, damage: str) -> None:
    blob = blob_of(find_artifact(REPO), path)
    spoil(blob, damage)
    hub.log.clear()
    what = r"has \d+ bytes, expected|was altered: its (sha256|hash) is \w+, expected \w+"
    with pytest.raises(ArtifactError, match=rf"{path} ({what})"):
        find_artifact(REPO, offline=True)
    assert hub.log.all() == []


def test_wrong_bytes_are_fetched_again_once(hub: LoopbackHub, tiny: Path, caplog: pytest.LogCaptureFixture) -> None:
    hub.fail("GET /objects/", wrong_at=5)
    assert (find_artifact(REPO) / MODEL).read_bytes() == (tiny / MODEL).read_bytes()
    assert len(hub.log.all("GET /objects/")) == 2
    assert [record.message for record in caplog.records] == [
        f"{MODEL} of {REPO} was altered: its sha256 is {altered_hash(tiny / MODEL, 5)}, expected "
        f"{sha256_of(tiny / MODEL)}; fetching it again"
    ]


def test_wrong_bytes_twice_are_an_error_with_both_hashes(hub: LoopbackHub, tiny: Path) -> None:
    for _ in range(2):  # the second call finds the wrong file in the cache
        hub.fail("GET /objects/", times=2, wrong_at=5)
        hub.log.clear()
        with pytest.raises(
            ArtifactError,
            match=f"{MODEL} of {REPO} was altered: its sha256 is {altered_hash(tiny / MODEL, 5)}, expected "
            f"{sha256_of(tiny / MODEL)}, and did again when it was fetched a second time; it is not used",
        ):
            find_artifact(REPO)
        hub.faults.clear()
    assert len(hub.log.all("GET /objects/")) == 1
    assert (find_artifact(REPO) / MODEL).read_bytes() == (tiny / MODEL).read_bytes()


def test_a_cut_connection_is_continued(
    hub: LoopbackHub, tmp_path: Path, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 100_000)  # the client goes on by whole chunks
    nano = lookup.SHIPPED_DIR / "pvt_v2_nano_fashion"
    hub.store.add_repo("someone/nano", nano)
    hub.fail("GET /objects/", cut_after=1_000_000)
    assert (find_artifact("someone/nano") / MODEL).read_bytes() == (nano / MODEL).read_bytes()
    first, second = hub.log.all("GET /objects/")
    assert (first.sent, second.status) == (1_000_000, 206)


def test_an_answer_that_is_too_short(hub: LoopbackHub, tiny: Path, pauses: list[float]) -> None:
    hub.fail("GET /objects/", short_by=10)
    assert (find_artifact(REPO) / MODEL).read_bytes() == (tiny / MODEL).read_bytes()
    assert len(hub.log.all("GET /objects/")) == 2


def test_a_cache_without_links(hub: LoopbackHub, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.file_download.are_symlinks_supported", lambda *_: False)
    folder = find_artifact(REPO)
    assert not (folder / MODEL).is_symlink()
    for path in ("config.json", MODEL):
        spoil(folder / path, "truncated")
        assert (find_artifact(REPO) / path).read_bytes() == (tiny / path).read_bytes()
        spoil(folder / path, "truncated")
        with pytest.raises(ArtifactError, match=r"expected|cannot be read"):
            find_artifact(REPO, offline=True)
        find_artifact(REPO, revision=head(hub))
    assert find_artifact(REPO, offline=True) == folder


def test_a_new_commit_is_followed_and_the_old_one_stays_until_it_is_whole(
    hub: LoopbackHub, tmp_path: Path, pauses: list[float]
) -> None:
    old = find_artifact(REPO)
    hub.store.change(REPO, two_precisions(tmp_path / "changed", fp32_at_opset=16))
    hub.fail("GET /objects/", times=99, status=500)
    with pytest.raises(HubError, match="the Hub answers 500"):
        find_artifact(REPO)
    assert find_artifact(REPO, offline=True) == old
    hub.faults.clear()
    new = find_artifact(REPO)
    assert new.name == head(hub) != old.name
    assert find_artifact(REPO, offline=True) == new


def test_the_note_of_a_branch_is_written_without_a_request_and_of_the_commit_that_came(
    hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody commits between the question for the commit and the end of the download."""
    bring = client.download_file

    def and_commit(repo_id: str, path: str, *arguments: Any, **options: Any) -> Path:
        if path == MODEL:
            hub.store.change(REPO, {"README.md": b"new"})
        return bring(repo_id, path, *arguments, **options)

    monkeypatch.setattr(client, "download_file", and_commit)
    folder = find_artifact(REPO)
    assert folder.name != head(hub)
    assert find_artifact(REPO, offline=True) == folder
    assert (client.repo_folder(REPO) / "refs" / "main").read_text() == folder.name


@pytest.mark.parametrize("options", [{"precision": None}, {"precision": "int8"}])
def test_config_alone_does_not_take_the_place_of_a_commit_that_is_whole(
    hub: LoopbackHub, options: dict[str, Any]
) -> None:
    old = find_artifact(REPO)
    hub.store.change(REPO, {"README.md": b"new"})
    source = resolve(REPO, **options)
    new = source.artifact.folder
    assert new.name == head(hub)
    assert find_artifact(REPO, offline=True) == old
    onnxzoo.load(REPO, offline=True).close()
    # Once a model came for it, it does.
    source.open("fp32")
    assert find_artifact(REPO, offline=True) == new


def test_the_branch_is_noted_when_the_engine_has_its_file(hub: LoopbackHub) -> None:
    old = find_artifact(REPO)
    hub.store.change(REPO, {"README.md": b"new"})
    onnxzoo.load(REPO, precision="auto").close()
    assert find_artifact(REPO, offline=True).name == head(hub) != old.name
    onnxzoo.load(REPO, precision="auto", offline=True).close()


def test_offline_the_newest_of_several_whole_copies_serves(hub: LoopbackHub, tmp_path: Path) -> None:
    folders = [find_artifact(REPO)]
    for number in range(2):
        hub.store.change(REPO, write_artifact(tmp_path / str(number), changes={"tools": {"onnx": str(number)}}))
        folders.append(find_artifact(REPO))
    hub.store.change(REPO, two_precisions(tmp_path / "two"))
    find_artifact(REPO, precision="fp16")  # the newest of all, without the file that is wanted
    for age, folder in zip((300, 100, 200), folders, strict=True):
        os.utime(folder, (time.time() - age, time.time() - age))
    assert find_artifact(REPO, offline=True) == folders[1]


def test_offline_an_older_whole_copy_serves_with_a_warning(
    hub: LoopbackHub, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    old = find_artifact(REPO)
    hub.store.change(REPO, two_precisions(tmp_path / "two"))
    new = find_artifact(REPO, precision="fp16")
    assert find_artifact(REPO, precision="fp16", offline=True) == new
    assert caplog.records == []
    assert find_artifact(REPO, offline=True) == old
    (warned,) = caplog.records
    assert warned.message.endswith(f"; using another copy that is whole, commit {old.name}")
    # What was asked for by its revision is that or nothing.
    with pytest.raises(ModelNotFoundError, match=r"model\.onnx of .* is not on this machine"):
        find_artifact(REPO, offline=True, revision=new.name)


# Files that come when the engine opens them


@pytest.fixture
def with_int8(loopback: LoopbackHub, tmp_path: Path) -> Path:
    """someone/two, of which `auto` takes the int8 file; its folder."""
    folder = two_precisions(tmp_path / "two", "int8")
    loopback.store.add_repo("someone/two", folder)
    return folder


def test_what_the_engine_opens_is_of_the_commit_that_was_found(loopback: LoopbackHub, with_int8: Path) -> None:
    """The branch is asked for once: a commit that comes between config.json and the model is another model."""
    onnxzoo.load("someone/two", precision="auto").close()
    assert asked(loopback).count("HEAD /someone/two/resolve/main/config.json") == 1
    first = head(loopback, "someone/two")
    source = resolve("someone/two", precision=None)
    loopback.store.change("someone/two", {"onnx/model.onnx": b"of another commit"})
    loopback.log.clear()
    assert source.here == ("int8",)
    opened = source.open("fp32")
    assert (source.commit, opened.path.parent.parent.name) == (first, first)
    assert opened.path.read_bytes() == (with_int8 / MODEL).read_bytes()
    assert {one.partition("/resolve/")[2] for one in asked(loopback) if "/resolve/" in one} == {f"{first}/{MODEL}"}
    assert source.here == ("fp32", "int8")


def test_a_damaged_file_that_the_engine_opens_is_fetched_again(loopback: LoopbackHub, with_int8: Path) -> None:
    with onnxzoo.load("someone/two", precision="auto") as model:
        blob = blob_of(model.artifact.folder, "onnx/model_int8.onnx")
        assert not (model.artifact.folder / MODEL).exists()
    spoil(blob, "altered")
    loopback.log.clear()
    onnxzoo.load("someone/two", precision="auto").close()
    assert blob.read_bytes() == (with_int8 / "onnx/model_int8.onnx").read_bytes()
    assert len(loopback.log.all("GET /objects/")) == 1


def test_offline_auto_takes_what_is_here(loopback: LoopbackHub, with_int8: Path) -> None:
    find_artifact("someone/two")
    loopback.log.clear()
    onnxzoo.load("someone/two", precision="auto", offline=True).close()
    assert loopback.log.all() == []
    with pytest.raises(ModelNotFoundError, match=r"model_int8\.onnx of someone/two.* is not on this machine"):
        onnxzoo.load("someone/two", precision="int8", offline=True)


def test_offline_without_any_file_auto_says_how_to_get_one(loopback: LoopbackHub, with_int8: Path) -> None:
    find_artifact("someone/two", precision=None)
    with pytest.raises(ModelNotFoundError, match=r"download it when online: onnxzoo download someone/two@\w+ --prec"):
        onnxzoo.load("someone/two", precision="auto", offline=True, engine="openvino")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"engine": "opnvino"}, "'opnvino' is not an engine .*did you mean 'openvino'"),
        ({"engine": "cuda", "precision": "bf16"}, "the engine 'cuda' has no precision 'bf16'"),
        ({"precision": "fp12"}, "'fp12' is not a precision"),
        ({"weights": "x.pdparams"}, "weights are for the engine 'paddle'"),
        ({"engine": "paddle", "precision": "int8"}, "computes in fp32 only"),
        ({"threads": 0}, "threads must be"),
    ],
)
def test_a_wrong_request_downloads_nothing(hub: LoopbackHub, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        onnxzoo.load(REPO, **options)
    assert hub.log.all() == []


# Offline


def test_offline_the_cache_serves_without_a_request(hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = find_artifact(REPO)
    hub.log.clear()
    assert find_artifact(REPO, offline=True) == folder
    assert find_artifact(REPO, offline=True, revision=head(hub)) == folder
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert find_artifact(REPO) == folder
    onnxzoo.load(REPO).close()
    with pytest.raises(HubError, match="HF_HUB_OFFLINE is set, so the Hub is not asked; unset it"):
        find_artifact("someone/other", offline=False)
    assert hub.log.all() == []
    with pytest.raises(InputError, match="offline must be True, False or None, got 1"):
        find_artifact(REPO, offline=1)  # type: ignore[arg-type]


def test_offline_says_what_is_missing(hub: LoopbackHub, tmp_path: Path) -> None:
    hub.store.add_repo("someone/two", two_precisions(tmp_path / "two"))
    find_artifact("someone/two")
    hub.log.clear()
    for name, options, message in (
        (
            "someone/two",
            {"precision": "fp16"},
            "model_fp16.onnx of someone/two is not on this machine .* --precision fp16",
        ),
        (
            "someone/two",
            {"revision": "v1"},
            "someone/two@v1 is not on this machine .*: onnxzoo download someone/two@v1$",
        ),
        (
            "pvt_v2_b0",
            {},
            "not in .*pvt_v2_b0 nor in .*models--onnxzoo--pvt_v2_b0.*onnxzoo download pvt_v2_b0; or export",
        ),
        (
            "pvt_v2_b0",
            {"revision": "v1"},
            "onnxzoo/pvt_v2_b0@v1 is .*onnxzoo download pvt_v2_b0 --revision v1; or export",
        ),
    ):
        with pytest.raises(ModelNotFoundError, match=message):
            find_artifact(name, offline=True, **options)
    assert hub.log.all() == []


@pytest.mark.parametrize("fault", [{"status": 503}, {"status": 429}, {"delay_s": 1.0}, {"closed": True}])
def test_where_the_hub_cannot_be_reached_the_cache_serves_with_a_warning(
    hub: LoopbackHub, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, fault: dict[str, Any]
) -> None:
    folder = find_artifact(REPO)
    monkeypatch.setattr(constants, "HF_HUB_ETAG_TIMEOUT", 0.2)
    if fault.pop("closed", None):
        hub.close()
        huggingface_hub.close_session()  # the client keeps its connections open
    else:
        hub.fail("HEAD", times=99, **fault)
    hub.log.clear()
    assert find_artifact(REPO) == folder
    assert len(hub.log.all()) <= 1
    assert len(caplog.records) == 1
    assert caplog.records[0].message.endswith("; using the copy in the cache, which may be an old one")


@pytest.mark.parametrize("pattern", ["HEAD", "GET|HEAD"])
@pytest.mark.parametrize(
    "fault",
    [
        {"html": True},
        {"html": True, "status": 401},
        {"html": True, "status": 403},
        {"html": True, "status": 407},
        {"html": True, "status": 511},
    ],
)
def test_behind_a_login_page_or_proxy_the_cache_serves_with_a_warning(
    hub: LoopbackHub, caplog: pytest.LogCaptureFixture, fault: dict[str, Any], pattern: str
) -> None:
    hub.fail(pattern, times=99, **fault)
    with pytest.raises(OnnxzooError) as caught:  # nothing is cached yet
        find_artifact(REPO)
    assert "token" not in str(caught.value)
    hub.faults.clear()
    folder = find_artifact(REPO)
    hub.fail(pattern, times=99, **fault)
    assert find_artifact(REPO) == folder
    (warned,) = caplog.records
    assert warned.message.endswith("; using the copy in the cache, which may be an old one")
    assert "token" not in warned.message


def test_a_refusal_of_the_hub_itself_is_told_also_with_a_copy_in_the_cache(hub: LoopbackHub) -> None:
    find_artifact(REPO)
    hub.fail("HEAD", times=99, status=403, headers={"X-Error-Code": "GatedRepo"})
    with pytest.raises(HubError, match="agreed to its conditions"):
        find_artifact(REPO)


def test_the_password_in_the_endpoint_is_not_told(hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "FIRST_PAUSE_S", 0.0)
    address = "http://me:pa@ss@127.0.0.1:9"
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr("huggingface_hub.hf_api.api.endpoint", address)
    assert client.web_address("a/b") == "http://127.0.0.1:9/a/b"
    with pytest.raises(HubError, match=r"http://127\.0\.0\.1:9 cannot be reached") as caught:
        find_artifact("a/b")
    assert "ss@" not in str(caught.value)
    assert client.redacted(f"for url {address}/x 'https://u:p@h/y'") == "for url http://127.0.0.1:9/x 'https://h/y'"


@pytest.mark.parametrize(
    "command", [["download", "a/b"], ["info", "a/b", "--hub"], ["cache", "list"], ["predict", "a/b", "x"]]
)
@pytest.mark.parametrize("address", ["http://[bad", "http://me:secret@h:99999", "ftp://h", "", "huggingface.co"])
def test_an_endpoint_that_is_no_address(address: str, command: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", address)
    result = CliRunner().invoke(main, command, prog_name="onnxzoo")
    assert result.exit_code == 2
    assert result.stderr == (
        "onnxzoo: error: HF_ENDPOINT is no address of a Hub; expected one like https://HOST, or unset it\n"
    )


def test_a_load_from_the_cache_writes_nothing(hub: LoopbackHub) -> None:
    """As in a container whose cache is mounted read-only."""
    folder = find_artifact(REPO)
    before = {path: path.lstat().st_mtime_ns for path in client.cache_folder().rglob("*")}
    assert find_artifact(REPO) == folder
    assert find_artifact(REPO, revision=head(hub)) == folder
    assert {path: path.lstat().st_mtime_ns for path in client.cache_folder().rglob("*")} == before


# Faults: what the user sees

SECRET = "hf_secretsecretsecretsecretsecret"  # noqa: S105
FAULTS: Mapping[str, tuple[str, dict[str, Any], type[OnnxzooError], int, str]] = {
    # name: requests, what happens, error, exit code, message
    "500 at first": ("HEAD", {"status": 500}, HubError, 3, "the Hub answers 500 .*: it has a problem of its own"),
    "500 of the file": ("GET /objects", {"status": 500}, HubError, 3, "the Hub answers 500 .*; try again later"),
    "429": (
        "HEAD",
        {"status": 429, "headers": {"Retry-After": "7"}},
        HubError,
        3,
        "the Hub answers 429 .*: too many requests from here; try again in 7 s, or log in: hf auth login",
    ),
    "429 for an hour": (
        "HEAD",
        {"status": 429, "headers": {"Retry-After": "3600"}},
        HubError,
        3,
        "too many requests from here; try again in 3600 s",
    ),
    "token refused": (
        "HEAD",
        {"status": 401, "message": "Invalid credentials in Authorization header"},
        HubError,
        3,
        "answers 401 .*: it does not accept the access token; check HF_TOKEN, or log in: hf auth login",
    ),
    "forbidden": ("HEAD", {"status": 403}, HubError, 3, "answers 403 .*: the access token does not permit this"),
    "gated": (
        "HEAD",
        {"status": 403, "headers": {"X-Error-Code": "GatedRepo"}},
        HubError,
        3,
        f"{REPO} is open to those who agreed to its conditions: http://[0-9.:]+/{REPO}, then hf auth login",
    ),
    "no such file": (
        f"HEAD .*{MODEL}",
        {"status": 404, "headers": {"X-Error-Code": "EntryNotFound"}},
        ArtifactError,
        1,
        f"{REPO} has no file '{MODEL}' at [0-9a-f]{{40}}",
    ),
    "cut again and again": (
        "GET /objects",
        {"cut_after": 10},
        HubError,
        3,
        "the connection was lost .*; check the network",
    ),
    "too short": ("GET /objects", {"short_by": 10}, HubError, 3, "not all bytes that the Hub announced arrived"),
    "wrong bytes": ("GET /objects", {"wrong_at": 9}, ArtifactError, 1, "was altered: its sha256 is"),
    "slow": ("HEAD", {"delay_s": 0.6}, HubError, 3, r"cannot be reached, .*\(.*timed out.*\); check the network"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_what_the_user_sees(
    name: str, hub: LoopbackHub, pauses: list[float], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    pattern, fault, error, code, message = FAULTS[name]
    hub.store.add_user(SECRET, "someone", "someone")
    monkeypatch.setenv("HF_TOKEN", SECRET)
    monkeypatch.setattr(constants, "HF_HUB_ETAG_TIMEOUT", 0.2)
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.2)
    hub.fail(pattern, times=999, **fault)
    with pytest.raises(error, match=message) as caught:
        onnxzoo.load(REPO)
    text = str(caught.value)
    assert caught.value.exit_code == code
    assert "\n" not in text
    captured = capfd.readouterr()
    assert SECRET not in text + captured.out + captured.err
    assert len(text) < 400
    # The next one finds nothing that stands in its way.
    hub.faults.clear()
    onnxzoo.load(REPO).close()


def test_faults_that_pass_are_waited_for(hub: LoopbackHub, pauses: list[float]) -> None:
    hub.fail("HEAD", times=2, status=503)
    find_artifact(REPO)
    assert pauses[:2] == [1.0, 2.0]
    hub.fail("HEAD", status=429, headers={"Retry-After": "7"})
    hub.store.change(REPO, {"README.md": b"new"})
    # With a copy in the cache there is no waiting.
    find_artifact(REPO)
    hub.fail("HEAD", status=429, headers={"Retry-After": "7"})
    del pauses[:]
    hub.store.add_repo("someone/else", hub_files(hub))
    find_artifact("someone/else")
    assert pauses == [7.0]


def test_what_is_not_published(loopback: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        ModelNotFoundError,
        match=r"onnxzoo/pvt_v2_b0 is not on the Hub \(.*\), or is private; export it: pip install 'onnxzoo\[export\]', "
        r"then onnxzoo export pvt_v2_b0$",
    ) as caught:
        onnxzoo.load("pvt_v2_b0")
    assert caught.value.exit_code == 3
    with pytest.raises(
        ModelNotFoundError, match=r"no/body is not on the Hub .*; check the name; for a private one, log"
    ):
        onnxzoo.load("no/body")
    loopback.store.add_repo("someone/other", {"README.md": b"text"})
    with pytest.raises(ArtifactError, match=r"someone/other has no file 'config\.json'"):
        onnxzoo.load("someone/other")


def test_a_private_model_needs_a_token_that_is_never_told(
    loopback: LoopbackHub, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loopback.store.add_repo("someone/secret", tiny, private=True)
    with pytest.raises(ModelNotFoundError, match=r"someone/secret is not on the Hub .* or is private"):
        find_artifact("someone/secret")
    monkeypatch.setenv("HF_TOKEN", READ_TOKEN)
    with pytest.raises(ModelNotFoundError, match="or is private") as caught:
        find_artifact("someone/secret")
    assert READ_TOKEN not in str(caught.value)
    monkeypatch.setenv("HF_TOKEN", WRITE_TOKEN)
    find_artifact("someone/secret")
    assert not any(one.authorized for one in loopback.log.all() if one.cdn)


@pytest.mark.parametrize("token", [WRITE_TOKEN, "of-a-hub-of-our-own", "two\nlines", "api_org_0123"])
def test_no_message_holds_the_token_in_use(monkeypatch: pytest.MonkeyPatch, token: str) -> None:
    """Not all begin with hf_: a Hub behind a gateway gives others."""
    monkeypatch.setattr(client.huggingface_hub, "get_token", lambda: token)
    for text in (f"you sent {token}", f"headers: {{'authorization': {token!r}}}", f"https://user:{token}@host/x"):
        assert token not in client.redacted(text)
        assert repr(token)[1:-1] not in client.redacted(text)
        assert "***" in client.redacted(text) or "@" not in client.redacted(text)


def test_no_message_holds_what_looks_like_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """That of another user, in what a server says."""
    monkeypatch.setattr(client.huggingface_hub, "get_token", lambda: None)
    assert client.redacted("sent hf_abcDEF123, and no more") == "sent ***, and no more"
    assert client.redacted("{'authorization': 'Bearer abc.def'}") == "{'authorization': '***'}"


@pytest.mark.parametrize("token", ["hf_with\x01control", "hf_ümlaut", "hf_two words"])
def test_a_token_that_cannot_be_sent_is_not_told(hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch, token: str) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    monkeypatch.setattr(client, "FIRST_PAUSE_S", 0.0)
    with pytest.raises(HubError) as caught:
        find_artifact(REPO)
    assert token[3:] not in str(caught.value)
    assert "control" not in str(caught.value)


# What a Hub repo may not do


@pytest.mark.parametrize(
    "path",
    [
        "../outside.onnx",
        "onnx/../../outside.onnx",
        "/etc/outside.onnx",
        "..\\outside.onnx",
        "C:\\outside.onnx",
        "C:outside.onnx",
        "\\\\host\\share.onnx",
        "./model.onnx",
        "onnx//model.onnx",
        "onnx/",
        "a\0.onnx",
        "a\n.onnx",
        "a\u202e.onnx",
        "trailing /x.onnx",
        "",
    ],
)
def test_names_that_lead_outside_are_refused_before_any_download(hub: LoopbackHub, tiny: Path, path: str) -> None:
    entry = read_config(tiny)["files"][MODEL]
    publish(hub, tiny, files={path: entry})
    with pytest.raises(ArtifactError, match=r"leads outside the artifact's folder|is not allowed; expected plain"):
        onnxzoo.load(REPO)
    assert not hub.log.all("/objects/|outside|model.onnx")


def test_a_pickle_is_neither_downloaded_nor_read(hub: LoopbackHub, tiny: Path) -> None:
    pickle = b"cos\nsystem\n(S'touch /tmp/onnxzoo-was-here'\ntR."
    hub.store.change(REPO, {"onnx/model.pkl": pickle, "pytorch_model.bin": pickle, "model.py": b"import os"})
    folder = find_artifact(REPO)
    assert {path.name for path in folder.rglob("*")} == {"config.json", "onnx", "model.onnx"}
    entry = {"sha256": sha256_of_bytes(pickle), "bytes": len(pickle), "precision": "fp32"}
    publish(hub, tiny, files={"onnx/model.pkl": entry})
    with pytest.raises(ArtifactError, match=r"onnx/model\.pkl: a file with a precision must be an ONNX file"):
        onnxzoo.load(REPO)
    publish(hub, tiny, files={MODEL: entry}, more={MODEL: pickle})
    with pytest.raises(ArtifactError, match="is not an ONNX model: its structure is damaged"):
        onnxzoo.load(REPO)
    assert not hub.log.all(r"pkl|pytorch_model|model\.py")


def test_of_what_config_lists_only_the_files_of_an_artifact_come(hub: LoopbackHub, tiny: Path) -> None:
    for path in ("w.pkl", "evil.py", "onnx/unnamed.onnx"):
        (tiny / path).write_bytes(b"evil")
        announce(tiny, path)
    hub.store.change(REPO, tiny)
    folder = find_artifact(REPO, files=None)
    find_artifact(REPO, files=["w.pkl", "evil.py"])
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert there == {"config.json", MODEL, "preprocessor_config.json"}
    assert not hub.log.all(r"pkl|evil|unnamed")


def test_external_data_is_refused(hub: LoopbackHub, tmp_path: Path) -> None:
    import onnx
    from tiny import tiny_graph

    graph = tiny_graph()
    tensor = graph.graph.initializer[0]
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.ClearField("raw_data")
    tensor.external_data.add(key="location", value="/etc/passwd")
    hub.store.change(REPO, write_artifact(tmp_path / "external", model=graph))
    with pytest.raises(ArtifactError, match="keeps data in other files"):
        onnxzoo.load(REPO)


@pytest.mark.parametrize("announced", [0, 10, 2**31])
def test_another_size_than_announced_is_not_downloaded(hub: LoopbackHub, tiny: Path, announced: int) -> None:
    entry = read_config(tiny)["files"][MODEL] | {"bytes": announced}
    publish(hub, tiny, files={MODEL: entry})
    with pytest.raises(
        ArtifactError, match=rf"has \d+ bytes on the Hub, config.json announces {announced}; it was not"
    ):
        onnxzoo.load(REPO)
    assert not hub.log.all("/objects/")


@pytest.mark.parametrize("size", [-1, 2**31 + 1, 1e3, "12", True, None])
def test_sizes_that_cannot_be(hub: LoopbackHub, tiny: Path, size: Any) -> None:
    publish(hub, tiny, files={MODEL: read_config(tiny)["files"][MODEL] | {"bytes": size}})
    with pytest.raises(ArtifactError, match=r"bytes must be a whole number in 0\.\.2147483648"):
        onnxzoo.load(REPO)


@pytest.mark.parametrize("digest", ["", "0" * 63, "G" * 64, None, 7])
def test_hashes_that_cannot_be(hub: LoopbackHub, tiny: Path, digest: Any) -> None:
    publish(hub, tiny, files={MODEL: read_config(tiny)["files"][MODEL] | {"sha256": digest}})
    with pytest.raises(ArtifactError, match="sha256 must be 64 lower-case hexadecimal digits"):
        onnxzoo.load(REPO)


def test_a_huge_config_is_not_downloaded(hub: LoopbackHub, tiny: Path) -> None:
    config = read_config(tiny)
    config["id2label"] = {str(i): "x" * 100 for i in range(200_000)}
    hub.store.change(REPO, {"config.json": json.dumps(config).encode()})
    with pytest.raises(
        ArtifactError, match=r"config.json of someone/tiny has \d+ bytes on the Hub, 2097152 are allowed"
    ):
        onnxzoo.load(REPO)
    assert not hub.log.all("^GET .*(config|objects)")


def test_a_config_of_a_newer_schema_is_refused_and_unknown_keys_are_kept(hub: LoopbackHub, tiny: Path) -> None:
    publish(hub, tiny, schema_version=99)
    with pytest.raises(ArtifactError, match="has schema version 99, this onnxzoo reads up to 1; upgrade onnxzoo"):
        onnxzoo.load(REPO)
    publish(hub, tiny, of_the_future={"a": [1]}, schema_version=1)
    assert read_artifact(find_artifact(REPO)).config["of_the_future"] == {"a": [1]}


def test_a_config_that_two_readers_read_differently_is_refused(hub: LoopbackHub, tiny: Path) -> None:
    text = (tiny / "config.json").read_text()
    double = text.replace('"files": {', '"files": {"onnx/model.onnx": {"sha256": "", "bytes": 1}, ')
    hub.store.change(REPO, {"config.json": double.encode()})
    with pytest.raises(ArtifactError, match=r"the key 'onnx/model\.onnx' is in one object twice"):
        onnxzoo.load(REPO)
    two = read_config(tiny)["files"]
    publish(hub, tiny, files=two | {"onnx/other.onnx": two[MODEL]})
    with pytest.raises(ArtifactError, match="files must hold one ONNX file a precision, got fp32, fp32"):
        onnxzoo.load(REPO)


def test_links_lead_into_the_cache_and_nowhere_else(hub: LoopbackHub, tiny: Path, tmp_path: Path) -> None:
    folder = find_artifact(REPO)
    artifact = read_artifact(folder)
    assert (folder / MODEL).is_symlink()
    artifact.model_file()
    # As huggingface_hub shares blobs between repos: a link from blobs/ to the cache's own store.
    shared = client.cache_folder() / "blobs" / "ab" / ("ab" * 32)
    shared.parent.mkdir(parents=True)
    blob = blob_of(folder, MODEL)
    blob.rename(shared)
    blob.symlink_to(os.path.relpath(shared, blob.parent))
    artifact.model_file()
    outside = tmp_path / "outside.onnx"
    blob.unlink()
    shared.rename(outside)
    blob.symlink_to(outside)
    with pytest.raises(ArtifactError, match="leads outside the artifact's folder"):
        artifact.model_file()
    # An artifact elsewhere has no such links, neither by itself nor by a folder that looks like the cache's.
    (tiny / MODEL).unlink()
    (tiny / MODEL).symlink_to(outside)
    with pytest.raises(ArtifactError, match="leads outside the artifact's folder"):
        onnxzoo.load(tiny)
    fake = write_artifact(tmp_path / "models--a--b" / "snapshots" / "c")
    (fake / MODEL).rename(tmp_path / "model.onnx")
    (fake.parent.parent / "blobs").symlink_to(tmp_path)
    (fake / MODEL).symlink_to("../../../blobs/model.onnx")
    with pytest.raises(ArtifactError, match="leads outside the artifact's folder"):
        onnxzoo.load(fake)


def test_the_cache_is_huggingface_hubs_own(hub: LoopbackHub) -> None:
    folder = find_artifact(REPO)
    assert folder == Path(constants.HF_HUB_CACHE) / "models--someone--tiny" / "snapshots" / head(hub)


# Helpers


def read_config(folder: Path) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((folder / "config.json").read_text())
    return config


def publish(hub: LoopbackHub, folder: Path, *, more: Mapping[str, bytes] | None = None, **changes: Any) -> None:
    """Commit the folder's config.json with changed keys, and other files, as a malicious user might."""
    hub.store.change(REPO, {"config.json": json.dumps(read_config(folder) | changes).encode(), **(more or {})})


def hub_files(hub: LoopbackHub) -> dict[str, bytes]:
    return {path: blob.content for path, blob in hub.store.repos[REPO].branches["main"].files.items()}


def spoil(file: Path, damage: str) -> None:
    content = file.read_bytes()
    middle = len(content) // 2
    file.write_bytes(
        {
            "altered": content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
            "truncated": content[:middle],
            "empty": b"",
        }[damage]
    )


def sha256_of_bytes(content: bytes) -> str:
    import hashlib

    return hashlib.sha256(content).hexdigest()


def altered_hash(file: Path, at: int) -> str:
    content = bytearray(file.read_bytes())
    content[at] ^= 0xFF
    return sha256_of_bytes(bytes(content))
