"""Publishing to a Hub on loopback: what goes up, what does not, what the user reads when something is wrong."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from found import find_artifact
from hub_server import READ_TOKEN, WRITE_TOKEN, LoopbackHub
from recorded import SHIPPED, copy, set_config, validation

from onnxzoo.artifact.folder import Artifact, read_artifact
from onnxzoo.cli import main
from onnxzoo.hub import package
from onnxzoo.hub import publish as publishing
from onnxzoo.hub.card import model_card
from onnxzoo.hub.package import Package
from onnxzoo.hub.publish import Publication, publish

NAME = "swinv2_nano_fashion"
REPO = f"onnxzoo/{NAME}"
GENERATED = {"README.md", "config.json", ".eval_results/onnxzoo-fashion_mnist-documented.yaml"}


@pytest.fixture(autouse=True)
def token(loopback: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test here has a Hub, and a token that may write."""
    monkeypatch.setenv("HF_TOKEN", WRITE_TOKEN)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A validated artifact."""
    return copy(NAME, tmp_path / "artifact")


def run(*arguments: str | Path) -> Result:
    result = CliRunner().invoke(main, ["publish", *map(str, arguments)], prog_name="onnxzoo")
    assert WRITE_TOKEN not in result.output + str(result.exception)
    return result


def state(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def error_line(result: Result) -> str:
    """The one line on stderr, when nothing else was printed."""
    assert result.stdout == ""
    assert result.stderr.startswith("onnxzoo: error: ")
    assert result.stderr.count("\n") == 1
    return result.stderr.removeprefix("onnxzoo: error: ")


# What goes up


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


def test_nothing_changed_is_no_commit(folder: Path, loopback: LoopbackHub) -> None:
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


# What is refused


@pytest.mark.parametrize("name", ["onnx/model.onnx", "preprocessor_config.json", "conformance.npz"])
@pytest.mark.parametrize("fault", ["missing", "altered", "shorter", "unlisted"])
def test_an_artifact_that_is_not_whole(name: str, fault: str, folder: Path, loopback: LoopbackHub) -> None:
    path = folder / name
    content = bytearray(path.read_bytes())
    if fault == "missing":
        path.unlink()
    elif fault == "altered":
        content[100] ^= 1
        path.write_bytes(content)
    elif fault == "shorter":
        path.write_bytes(content[:-1])
    else:
        files = json.loads((folder / "config.json").read_text())["files"]
        del files[name]
        set_config(folder, files=files)
    result = run(folder, "--repo-id", REPO, "--allow-unvalidated")
    assert result.exit_code == 1
    line = error_line(result)
    assert name in line
    expected = {"missing": "is missing", "altered": "was altered", "shorter": "expected", "unlisted": "lists no"}
    assert expected[fault] in line
    assert loopback.log.all() == []


@pytest.mark.parametrize(
    "records", [[], [{"model_sha256": "0" * 64}], [{"reference": "timm"}], [{"precision": "int8"}]]
)
def test_an_artifact_that_is_not_validated(records: list[dict[str, Any]], folder: Path, loopback: LoopbackHub) -> None:
    set_config(folder, validations=[validation(folder, **one) for one in records])
    result = run(folder, "--repo-id", REPO)
    assert result.exit_code == 1
    line = error_line(result)
    assert "swinv2_nano_fashion in" in line
    assert "is not validated as it is (onnx/model.onnx: " in line
    assert "--allow-unvalidated" in line
    assert loopback.log.all() == []
    allowed = run(folder, "--repo-id", REPO, "--allow-unvalidated")
    assert allowed.exit_code == 0
    assert "NOT VALIDATED: onnx/model.onnx" in allowed.stdout
    card = loopback.store.repos[REPO].branches["main"].files["README.md"].content.decode()
    assert "> **Not validated:** `onnx/model.onnx`" in card


def test_every_precision_is_to_be_validated(folder: Path, loopback: LoopbackHub) -> None:
    int8 = folder / "onnx/model_int8.onnx"
    shutil.copy(folder / "onnx/model.onnx", int8)
    files = json.loads((folder / "config.json").read_text())["files"]
    files["onnx/model_int8.onnx"] = files["onnx/model.onnx"] | {"precision": "int8"}
    set_config(folder, files=files)
    assert "(onnx/model_int8.onnx: no validation" in error_line(run(folder, "--repo-id", REPO))
    set_config(folder, validations=[validation(folder), validation(folder, precision="int8", reference="fp32")])
    assert publish(folder, REPO).unvalidated == ()


FOREIGN = {
    "README.md": b"their card",
    "config.json": b'{"model_type": "swinv2", "num_classes": 1000}',
    "onnx/model.onnx": b"their model",
    "onnx/model_fp16.onnx": b"their fp16",
    "onnx/model_int8.onnx": b"their int8",
    "model.safetensors": b"their weights",
}


def test_a_repository_with_something_else_stays_as_it_is(folder: Path, loopback: LoopbackHub) -> None:
    loopback.store.add_repo(REPO, FOREIGN)
    before = loopback.store.repos[REPO].branches["main"]
    for options in ([], ["--dry-run"], ["--create-pr"]):
        result = run(folder, "--repo-id", REPO, *options)
        assert result.exit_code == 2
        assert (
            f"{REPO} has no artifact of onnxzoo; publishing {NAME} would overwrite what it has: README.md, "
            "config.json, onnx/model.onnx; publish to another repository, or give --replace"
        ) in error_line(result)
    assert loopback.store.repos[REPO].branches["main"] is before
    assert not loopback.log.all("POST|PUT")
    assert run(folder, "--repo-id", REPO, "--replace").exit_code == 0
    files = loopback.store.repos[REPO].branches["main"].files
    assert files["onnx/model.onnx"].content == (folder / "onnx/model.onnx").read_bytes()
    kept = {"onnx/model_fp16.onnx", "onnx/model_int8.onnx", "model.safetensors"}
    assert {path: files[path].content for path in kept} == {path: FOREIGN[path] for path in kept}


@pytest.mark.parametrize(
    ("there", "has"),
    [
        ("pvt_v2_nano_fashion", "the model pvt_v2_nano_fashion"),
        ({"README.md": b"a card"}, "no artifact of onnxzoo"),
        ({"config.json": b"{" * 3_000_000}, "no artifact of onnxzoo"),
    ],
)
def test_a_repository_of_another_model(
    there: str | dict[str, bytes], has: str, folder: Path, loopback: LoopbackHub
) -> None:
    loopback.store.add_repo(REPO, SHIPPED[there] if isinstance(there, str) else there)
    result = run(folder, "--repo-id", REPO)
    assert result.exit_code == 2
    assert f"{REPO} has {has}; publishing" in error_line(result)
    assert run(folder, "--repo-id", REPO, "--replace").exit_code == 0


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("name", ["onnx/model.onnx", "conformance.npz", "preprocessor_config.json", "config.json"])
def test_what_was_checked_is_what_goes_up(
    name: str, large: bool, folder: Path, tmp_path: Path, loopback: LoopbackHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file is replaced by a link to a secret of the same size between the check and the upload."""
    content = (folder / name).read_bytes()
    secret = tmp_path / "secret"
    secret.write_bytes(b"s" * len(content))

    def pack_and_change(*arguments: Any, **options: Any) -> Package:
        packed = package.pack(*arguments, **options)
        (folder / name).unlink()
        (folder / name).symlink_to(secret)
        return packed

    monkeypatch.setattr("onnxzoo.hub.publish.pack", pack_and_change)
    if large:
        monkeypatch.setattr(package, "ALWAYS_LARGE", 0)
    result = run(folder, "--repo-id", REPO)
    there = loopback.store.repos[REPO].branches["main"].files
    assert all(blob.content != secret.read_bytes() for blob in there.values())
    assert secret.read_bytes() not in loopback.store.repos[REPO].objects.values()
    if large and name != "config.json":
        assert result.exit_code == 1
        assert f"{name} was changed while it was being published; nothing was published" in error_line(result)
        assert name not in there
    else:
        assert there[name].content == content


