"""`onnxzoo web`: models are artifacts, the runtime is the one that was tested, and nothing of others is lost."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import tarfile
from pathlib import Path

import pytest
from artifacts import PVT
from command_line import is_one_error_line, run
from tiny import write_artifact

from onnxzoo.artifact.folder import read_artifact
from onnxzoo.deploy import web_runtime
from onnxzoo.deploy.web import MARK, PAGE_FILES
from onnxzoo.deploy.web_runtime import FILES, PACKAGE, VERSION, RuntimeFile, runtime_files
from onnxzoo.errors import ArtifactError
from onnxzoo.files import sha256_of

CONTENTS = {file.name: f"// {file.name}".encode() for file in FILES}


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """The runtime's files of some bytes, instead of 41 MB."""
    files = [
        RuntimeFile(file.name, len(data), hashlib.sha256(data).hexdigest(), file.webgpu)
        for file, data in zip(FILES, CONTENTS.values(), strict=True)
    ]
    monkeypatch.setattr(web_runtime, "FILES", tuple(files))


@pytest.fixture
def runtime(tmp_path: Path) -> Path:
    folder = tmp_path / "node_modules"
    (folder / PACKAGE / "dist").mkdir(parents=True)
    for name, data in CONTENTS.items():
        (folder / PACKAGE / "dist" / name).write_bytes(data)
    return folder


