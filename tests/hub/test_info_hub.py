"""`onnxzoo info --hub`: branches, tags and commits of a repo, and what each holds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from artifacts import copy_shipped
from click.testing import CliRunner, Result
from hub_server import WRITE_TOKEN, LoopbackHub
from recorded import SHIPPED, validation, with_config
from tiny import write_artifact

from onnxzoo.artifact.folder import read_artifact
from onnxzoo.cli import main
from onnxzoo.hub import listing

NAME = "pvt_v2_nano_fashion"
REPO = f"onnxzoo/{NAME}"
MODEL = read_artifact(SHIPPED[NAME]).files["onnx/model.onnx"]


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["info", *arguments, "--hub"], prog_name="onnxzoo")


@pytest.fixture(autouse=True)
def namespace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONNXZOO_NAMESPACE", "onnxzoo")


@pytest.fixture
def repo(loopback: LoopbackHub, tmp_path: Path) -> dict[str, str]:
    """A repo with main, the branch `next` and the tags v1 (an older main) and empty (no artifact): name -> commit."""
    hub = loopback.store.add_repo(REPO)
    hub.tags["empty"] = hub.branches["main"]
    loopback.store.change(REPO, copy_shipped(tmp_path / "first", NAME), title="First edition")
    hub.tags["v1"] = hub.branches["main"]
    copy = tmp_path / "copy"
    copy_shipped(copy, NAME)
    with_config(copy, validations=[validation(copy), validation(copy, engine="onnxruntime", model_sha256="0" * 64)])
    loopback.store.change(REPO, copy, title="Validated\x1b[31m")
    loopback.store.change(REPO, {"note": b"x"}, branch="next")
    commits = {name: commit.sha for name, commit in {**hub.branches, **hub.tags}.items()}
    loopback.log.clear()
    return commits


def test_revisions_and_what_they_hold(repo: dict[str, str], loopback: LoopbackHub) -> None:
    result = run(NAME)
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[:2] == [REPO, f"  url            {loopback.url}/{REPO}"]
    blocks = [line for line in lines if not line.startswith(" ")]
    assert blocks == [REPO, "branch main", "branch next", "tag empty", "tag v1", "history of main"]
    text = result.stdout
    main_block, next_block, empty, v1 = (text.split(f"\n{one}\n")[1].split("\n") for one in blocks[1:5])
    assert main_block[0].startswith(f"  commit         {repo['main']}, 20")
    assert main_block[0].endswith("Validated\\x1b[31m")
    assert "  model          pvt_v2_nano_fashion, 10 classes, image size 32" in main_block
    assert main_block[2] == f"  fp32           onnx/model.onnx, {MODEL.bytes:,} bytes, sha256 {MODEL.sha256}"
    assert main_block[3].startswith("    validated    openvino 2026.4 (CPU) against conformance: 8 images, largest ")
    assert not main_block[4].startswith("    validated")  # the other one was of another file
    assert "    validated    no" in v1
    assert next_block[0] == f"  commit         {repo['next']}"
    assert empty[1].startswith(f"  holds          {REPO} has no file 'config.json' at {repo['empty']}")
    history = lines[lines.index("history of main") + 1 :]
    assert [line.split("  ")[-1] for line in history] == ["Validated\\x1b[31m", "First edition", "initial commit"]
    # No model data; each commit's config.json once, and not again.
    assert loopback.log.sent("/objects/") == 0
    configs = len(loopback.log.all("GET .*config.json"))
    loopback.log.clear()
    assert run(NAME).stdout == result.stdout
    assert len(loopback.log.all("GET .*config.json")) == 0 < configs


def test_json(repo: dict[str, str], loopback: LoopbackHub) -> None:
    document = json.loads(run(REPO, "--json").stdout)
    assert {one["name"]: one["commit"] for one in document["revisions"]} == repo
    (fp32,) = document["revisions"][0]["precisions"]
    assert (fp32["bytes"], [one["engine"] for one in fp32["validations"]]) == (MODEL.bytes, ["openvino"])
    problems = {one["name"]: one["problem"] is None for one in document["revisions"]}
    assert problems == {"main": True, "next": True, "v1": True, "empty": False}
    assert len(document["commits"]) == 3


def test_one_revision(repo: dict[str, str]) -> None:
    for revision in ("v1", repo["v1"]):
        document = json.loads(run(f"{REPO}@{revision}", "--json").stdout)
        assert {one["commit"] for one in document["revisions"]} == {repo["v1"]}
    result = run(f"{NAME}@v7")
    assert result.exit_code == 3
    assert "has no branch, tag or commit 'v7'; it has main, next, " in result.stderr


def test_many_tags_are_not_all_asked_for(loopback: LoopbackHub, monkeypatch: pytest.MonkeyPatch, tiny: Path) -> None:
    monkeypatch.setattr(listing, "MAX_INSPECTED", 2)
    repo = loopback.store.add_repo("someone/tiny", tiny)
    for number in range(4):
        loopback.store.change("someone/tiny", {"note": b"%d" % number})
        repo.tags[f"v{number}"] = repo.branches["main"]
    document = json.loads(run("someone/tiny", "--json").stdout)
    assert [one["problem"] is None for one in document["revisions"]] == [True, True, False, False, True]


def test_a_private_repo_needs_the_token(loopback: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loopback.store.add_repo("someone/secret", write_artifact(tmp_path / "a"), private=True)
    result = run("someone/secret")
    assert result.exit_code == 3
    assert "is not on the Hub" in result.stderr
    monkeypatch.setenv("HF_TOKEN", WRITE_TOKEN)
    assert run("someone/secret").exit_code == 0


@pytest.mark.parametrize(
    ("name", "code", "expected"),
    [
        ("pvt_v2_b0", 3, "then onnxzoo export pvt_v2_b0"),
        ("someone/nothing", 3, "someone/nothing is not on the Hub"),
        ("pvt_v9", 2, "unknown model 'pvt_v9'"),
        ("./some/folder", 2, "is not a repository on the Hub; expected USER/NAME"),
    ],
)
def test_missing_repositories_and_models(name: str, code: int, expected: str, loopback: LoopbackHub) -> None:
    result = run(name)
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (code, "", 1)
    assert expected in result.stderr


def test_offline(loopback: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    result = run(NAME)
    assert result.exit_code == 3
    assert "HF_HUB_OFFLINE is set" in result.stderr
    assert loopback.log.all() == []