def test_a_file_that_changes_while_it_is_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.joinpath("README.md").write_text("something else")
    verified = Artifact.verified
    calls: list[str] = []

    def then_another(self: Artifact, path: str) -> Path:
        calls.append(path)
        is_last = path == "preprocessor_config.json" and calls.count(path) > 1
        return folder / "README.md" if is_last else verified(self, path)

    monkeypatch.setattr(Artifact, "verified", then_another)
    result = run(folder, "--repo-id", REPO)
    assert result.exit_code == 1
    assert "was changed while it was being published" in error_line(result)


@pytest.mark.parametrize(
    "path", ["README.md", ".gitattributes", ".eval_results/x.yaml", "w.pkl", "evil.py", "id_rsa", "onnx/other.onnx"]
)
def test_a_list_of_files_that_are_none_of_an_artifact(path: str, folder: Path, loopback: LoopbackHub) -> None:
    list_also(folder, path)
    assert f"lists {path}, which is no file of an artifact; take it off" in error_line(run(folder, "--repo-id", REPO))
    assert loopback.log.all() == []


def test_a_precision_belongs_to_its_file(folder: Path, loopback: LoopbackHub) -> None:
    shutil.copy(folder / "onnx/model.onnx", folder / "onnx/model_int8.onnx")
    files = json.loads((folder / "config.json").read_text())["files"]
    files["onnx/model_int8.onnx"] = files["onnx/model.onnx"] | {"precision": "bf16"}
    set_config(folder, files=files)
    line = error_line(run(folder, "--repo-id", REPO, "--allow-unvalidated"))
    assert "lists onnx/model_int8.onnx with the precision bf16, which is no file of an artifact" in line