def packed(folder: Path, contents: dict[str, bytes] = CONTENTS) -> Path:
    archive = folder / f"{PACKAGE}-{VERSION}.tgz"
    with tarfile.open(archive, "w:gz") as tar:
        for name, data in {"../evil": b"x", **contents}.items():
            member = tarfile.TarInfo(f"package/dist/{name}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return archive


def site_files(site: Path) -> dict[str, str]:
    return {path.relative_to(site).as_posix(): sha256_of(path) for path in site.rglob("*") if path.is_file()}


def test_a_site_is_whole(tiny: Path, runtime: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    done = run("web", PVT, f"colours={tiny}", "--out", site, "--runtime", runtime)
    assert (done.exit_code, done.stderr) == (0, "")
    assert f"start: python -m http.server --directory {site} 8000" in done.stdout
    found = json.loads((site / "site.json").read_text())
    assert [one["name"] for one in found["models"]] == [PVT, "colours"]
    assert (found["generator"], found["webgpu"]) == (MARK, True)
    for one in found["models"]:
        artifact = read_artifact(site / one["folder"])
        artifact.verify()
        assert artifact.precisions == ("fp32",)  # PVT also has int8 and fp16
        assert one["bytes"] == artifact.required_model("fp32").bytes
        assert {path.name for path in (site / one["folder"]).rglob("*.onnx")} == {"model.onnx"}
    listed = site_files(site)
    script = (site / "service_worker.js").read_text()
    digests = json.loads(script.splitlines()[0].removeprefix("self.SITE_FILES = ").removesuffix(";"))
    assert digests == {path: digest for path, digest in listed.items() if path != "service_worker.js"}
    assert {*PAGE_FILES, "site.json", "runtime/LICENSE.txt", f"models/{PVT}/conformance.npz"} <= listed.keys()
    for path in listed:
        if path.endswith((".json", ".js", ".html", ".css")):
            assert str(tmp_path) not in (site / path).read_text(), path


def test_json_lists_all_files(tiny: Path, runtime: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    found = json.loads(run("web", tiny, "--out", site, "--runtime", runtime, "--no-webgpu", "--json").stdout)
    assert found["files"] == {path: (site / path).stat().st_size for path in site_files(site)}
    assert found["models"] == [
        {"name": "tiny", "precision": "fp32", "sha256": read_artifact(tiny).required_model("fp32").sha256}
    ]
    assert not [path for path in found["files"] if "webgpu" in path or "asyncify" in path]
    assert json.loads((site / "site.json").read_text())["webgpu"] is False


def test_an_earlier_site_is_replaced_whole_or_kept(tiny: Path, runtime: Path, tmp_path: Path) -> None:
    site, other = tmp_path / "site", write_artifact(tmp_path / "other", name="other")
    assert run("web", tiny, "--out", site, "--runtime", runtime).exit_code == 0
    before = site_files(site)
    with (other / "onnx" / "model.onnx").open("ab") as file:
        file.write(b"\0")
    done = run("web", other, "--out", site, "--runtime", runtime)
    assert (done.exit_code, is_one_error_line(done.stderr)) == (1, True)
    assert site_files(site) == before
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    write_artifact(tmp_path / "third", name="third")
    assert run("web", tmp_path / "third", "--out", site, "--runtime", runtime).exit_code == 0
    assert {path.name for path in (site / "models").iterdir()} == {"third"}


def test_nothing_of_others_is_replaced(tiny: Path, runtime: Path, tmp_path: Path) -> None:
    theirs, file, empty = tmp_path / "theirs", tmp_path / "file", tmp_path / "empty"
    theirs.mkdir()
    (theirs / "site.json").write_text('{"generator": "another"}')
    file.write_text("x")
    empty.mkdir()
    for out, code, reason in (
        (theirs, 1, "was not written by onnxzoo and stays as it is"),
        (file, 2, "is a file, expected a folder for the site"),
        (tiny / "site", 2, "lie in each other"),
        (tmp_path, 2, "lie in each other"),
        (file / "below", 1, "cannot be written"),
    ):
        done = run("web", tiny, "--out", out, "--runtime", runtime)
        assert (done.exit_code, is_one_error_line(done.stderr)) == (code, True), done.stderr
        assert reason in done.stderr
    assert (theirs / "site.json").read_text() == '{"generator": "another"}'
    assert run("web", tiny, "--out", empty, "--runtime", runtime).exit_code == 0


def test_wrong_usage(tiny: Path, runtime: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    for arguments, code, reason in (
        (("--out", site), 2, "Missing argument 'MODEL...'"),
        ((tiny,), 2, "Missing option '--out'"),
        ((tiny, "--out", site), 3, f"the site needs {PACKAGE} {VERSION}, which is not part of this package; give"),
        ((tiny, "--out", site, "--runtime", tmp_path / "none"), 2, "does not exist"),
        ((tiny, "--out", site, "--runtime", runtime, "--download-runtime"), 2, "exclude each other"),
        ((tiny, tiny, "--out", site, "--runtime", runtime), 2, "two models would be served as 'tiny'"),
        (("pvt_v2_b9", "--out", site, "--runtime", runtime), 2, "unknown model"),
        ((tmp_path / "none", "--out", site, "--runtime", runtime), 3, "there is no folder"),
    ):
        done = run("web", *arguments)
        assert (done.exit_code, is_one_error_line(done.stderr)) == (code, True), done.stderr
        assert reason in done.stderr
        assert not site.exists()


def test_a_runtime_of_another_version_is_refused(tiny: Path, runtime: Path, tmp_path: Path) -> None:
    for name in ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.asyncify.wasm"):
        path = runtime / PACKAGE / "dist" / name
        whole = path.read_bytes()
        for data, reason in (
            (whole + b" ", f"{name} in {runtime} is not that of {PACKAGE} {VERSION}: its sha256 is"),
            (whole[:-1] + b"x", "expected "),
            (None, f"has no {name}; expected the folder or the archive of {PACKAGE} {VERSION}"),
        ):
            path.unlink() if data is None else path.write_bytes(data)
            done = run("web", tiny, "--out", tmp_path / "site", "--runtime", runtime)
            assert (done.exit_code, is_one_error_line(done.stderr)) == (1, True)
            assert reason in done.stderr
        path.write_bytes(whole)


@pytest.mark.parametrize("place", ["", PACKAGE, f"{PACKAGE}/dist"])
def test_the_runtime_is_found_in_its_folder(runtime: Path, place: str) -> None:
    found = runtime_files(runtime / place)
    assert {name: data for name, data in found.items() if name != "LICENSE.txt"} == CONTENTS
    assert b"Permission is hereby granted" in found["LICENSE.txt"]


def test_the_runtime_is_read_from_an_archive(tmp_path: Path) -> None:
    archive = packed(tmp_path)
    assert runtime_files(archive).keys() == {*CONTENTS, "LICENSE.txt"}
    whole = archive.read_bytes()
    for data in (b"", b"text", whole[: len(whole) // 2], gzip.compress(b"no tar" * 999), whole[:40] + b"\0" * 99):
        archive.write_bytes(data)
        with pytest.raises(ArtifactError):
            runtime_files(archive)
    packed(tmp_path, {**CONTENTS, "ort.wasm.min.mjs": b"altered"})
    with pytest.raises(ArtifactError, match="is not that of"):
        runtime_files(archive)


@pytest.mark.skipif(os.name == "nt", reason="the double of npm is a shell script")
def test_npm_downloads_the_runtime(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive, tools = packed(tmp_path), tmp_path / "tools"
    tools.mkdir()
    monkeypatch.setenv("PATH", f"{tools}:/bin:/usr/bin")
    npm = tools / "npm"
    for script, code, reason in (
        (f'echo "$@" > {tmp_path}/asked; while [ $# -gt 1 ]; do shift; done; cp {archive} "$1"', 0, ""),
        ("echo 'npm error network unreachable' >&2; exit 1", 3, "npm error network unreachable"),
        ("exit 0", 3, "npm could not download"),
        (f"while [ $# -gt 1 ]; do shift; done; echo no > $1/{archive.name}", 1, "is not a whole archive of npm"),
    ):
        npm.write_text(f"#!/bin/sh\n{script}\n")
        npm.chmod(0o755)
        done = run("web", tiny, "--out", tmp_path / "site", "--download-runtime")
        assert done.exit_code == code, done.stderr
        assert reason in done.stderr
    assert (tmp_path / "asked").read_text().startswith(f"pack {PACKAGE}@{VERSION} --ignore-scripts")
    npm.unlink()
    monkeypatch.setenv("PATH", str(tools))
    done = run("web", tiny, "--out", tmp_path / "site", "--download-runtime")
    assert (done.exit_code, is_one_error_line(done.stderr)) == (3, True)
    assert "npm is not installed" in done.stderr


def test_a_model_without_fp32_is_refused(tmp_path: Path, runtime: Path, tiny: Path) -> None:
    config = json.loads((tiny / "config.json").read_text())
    config["files"]["onnx/model.onnx"]["precision"] = "fp16"
    (tiny / "config.json").write_text(json.dumps(config))
    done = run("web", tiny, "--out", tmp_path / "site", "--runtime", runtime)
    assert (done.exit_code, is_one_error_line(done.stderr)) == (2, True)
