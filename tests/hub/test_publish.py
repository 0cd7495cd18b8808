"""Publishing to a Hub on loopback: what goes up and what does not."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from found import find_artifact
from hub_publishing import GENERATED, NAME, REPO, error_line, run, state
from hub_server import READ_TOKEN, LoopbackHub
from recorded import set_config, validation

from onnxzoo.artifact.folder import read_artifact
from onnxzoo.hub.card import model_card
from onnxzoo.hub.publish import Publication, publish

pytestmark = pytest.mark.usefixtures("token")


def test_an_artifact_is_published_in_one_commit(folder: Path, loopback: LoopbackHub) -> None:
    (folder / "README.md").write_text(model_card(read_artifact(folder)), encoding="utf-8")
    before = state(folder)
    result = run(folder, "--repo-id", REPO)
    assert result.exit_code == 0, result.stderr
    assert "  card     " not in result.stdout
    assert "left out" not in result.stdout
    repo = loopback.store.repos[REPO]
    head = repo.branches["main"]
    assert [commit.title for commit in (head, head.parent) if commit] == [
        f"{NAME} (fp32), onnxzoo 0.1.0",
        "initial commit",
    ]
    artifact = read_artifact(folder)
    assert set(head.files) == {".gitattributes", *artifact.files, *GENERATED}
    assert {path: head.files[path].content for path in before if path != "README.md"} == {
        path: content for path, content in before.items() if path != "README.md"
    }
    assert head.files["README.md"].content.decode() == model_card(artifact, REPO)
    assert head.files["onnx/model.onnx"].lfs
    assert not head.files["config.json"].lfs
    assert not repo.private
    lines = result.stdout.splitlines()
    assert lines[0].startswith(f"made and published {REPO}, main: 6 files, 2.0")
    assert f"  commit   {head.sha}" in lines
    assert f"  url      {loopback.url}/{REPO}/commit/{head.sha}" in lines
    assert state(folder) == before
    assert len(loopback.log.all("POST .*/commit/")) == 1


def test_the_variable_names_the_namespace(folder: Path, loopback: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> None:
    result = run(folder, "--dry-run")
    assert result.exit_code == 2
    assert "no target repository; give --repo-id USER/NAME for one artifact" in result.stderr
    assert loopback.log.all() == []
    monkeypatch.setenv("ONNXZOO_NAMESPACE", "onnxzoo")
    assert run(folder, "--dry-run").stdout.startswith(f"would publish {REPO}")
    named = run(folder, "--dry-run", "--repo-id", "onnxzoo/another")
    assert named.stdout.startswith("would publish onnxzoo/another")
    monkeypatch.setenv("ONNXZOO_NAMESPACE", "a/b")
    assert "ONNXZOO_NAMESPACE is 'a/b', expected the name" in error_line(run(folder, "--dry-run"))


def test_no_commit_without_changes(folder: Path, loopback: LoopbackHub) -> None:
    first = publish(folder, REPO)
    loopback.log.clear()
    again = publish(folder, REPO)
    assert (again.commit, again.changed, again.bytes, again.unchanged) == (first.commit, False, 0, 6)
    assert [(one.method, one.received) for one in loopback.log.all()] == [("GET", 0)]
    result = run(folder, "--repo-id", REPO)
    assert result.stdout.splitlines()[:2] == [
        f"{REPO} has all of this already; no commit",
        f"  commit   {first.commit}",
    ]


def test_a_change_of_the_card_alone_sends_the_card_alone(folder: Path, loopback: LoopbackHub) -> None:
    publish(folder, REPO)
    model = (folder / "onnx/model.onnx").stat().st_size
    assert loopback.log.received("PUT") == model + (folder / "conformance.npz").stat().st_size
    loopback.log.clear()
    # The card is made from config.json: a further validation changes both, and nothing else.
    more = [validation(folder), validation(folder, engine="onnxruntime", version="1.31")]
    set_config(folder, validations=more)
    done = publish(folder, REPO)
    assert set(done.uploaded) == {"README.md", "config.json"}
    assert (loopback.log.received("PUT"), len(loopback.log.all("PUT"))) == (0, 0)
    assert loopback.log.received() < 20_000 < model


def test_a_new_card_for_the_same_artifact_is_all_that_is_sent(folder: Path, loopback: LoopbackHub) -> None:
    publish(folder, REPO)
    card = loopback.store.repos[REPO].branches["main"].files["README.md"].content
    loopback.store.change(REPO, {"README.md": b"---\nlicense: mit\n---\nan older card"})
    loopback.log.clear()
    assert publish(folder, REPO).uploaded == ("README.md",)
    assert loopback.store.repos[REPO].branches["main"].files["README.md"].content == card
    assert not loopback.log.all("PUT")
    assert loopback.log.received() < 4 * len(card)


def test_a_changed_model_is_sent_and_the_rest_is_not(tmp_path: Path, folder: Path, loopback: LoopbackHub) -> None:
    publish(folder, REPO)
    loopback.log.clear()
    model = folder / "onnx/model.onnx"
    # An unknown field at the end of the message: another file, the same model.
    model.write_bytes(model.read_bytes() + b"\xf8\x3f\x01")
    config = json.loads((folder / "config.json").read_text())
    entry = config["files"]["onnx/model.onnx"]
    entry |= {"sha256": hashlib.sha256(model.read_bytes()).hexdigest(), "bytes": model.stat().st_size}
    set_config(folder, files=config["files"])
    set_config(folder, validations=[validation(folder)])
    assert set(publish(folder, REPO).uploaded) == {"README.md", "config.json", "onnx/model.onnx"}
    assert loopback.log.received("PUT") == model.stat().st_size


def test_what_the_artifact_no_longer_has_is_removed_and_what_others_added_stays(
    folder: Path, loopback: LoopbackHub
) -> None:
    publish(folder, REPO)
    ours = {"onnx/model_int8.onnx": b"old", ".eval_results/onnxzoo-imagenet1k-documented.yaml": b"[]"}
    theirs = {"NOTES.md": b"mine", ".eval_results/somebody.yaml": b"[]", "onnx/model_fp16.onnx": b"mine"}
    older = json.loads((folder / "config.json").read_text())
    listed = {"sha256": hashlib.sha256(b"old").hexdigest(), "bytes": 3}
    older["files"]["onnx/model_int8.onnx"] = {**listed, "precision": "int8"}
    older["files"]["NOTES.md"] = listed  # whatever else it lists is none of ours
    loopback.store.change(REPO, ours | theirs | {"config.json": json.dumps(older).encode()})
    plan = run(folder, "--repo-id", REPO, "--dry-run").stdout.splitlines()
    assert "  to remove onnx/model_int8.onnx" in plan
    assert "  to send  config.json" in plan
    done = publish(folder, REPO)
    assert set(done.removed) == set(ours)
    assert done.uploaded == ("config.json",)
    assert set(theirs) <= set(loopback.store.repos[REPO].branches["main"].files)
    assert publish(folder, REPO).changed is False


def test_other_files_in_the_folder_stay_there(folder: Path, tmp_path: Path, loopback: LoopbackHub) -> None:
    for name in ("notes.txt", ".env", "onnx/model.onnx.bak", "weights.pkl", ".git/config"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(f"secret {name}")
    (folder / "README.md").write_text("written by hand")
    (tmp_path / "elsewhere").write_text("secret")
    (folder / "link").symlink_to(tmp_path / "elsewhere")
    done = publish(folder, REPO)
    assert set(done.left_out) == {
        "notes.txt", ".env", "onnx/model.onnx.bak", "weights.pkl", ".git/config", "link",
    }  # fmt: skip
    assert done.other_card
    everything = b"".join(blob.content for blob in loopback.store.repos[REPO].branches["main"].files.values())
    assert b"secret" not in everything
    assert b"written by hand" not in everything
    set_config(folder, note=1)
    said = run(folder, "--repo-id", REPO).stdout
    assert "left out .env, .git/config, link, notes.txt, onnx/model.onnx.bak and 1 more: not of the artifact" in said
    assert "the README.md in the folder is an older one or your own and stays as it is" in said


def test_a_private_repository(folder: Path, loopback: LoopbackHub) -> None:
    publish(folder, REPO, private=True)
    assert loopback.store.repos[REPO].private
    assert publish(folder, REPO, private=True).changed is False
    loopback.store.repos[REPO].private = False
    result = run(folder, "--repo-id", REPO, "--private")
    assert result.exit_code == 2
    assert "exists and is public, which --private does not change" in error_line(result)


def test_a_branch(folder: Path, loopback: LoopbackHub) -> None:
    loopback.store.add_repo(REPO, {"x": b"x"})
    repo = loopback.store.repos[REPO]
    main = repo.branches["v2/next"] = repo.branches["main"]
    repo.tags["v1"] = main
    done = publish(folder, REPO, revision="v2/next", message="Second edition")
    assert repo.branches["main"] is main
    assert repo.branches["v2/next"].sha == done.commit
    assert repo.branches["v2/next"].title == "Second edition"
    for revision in ("v3", "v1", main.sha):
        result = run(folder, "--repo-id", REPO, "--revision", revision)
        assert result.exit_code == 3
        assert f"has no branch {revision!r}; it has main, v2/next" in error_line(result)


def test_a_pull_request(folder: Path, loopback: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> None:
    loopback.store.add_repo(REPO, {"x": b"x"})
    repo = loopback.store.repos[REPO]
    main = repo.branches["main"]
    monkeypatch.setenv("HF_TOKEN", READ_TOKEN)  # anybody may open one
    result = run(folder, "--repo-id", REPO, "--create-pr")
    assert result.exit_code == 0, result.stderr
    assert f"{loopback.url}/{REPO}/discussions/1" in result.stdout
    assert repo.branches["main"] is main
    assert "config.json" in repo.pull_requests[1].files


@pytest.mark.parametrize("options", [["--create-pr"], ["--revision", "next"], ["--revision", "next", "--dry-run"]])
def test_nothing_is_made_for_a_branch_or_pull_request_of_no_repository(
    options: list[str], folder: Path, loopback: LoopbackHub
) -> None:
    result = run(folder, "--repo-id", REPO, *options)
    assert result.exit_code == 3
    assert f"{REPO} is not on the Hub yet, so " in error_line(result)
    assert loopback.store.repos == {}


def test_a_copy_from_the_hub_can_be_published_again(
    folder: Path, loopback: LoopbackHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(folder, REPO)
    snapshot = find_artifact(REPO, files=None)
    assert (snapshot / "onnx/model.onnx").is_symlink()
    assert publish(snapshot, REPO).changed is False
    assert publish(snapshot, "someone/copy").left_out == ()
    files = [loopback.store.repos[one].branches["main"].files["onnx/model.onnx"] for one in (REPO, "someone/copy")]
    assert files[0].content == files[1].content


def test_a_dry_run_changes_nothing(folder: Path, loopback: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN")
    result = run(folder, "--repo-id", REPO, "--dry-run")
    assert result.exit_code == 0, result.stderr
    assert f"would publish {REPO} (which would be made), main: 6 files, 2.0" in result.stdout
    assert "  to send  onnx/model.onnx" in result.stdout
    assert loopback.store.repos == {}
    assert {one.method for one in loopback.log.all()} == {"GET"}
    loopback.store.add_repo(REPO, {**state(folder), "README.md": b"an older card"})
    done = publish(folder, REPO, dry_run=True)
    assert set(done.uploaded) == GENERATED - {"config.json"}
    assert {one.method for one in loopback.log.all()} == {"GET"}


def test_json(folder: Path, loopback: LoopbackHub) -> None:
    document = json.loads(run(folder, "--repo-id", REPO, "--json").stdout)
    assert document["commit"] == loopback.store.repos[REPO].branches["main"].sha
    assert document["changed"] is True
    assert sorted(document["uploaded"]) == sorted([*read_artifact(folder).files, *GENERATED])


def test_the_publication_is_documented(folder: Path) -> None:
    done: Publication = publish(folder, REPO, dry_run=True)
    assert (done.dry_run, done.created, done.commit) == (True, True, None)
