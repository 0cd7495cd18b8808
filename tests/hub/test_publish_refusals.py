"""What is not published: artifacts that are not whole or not validated, repositories of somebody else, wrong usage."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from hub_publishing import NAME, REPO, error_line, run
from hub_server import LoopbackHub
from recorded import SHIPPED, set_config, validation

from onnxzoo.artifact.folder import Artifact
from onnxzoo.hub import package
from onnxzoo.hub.package import Package
from onnxzoo.hub.publish import publish

pytestmark = pytest.mark.usefixtures("token")


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
    assert f"lists {path}, which is not an artifact's file; remove it from" in error_line(
        run(folder, "--repo-id", REPO)
    )
    assert loopback.log.all() == []


def test_a_precision_belongs_to_its_file(folder: Path, loopback: LoopbackHub) -> None:
    shutil.copy(folder / "onnx/model.onnx", folder / "onnx/model_int8.onnx")
    files = json.loads((folder / "config.json").read_text())["files"]
    files["onnx/model_int8.onnx"] = files["onnx/model.onnx"] | {"precision": "bf16"}
    set_config(folder, files=files)
    line = error_line(run(folder, "--repo-id", REPO, "--allow-unvalidated"))
    assert "lists onnx/model_int8.onnx with the precision bf16, which is not an artifact's file" in line


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