def list_also(folder: Path, path: str) -> None:
    """Write a file and list it in config.json."""
    (folder / path).parent.mkdir(exist_ok=True)
    (folder / path).write_text("theirs")
    files = json.loads((folder / "config.json").read_text())["files"]
    files[path] = {"sha256": hashlib.sha256(b"theirs").hexdigest(), "bytes": 6}
    set_config(folder, files=files)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--repo-id", REPO, "--all"],
        ["--repo-id", REPO, "--namespace", "x"],
        ["--all"],
        ["--namespace", "x"],
        ["--repo-id", REPO, "--message", " "],
        ["--repo-id", "model"],
        ["--repo-id", "a/b/c"],
        ["--repo-id", "a/b@main"],
        ["--repo-id", "../x"],
        ["--repo-id", REPO, "--create-pr", "--revision", "main"],
        ["--repo-id", REPO, "--create-pr", "--private"],
        ["--repo-id", REPO, "--revision", "a b"],
    ],
)
def test_wrong_usage(arguments: list[str], folder: Path, loopback: LoopbackHub) -> None:
    result = run(folder, *arguments)
    assert result.exit_code == 2
    assert loopback.log.all() == []


# What the Hub refuses, and what goes wrong on the way


@pytest.mark.parametrize("secret", ["", None])
def test_no_token(secret: str | None, folder: Path, loopback: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    if secret is not None:
        monkeypatch.setenv("HF_TOKEN", secret)
    result = run(folder, "--repo-id", REPO)
    assert result.exit_code == 3
    assert error_line(result).endswith(
        "publishing needs an access token that may write; hf auth login, or set HF_TOKEN\n"
    )
    assert loopback.log.all() == []


REFUSALS = {
    "a token nobody knows": (
        "hf_nobodyknowsthisone",
        False,
        "answers 401 (Invalid credentials in Authorization header)",
    ),
    "a token that reads": (READ_TOKEN, False, "answers 403 (You don't have the rights to write to the namespace"),
    "a token that reads, a repository that is there": (READ_TOKEN, True, "answers 403 (You don't have the rights"),
    "another's namespace": (WRITE_TOKEN, False, "answers 403 (You don't have the rights to write to the namespace"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_a_token_that_may_not(case: str, folder: Path, loopback: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> None:
    secret, exists, expected = REFUSALS[case]
    monkeypatch.setenv("HF_TOKEN", secret)
    repo_id = "stranger/model" if "namespace" in case else REPO
    if exists:
        loopback.store.add_repo(repo_id, {"x": b"x"})
    result = run(folder, "--repo-id", repo_id)
    assert result.exit_code == 3
    line = error_line(result)
    assert line.startswith(f"{repo_id}: the Hub ")
    assert expected in line
    assert "hf auth login" in line
    assert secret not in result.output


FAULTS = {
    "500 at the listing": ("GET /api/models", {"status": 500, "times": 9}, "answers 500 (a fault of the test)"),
    "500 at the upload": ("PUT ", {"status": 500, "times": 30}, "answers 500 (a fault of the test)"),
    "500 at the commit": ("POST .*/commit/", {"status": 500}, "answers 500 (a fault of the test)"),
    "429 at the commit": ("POST .*/commit/", {"status": 429, "headers": {"Retry-After": "90"}}, "try again in 90 s"),
    "403 at the upload": ("PUT ", {"status": 403}, "answers 403 (a fault of the test)"),
    "401 at the commit": ("POST .*/commit/", {"status": 401}, "answers 401 (a fault of the test)"),
    "a cut at the listing": ("GET /api/models", {"cut_after": 10, "times": 9}, "cannot be reached"),
    "a cut at the commit": ("POST .*/commit/", {"cut_after": 10}, "cannot be reached"),
    "somebody was faster": ("POST .*/commit/", {"status": 412}, "somebody else changed 'main' at the same time"),
    "the card is refused": ("POST /api/validate-yaml", {"status": 400}, "the Hub refuses this: Invalid metadata"),
    "a web page at the card": (
        "POST /api/validate-yaml",
        {"html": True, "status": 502},
        "does not answer as a Hugging Face Hub",
    ),
    "a web page at the commit": ("POST .*/commit/", {"html": True}, "does not answer as a Hugging Face Hub"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_faults(
    case: str, folder: Path, loopback: LoopbackHub, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onnxzoo.hub.client.FIRST_PAUSE_S", 0.0)
    loopback.store.add_repo(REPO, {"x": b"x"})
    pattern, what, expected = FAULTS[case]
    loopback.fail(pattern, **what)
    result = run(folder, "--repo-id", REPO)
    assert result.exit_code == 3, result.output
    line = error_line(result)
    assert expected in line
    assert set(loopback.store.repos[REPO].branches["main"].files) >= {"x"}
    # It goes on where it stopped: what was uploaded is not sent again.
    loopback.faults.clear()
    uploaded = loopback.log.received("PUT") if "upload" not in case else 0
    assert run(folder, "--repo-id", REPO).exit_code == 0
    if "commit" in case:
        assert loopback.log.received("PUT") == uploaded
    assert "config.json" in loopback.store.repos[REPO].branches["main"].files


def test_a_change_by_somebody_else_meanwhile_is_not_overwritten(
    folder: Path, loopback: LoopbackHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commit says which one it is based on: between the look and the commit another one has come."""
    loopback.store.add_repo(REPO, {"x": b"x"})
    original = publishing._commit

    def commit(*arguments: Any, **options: Any) -> Any:
        loopback.store.change(REPO, {"config.json": b"{}"}, title="somebody else's")
        return original(*arguments, **options)

    monkeypatch.setattr(publishing, "_commit", commit)
    result = run(folder, "--repo-id", REPO)
    assert result.exit_code == 3
    assert "somebody else changed 'main' at the same time; run it again" in error_line(result)
    main = loopback.store.repos[REPO].branches["main"]
    assert (main.title, main.files["config.json"].content) == ("somebody else's", b"{}")


def test_passing_faults_are_passed(
    folder: Path, loopback: LoopbackHub, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onnxzoo.hub.client.FIRST_PAUSE_S", 0.0)
    loopback.fail("GET /api/models", status=503)
    loopback.fail("POST .*/preupload/", status=500)
    loopback.fail("POST .*/batch", status=429, headers={"Retry-After": "2"})
    loopback.fail("PUT ", status=500)
    loopback.fail("PUT ", cut_after=1)
    result = run(folder, "--repo-id", REPO)
    assert (result.exit_code, result.stderr) == (0, "")
    assert 3.0 in pauses  # Retry-After and the client's second on top


def test_a_hub_that_does_not_answer(folder: Path, loopback: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onnxzoo.hub.client.FIRST_PAUSE_S", 0.0)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DOWNLOAD_TIMEOUT", 0.1)
    loopback.fail("GET /api/models", delay_s=0.5, times=9)
    result = run(folder, "--repo-id", REPO)
    assert result.exit_code == 3
    assert "cannot be reached" in error_line(result)
    assert "timed out" in result.stderr


def test_no_hub_at_all(folder: Path, loopback: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onnxzoo.hub.client.FIRST_PAUSE_S", 0.0)
    loopback.close()
    result = run(folder, "--repo-id", REPO)
    assert result.exit_code == 3
    assert f"the Hub at {loopback.url} cannot be reached" in error_line(result)


def test_offline(folder: Path, loopback: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    result = run(folder, "--repo-id", REPO)
    assert result.exit_code == 3
    assert "HF_HUB_OFFLINE is set" in error_line(result)


@pytest.mark.parametrize(
    "secret", [WRITE_TOKEN, "hf_unknownunknown", "hf_with\x01control", "hf_ünicode", "no-prefix-token"]
)
@pytest.mark.parametrize("fault", ["PUT ", "POST .*/commit/", "nothing"])
def test_the_token_is_never_printed(secret: str, fault: str, folder: Path, loopback: LoopbackHub) -> None:
    loopback.fail(fault, status=403, times=9, message=f"you sent {secret}")
    script = "import sys; from onnxzoo.cli import main; main(sys.argv[1:], prog_name='onnxzoo')"
    environment = {**os.environ, "HF_TOKEN": secret, "HF_DEBUG": "1", "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(
        [sys.executable, "-P", "-c", script, "--debug", "publish", str(folder), "--repo-id", REPO],
        env=environment,
        capture_output=True,
        timeout=60,
    )
    output = (done.stdout + done.stderr).decode()
    assert secret not in output
    assert repr(secret)[1:-1] not in output
    assert done.returncode == (0 if secret == WRITE_TOKEN and fault == "nothing" else 3), output
    assert "this is a bug" not in output


# Many


@pytest.fixture
def many(tmp_path: Path) -> Path:
    root = tmp_path / "many"
    root.mkdir()
    for name in SHIPPED:
        copy(name, root / name)
    (root / "notes").mkdir()
    (root / ".half.tmp").mkdir()
    return root


def test_many_go_on_after_a_failure_and_can_be_resumed(
    many: Path, loopback: LoopbackHub, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    copy(NAME, many / "another", name="swinv2_copy", validations=[])
    loopback.fail(r"POST .*pvt_v2_nano_fashion/commit/", status=500)
    result = run("--all", many, "--namespace", "onnxzoo")
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    assert [line.split()[0] for line in lines[1:-1]] == [
        "onnxzoo/swinv2_copy", "onnxzoo/pvt_v2_nano_fashion", "onnxzoo/swinv2_nano_fashion",
    ]  # fmt: skip
    assert "is not validated" in lines[1]
    assert "answers 500" in lines[2]
    assert lines[3].endswith("published")
    assert lines[-1] == "1 of 3 done, 2 FAILED"
    assert result.stderr.count("onnxzoo: error: ") == 2
    loopback.log.clear()
    result = run("--all", many, "--namespace", "onnxzoo", "--allow-unvalidated", "--json")
    outcomes = {one["repo_id"]: one["publication"] for one in json.loads(result.stdout)["results"]}
    assert result.exit_code == 0
    assert outcomes["onnxzoo/swinv2_nano_fashion"]["changed"] is False
    assert outcomes["onnxzoo/pvt_v2_nano_fashion"]["changed"] is True
    assert outcomes["onnxzoo/swinv2_copy"]["unvalidated"] == ["onnx/model.onnx"]
    # The model that failed at its commit had been uploaded; the copy's files are new to their repository.
    assert [one.path.split("/")[3] for one in loopback.log.all("PUT")] == ["swinv2_copy"] * 2


@pytest.mark.parametrize("options", [[], ["--dry-run"]])
def test_all_that_is_wrong_on_this_machine_is_found_before_the_first_request(
    many: Path, loopback: LoopbackHub, monkeypatch: pytest.MonkeyPatch, options: list[str]
) -> None:
    """The last artifact is the damaged one: what went before was published by then."""
    damaged = many / max(SHIPPED) / "onnx" / "model.onnx"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"x")
    asked: list[int] = []
    check = publishing.checked

    def noted(folder: Path, *arguments: Any, **values: Any) -> Any:
        asked.append(len(loopback.log.all()))
        return check(folder, *arguments, **values)

    monkeypatch.setattr(publishing, "checked", noted)
    result = run("--all", many, "--namespace", "onnxzoo", *options)
    assert result.exit_code == 1
    assert "was altered" in result.stderr
    assert asked == [0] * len(SHIPPED)
    assert result.stdout.splitlines()[-1] == f"{len(SHIPPED) - 1} of {len(SHIPPED)} done, 1 FAILED"


def test_a_dry_run_says_that_the_token_is_missing(
    folder: Path, loopback: LoopbackHub, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    result = run(folder, "--repo-id", REPO, "--dry-run")
    assert result.exit_code == 0
    assert [record.message for record in caplog.records] == [
        f"{REPO}: publishing needs an access token that may write; hf auth login, or set HF_TOKEN"
    ]


def test_two_artifacts_of_one_name(many: Path, loopback: LoopbackHub) -> None:
    copy(NAME, many / "zweite")
    result = run("--all", many, "--namespace", "onnxzoo")
    assert result.exit_code == 1
    assert "zweite and swinv2_nano_fashion have one name" in result.stderr
    assert set(loopback.store.repos) == {f"onnxzoo/{name}" for name in SHIPPED}


@pytest.mark.parametrize(
    ("inside", "hint"), [("pvt_v2_nano_fashion", "leave --all out"), ("notes", "expected a folder")]
)
def test_no_artifacts(inside: str, hint: str, many: Path) -> None:
    result = run("--all", many / inside, "--namespace", "onnxzoo")
    assert result.exit_code == 2
    assert hint in error_line(result)


def test_a_name_that_is_no_repository(many: Path, loopback: LoopbackHub) -> None:
    set_config(many / "pvt_v2_nano_fashion", name="../../etc")
    result = run("--all", many, "--namespace", "onnxzoo")
    assert result.exit_code == 1
    assert "'onnxzoo/../../etc' is no name of a Hub repository" in result.stderr
    assert set(loopback.store.repos) == {REPO}


def test_a_name_that_no_file_system_takes_stops_nothing_else(many: Path, loopback: LoopbackHub) -> None:
    files = json.loads((many / "pvt_v2_nano_fashion" / "config.json").read_text())["files"]
    set_config(many / "pvt_v2_nano_fashion", files=files | {"x" * 300: files["conformance.npz"]})
    result = run("--all", many, "--namespace", "onnxzoo")
    assert result.exit_code == 1
    assert "in config.json has more than 255 bytes" in result.stderr
    assert set(loopback.store.repos) == {REPO}


def test_an_artifact_that_cannot_be_read_stops_nothing_else(
    many: Path, loopback: LoopbackHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(folder: Path, *arguments: Any, **options: Any) -> Package:
        if folder.name == "pvt_v2_nano_fashion":
            raise OSError(5, "Input/output error")
        return package.pack(folder, *arguments, **options)

    monkeypatch.setattr("onnxzoo.hub.publish.pack", broken)
    result = run("--all", many, "--namespace", "onnxzoo")
    assert result.exit_code == 1
    assert "onnxzoo: error: pvt_v2_nano_fashion: [Errno 5] Input/output error" in result.stderr
    assert set(loopback.store.repos) == {REPO}


def test_the_publication_is_documented(folder: Path) -> None:
    done: Publication = publish(folder, REPO, dry_run=True)
    assert (done.dry_run, done.created, done.commit) == (True, True, None)
