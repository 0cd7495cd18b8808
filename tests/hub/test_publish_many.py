"""Many artifacts published by one command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hub_publishing import NAME, REPO, error_line, run
from hub_server import LoopbackHub
from recorded import SHIPPED, copy, set_config

from onnxzoo.hub import package, publish_many
from onnxzoo.hub.package import Package

pytestmark = pytest.mark.usefixtures("token")


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
    monkeypatch.setenv("ONNXZOO_NAMESPACE", "onnxzoo")
    result = run("--all", many, "--allow-unvalidated", "--json")
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
    check = publish_many.checked

    def noted(folder: Path, *arguments: Any, **values: Any) -> Any:
        asked.append(len(loopback.log.all()))
        return check(folder, *arguments, **values)

    monkeypatch.setattr(publish_many, "checked", noted)
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
    assert "zweite and swinv2_nano_fashion have the same name" in result.stderr
    assert set(loopback.store.repos) == {f"onnxzoo/{name}" for name in SHIPPED}


@pytest.mark.parametrize(
    ("inside", "hint"), [("pvt_v2_nano_fashion", "leave --all out"), ("notes", "expected a folder")]
)
def test_no_artifacts(inside: str, hint: str, many: Path) -> None:
    result = run("--all", many / inside, "--namespace", "onnxzoo")
    assert result.exit_code == 2
    assert hint in error_line(result)


def test_an_invalid_repository_name_is_refused(many: Path, loopback: LoopbackHub) -> None:
    set_config(many / "pvt_v2_nano_fashion", name="../../etc")
    result = run("--all", many, "--namespace", "onnxzoo")
    assert result.exit_code == 1
    assert "'onnxzoo/../../etc' is not a valid name of a Hub repository" in result.stderr
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
