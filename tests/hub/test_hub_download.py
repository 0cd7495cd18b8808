"""Models from a Hub on loopback: what is asked for, what is kept, what is fetched again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from artifacts import exported
from click.testing import CliRunner
from found import find_artifact
from hub_server import LoopbackHub
from hub_tiny import MODEL, REPO, altered_hash, announce, asked, blob_of, head, spoil, two_precisions
from huggingface_hub import constants
from tiny import tiny_logits, write_artifact

import onnxzoo
from onnxzoo.artifact.folder import read_artifact
from onnxzoo.cli import main
from onnxzoo.errors import ArtifactError, HubError, InputError, ModelNotFoundError
from onnxzoo.files import sha256_of
from onnxzoo.hub import client
from onnxzoo.source import resolve


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
    with pytest.raises(InputError, match=r"the model has no int8 file \(it has fp32, fp16\)"):
        onnxzoo.load("someone/two", precision="int8")


def test_a_registry_name_is_looked_for_in_the_namespace(
    loopback: LoopbackHub, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_artifact(tmp_path / "b0", name="pvt_v2_b0")
    loopback.store.add_repo("onnxzoo/pvt_v2_b0", folder)
    loopback.store.add_repo("mine/pvt_v2_b0", folder)
    monkeypatch.setenv("ONNXZOO_NAMESPACE", "onnxzoo")
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


@pytest.mark.parametrize("value", [None, ""])
def test_without_a_namespace_registry_names_make_no_request(
    loopback: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str | None
) -> None:
    """Whoever registered the name of this project on the Hub could publish anything under it."""
    loopback.store.add_repo("onnxzoo/pvt_v2_b0", write_artifact(tmp_path / "b0", name="pvt_v2_b0"))
    if value is not None:
        monkeypatch.setenv("ONNXZOO_NAMESPACE", value)
    with pytest.raises(ModelNotFoundError, match=r"timm/pvt_v2_b0\.in1k is not on the Hub"):
        onnxzoo.load("pvt_v2_b0")
    assert {one.path.split("/resolve/")[0] for one in loopback.log.all()} == {"/timm/pvt_v2_b0.in1k"}
    loopback.log.clear()
    for options in ({"revision": "v1"}, {"revision": "v1", "offline": True}):
        with pytest.raises(ModelNotFoundError, match=r"pvt_v2_b0@v1 is a revision, .*\(USER/pvt_v2_b0\)"):
            onnxzoo.load("pvt_v2_b0", **options)
    result = CliRunner().invoke(main, ["info", "pvt_v2_b0", "--hub"])
    assert result.exit_code == 3
    assert "ONNXZOO_NAMESPACE" in result.output
    assert CliRunner().invoke(main, ["info", "pvt_v2_b0"]).exit_code == 0
    assert CliRunner().invoke(main, ["cache", "list"]).exit_code == 0
    assert loopback.log.all() == []


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
    with pytest.raises(InputError, match="two revisions: 'v1' after the @ and 'v2'; give only one"):
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
def test_an_invalid_revision_is_refused(hub: LoopbackHub, revision: Any) -> None:
    with pytest.raises(InputError, match="is not a valid revision; expected a branch, a tag or a commit"):
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
def test_an_invalid_repo_name_is_treated_as_a_folder(loopback: LoopbackHub, name: str) -> None:
    with pytest.raises(
        (ModelNotFoundError, InputError), match=r"there is no folder|is not a valid name of a Hub repository"
    ):
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
    nano = exported("pvt_v2_nano_fashion")
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
