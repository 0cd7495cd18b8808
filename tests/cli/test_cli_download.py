"""`onnxzoo download` and `onnxzoo cache`: what they print, and their exit codes."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from found import find_artifact
from hub_server import LoopbackHub
from huggingface_hub import constants
from tiny import write_artifact

from onnxzoo.cli import main
from onnxzoo.engines.compiled_models import compiled, entry_for
from onnxzoo.engines.options import EngineOptions
from onnxzoo.files import atomic_folder, sha256_of
from onnxzoo.hub import SHIPPED_DIR
from onnxzoo.registry import list_models
from onnxzoo.temporary import scratch_folder

REPO = "someone/tiny"
MODEL = "onnx/model.onnx"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments, catch_exceptions=False)


def rows(*arguments: str) -> list[dict[str, Any]]:
    document: dict[str, list[dict[str, Any]]] = json.loads(run(*arguments, "--json").stdout)
    return document.get("models") or document["entries"]


@pytest.fixture
def hub(loopback: LoopbackHub, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LoopbackHub:
    """someone/tiny and, in the namespace of the registry's names, onnxzoo/pvt_v2_b0, both tiny."""
    monkeypatch.setenv("ONNXZOO_NAMESPACE", "onnxzoo")
    loopback.store.add_repo(REPO, tiny)
    loopback.store.add_repo("onnxzoo/pvt_v2_b0", write_artifact(tmp_path / "b0", name="pvt_v2_b0"))
    return loopback


@pytest.mark.parametrize("where", ["cache", "cache/deeper/still"])
def test_a_cache_folder_that_a_file_is_in_the_way_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    (tmp_path / "cache").write_text("a file")
    monkeypatch.setenv("ONNXZOO_CACHE", str(tmp_path / where))
    for arguments in (["list"], ["verify"], ["remove", "pvt_v2_b0"], ["list", "--json"]):
        result = run("cache", *arguments)
        assert (result.exit_code, result.stdout) == (2, "")
        expected = f"the cache folder {tmp_path / where} cannot be made: {tmp_path / 'cache'} is not a folder; set "
        assert result.stderr.startswith(f"onnxzoo: error: {expected}ONNXZOO_CACHE to a folder of yours")
        assert result.stderr.count("\n") == 1


def test_a_cache_folder_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONNXZOO_CACHE", str(tmp_path / "a" / "b"))
    assert run("cache", "list").exit_code == 0
    monkeypatch.setattr("os.access", lambda path, _mode: Path(path) != tmp_path)  # root may write anywhere
    result = run("cache", "list")
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"{tmp_path / 'a' / 'b'} cannot be made: {tmp_path} cannot be written to; set ONNXZOO_CACHE" in result.stderr
    # One that is there may be read.
    (tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.setattr("os.access", lambda *_: False)
    assert run("cache", "list").exit_code == 0


def test_download_goes_on_after_a_failure_and_ends_with_a_table(hub: LoopbackHub, cache: Path) -> None:
    write_artifact(cache / "models" / "pvt_v2_b2", name="pvt_v2_b2")
    result = run("download", "pvt_v2_b1", REPO, "PVT_V2_B0", "pvt_v2_b2", "pvt_v2_nano_fashion", REPO)
    assert result.exit_code == 3
    lines = result.stdout.splitlines()
    assert len(lines) == 7
    assert "FAILED: onnxzoo/pvt_v2_b1 is not on the Hub" in lines[1]
    assert lines[1].endswith("then onnxzoo export pvt_v2_b1")
    commit = hub.store.repos[REPO].branches["main"].sha
    assert lines[2].split()[:3] == [REPO, "0.0", f"{REPO}@{commit[:7]}"]
    assert lines[2].endswith(commit)
    assert "onnxzoo/pvt_v2_b0@" in lines[3]
    assert lines[4].split()[2] == "exported"
    assert lines[5].split()[1:3] == ["2.0", "shipped"]
    assert lines[6] == "4 of 5 here, 1 FAILED"
    hub.close()
    # Everything is here now, without the Hub.
    assert find_artifact(REPO, offline=True).name == commit


def test_download_rejects_what_is_wrong_with_exit_code_1(hub: LoopbackHub) -> None:
    hub.fail("GET /objects/", times=2, wrong_at=9)
    result = run("download", REPO, "pvt_v2_b1")
    assert result.exit_code == 1
    assert "was altered" in result.stdout
    assert run("download", REPO).exit_code == 0


def test_download_as_json(hub: LoopbackHub, tiny: Path) -> None:
    (row,) = rows("download", REPO)
    commit = hub.store.repos[REPO].branches["main"].sha
    size = sum((tiny / path).stat().st_size for path in ("config.json", MODEL))
    assert (row["source"], row["commit"], row["bytes"], row["error"]) == (REPO, commit, size, "")
    assert Path(row["folder"]).name == commit
    assert rows("download", "no/body")[0]["exit_code"] == 3


def test_download_all_asks_for_every_model(hub: LoopbackHub) -> None:
    found = rows("download", "--all")
    assert [row["name"] for row in found] == list_models()
    assert [row["name"] for row in found if not row["error"]] == [
        "pvt_v2_b0",
        "pvt_v2_nano_fashion",
        "swinv2_nano_fashion",
    ]


def test_a_dry_run_brings_nothing(hub: LoopbackHub, tiny: Path) -> None:
    size = sum((tiny / path).stat().st_size for path in ("config.json", MODEL))
    (row,) = rows("download", REPO, "--dry-run")
    assert (row["bytes"], row["missing"], row["folder"]) == (size, size, None)
    config = (tiny / "config.json").stat().st_size
    assert hub.log.sent("GET /") == hub.log.sent("GET /api/agent") + config
    assert not hub.log.all("GET /objects/")
    assert not (Path(constants.HF_HUB_CACHE) / "models--someone--tiny").exists()
    assert run("download", REPO).exit_code == 0
    assert rows("download", REPO, "--dry-run")[0]["missing"] == 0
    assert run("download", REPO, "pvt_v2_nano_fashion", "--dry-run").stdout.endswith("0.0 MB to download\n")
    for options in ((), ("--dry-run",)):
        result = run("download", REPO, *options, "--precision", "int8")
        assert "FAILED: tiny has no 'int8' model; available precisions: fp32" in result.stdout
        assert result.exit_code == 2


def test_a_dry_run_takes_the_path_from_config(loopback: LoopbackHub, tiny: Path) -> None:
    config = json.loads((tiny / "config.json").read_text())
    config["files"]["onnx/other.onnx"] = config["files"].pop(MODEL)
    (tiny / MODEL).rename(tiny / "onnx" / "other.onnx")
    (tiny / "config.json").write_text(json.dumps(config))
    loopback.store.add_repo(REPO, tiny)
    (planned,) = rows("download", REPO, "--dry-run")
    assert run("download", REPO).exit_code == 0
    (done,) = rows("download", REPO)
    assert (planned["error"], planned["bytes"]) == ("", done["bytes"])


def test_download_of_a_revision_asks_the_hub_also_for_what_is_here(hub: LoopbackHub) -> None:
    commit = hub.store.repos["onnxzoo/pvt_v2_b0"].branches["main"].sha
    assert rows("download", "pvt_v2_b0", "--revision", commit)[0]["commit"] == commit
    assert "has no revision 'v9'" in rows("download", "pvt_v2_b0", "--revision", "v9")[0]["error"]
    (row,) = rows("download", "pvt_v2_nano_fashion", "--revision", "main")
    assert "onnxzoo/pvt_v2_nano_fashion is not on the Hub" in row["error"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "give names of models, or --all"),
        (("--all", REPO), "give names of models, or --all"),
        ((REPO, "pvt_v2_b9"), "unknown model 'pvt_v2_b9'; did you mean"),
        ((REPO, "--revision", "a b"), "'a b' is not a valid revision"),
        ((REPO, "--precision", "fp4"), "fp4"),
    ],
)
def test_wrong_usage_of_download_asks_for_nothing(hub: LoopbackHub, arguments: tuple[str, ...], message: str) -> None:
    result = run("download", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert hub.log.all() == []


def test_download_offline_says_what_is_missing(hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("download", REPO).exit_code == 0
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    hub.log.clear()
    assert run("download", REPO).exit_code == 0
    result = run("download", REPO, "--precision", "fp16")
    assert result.exit_code == 2
    assert "has no 'fp16' model; available precisions: fp32" in result.stdout
    assert run("download", "pvt_v2_b0").exit_code == 3
    assert run("download", "pvt_v2_b0", "--dry-run").exit_code == 3
    assert hub.log.all() == []


OF_NO_MODEL = "0123456789abcdef"


@pytest.fixture
def kept(hub: LoopbackHub, cache: Path) -> Path:
    """One entry of each kind; the cache folder."""
    write_artifact(cache / "models" / "pvt_v2_b2", name="pvt_v2_b2")
    find_artifact(REPO)
    find_artifact("pvt_v2_b0")
    checkpoint = cache / "checkpoints" / "weights.pdparams"
    checkpoint.parent.mkdir()
    checkpoint.write_bytes(b"weights")
    checkpoint.with_name("weights.pdparams.sha256").write_text(f"{sha256_of(checkpoint)}  weights.pdparams\n")
    compiled = cache / "engines" / "openvino" / OF_NO_MODEL / "key"
    compiled.mkdir(parents=True)
    (compiled / "one.blob").write_bytes(b"compiled")
    # What other tools keep beside ours.
    other = Path(constants.HF_HUB_CACHE) / "models--other--bert" / "snapshots" / ("0" * 40)
    other.mkdir(parents=True)
    (other / "config.json").write_text('{"model_type": "bert"}')
    (other.parent.parent / "refs").mkdir()
    (other.parent.parent / "refs" / "main").write_text("0" * 40)
    return cache


def test_cache_list(kept: Path) -> None:
    assert [(row["kind"], row["name"]) for row in rows("cache", "list")] == [
        ("export", "pvt_v2_b2"),
        ("hub", "onnxzoo/pvt_v2_b0"),
        ("hub", REPO),
        ("checkpoint", "weights.pdparams"),
        ("engines", OF_NO_MODEL),
    ]
    text = run("cache", "list").stdout
    assert text.splitlines()[-1].startswith("5 kept, ")
    assert "someone/tiny@" in text
    assert " (main) " in text


def test_an_empty_cache(loopback: LoopbackHub) -> None:
    assert run("cache", "list").stdout == "0 kept, 0.0 MB\n"
    assert run("cache", "verify").stdout == "0 of 0 ok\n"
    emptied = run("cache", "remove", "--all", "--yes")
    assert (emptied.exit_code, emptied.stdout) == (0, "nothing is kept, so there is nothing to remove\n")


@pytest.mark.skipif(os.name != "posix", reason="needs the locks of POSIX")
def test_what_killed_processes_left_is_listed_and_removed(
    loopback: LoopbackHub, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "scratch"
    left = [
        scratch / "onnxzoo-export-0123456789ab",
        cache / "models" / ".pvt_v2_b0.0123456789ab.tmp",
        cache / "engines" / "openvino" / OF_NO_MODEL / ".key.0123456789ab.tmp",
    ]
    for folder in left:
        folder.mkdir(parents=True)
        (folder / "weights").write_bytes(b"x" * 10)
    left.append(cache / "checkpoints" / ".b0.pdparams.0123456789ab.tmp")
    left[-1].parent.mkdir()
    left[-1].write_bytes(b"x" * 10)
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    with atomic_folder(cache / "models" / "pvt_v2_b2"), scratch_folder("export"):
        # The working folder that began just now has swept the one that was left.
        left[0].mkdir()
        found = [row for row in rows("cache", "list") if row["kind"] == "leftover"]
        assert {row["path"] for row in found} == {str(path) for path in left}
        verified = run("cache", "verify")
        assert verified.exit_code == 0, "no model is damaged"
        assert verified.stdout.count("left    leftover") == 4
        assert verified.stdout.splitlines()[-2] == "1 of 1 ok", "the folder of engines, with one of them in it"
        assert verified.stdout.splitlines()[-1].startswith("4 left by a process that was killed: the next one")
        assert run("cache", "remove", "leftovers", "--yes").stdout.startswith("removed 4 of")
        assert not any(path.exists() for path in left)
        assert len(list(scratch.iterdir())) == len(list((cache / "models").iterdir())) == 1


def test_cache_verify_finds_every_kind_of_damage(kept: Path) -> None:
    assert run("cache", "verify").exit_code == 0
    folder = find_artifact(REPO, offline=True)
    for path in (
        kept / "models" / "pvt_v2_b2" / MODEL,
        (folder / MODEL).resolve(),
        (find_artifact("pvt_v2_b0", offline=True) / "config.json").resolve(),
        kept / "checkpoints" / "weights.pdparams",
    ):
        content = path.read_bytes()
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    result = run("cache", "verify")
    assert result.exit_code == 1
    assert result.stdout.splitlines()[-1] == "1 of 5 ok, 4 FAILED"
    assert result.stdout.count("was altered") + result.stdout.count("cannot be read") == 4
    assert run("cache", "verify", "engines").exit_code == 0
    find_artifact(REPO)
    assert run("cache", "verify", REPO).exit_code == 0
    (row,) = rows("cache", "verify", "weights.pdparams")
    assert len(row["problems"]) == 1


def test_cache_remove(kept: Path, hub: LoopbackHub) -> None:
    hub.store.change(REPO, {"README.md": b"new"})
    find_artifact(REPO)
    assert len(rows("cache", "list")) == 6
    old = hub.store.repos[REPO].branches["main"].parent
    assert old is not None
    result = run("cache", "remove", f"{REPO}@{old.sha[:8]}", "--dry-run")
    assert "would remove 1 of the cache's entries" in result.stdout
    assert run("cache", "remove", f"{REPO}@{old.sha[:8]}", "--yes").exit_code == 0
    # The newer commit has the same model file: it stays.
    assert find_artifact(REPO, offline=True).name == hub.store.repos[REPO].branches["main"].sha
    assert run("cache", "remove", "pvt_v2_b0", "pvt_v2_b2", "weights.pdparams", "--yes").exit_code == 0
    assert [row["kind"] for row in rows("cache", "list")] == ["hub", "engines"]
    assert list((kept / "checkpoints").iterdir()) == []
    result = run("cache", "remove", "--all")
    assert result.exit_code == 2
    assert "give --yes" in result.stderr
    assert run("cache", "remove", "--all", "--yes").stdout.startswith("removed 2 of the cache's entries")
    assert rows("cache", "list") == []
    assert (Path(constants.HF_HUB_CACHE) / "models--other--bert").exists()


def test_cache_verify_names_what_cannot_be_read(kept: Path) -> None:
    tiny = find_artifact(REPO, offline=True)
    (tiny / "config.json").resolve().write_text("{ damaged")
    gone = (find_artifact("pvt_v2_b0", offline=True) / MODEL).resolve()
    gone.unlink()
    assert len(rows("cache", "list")) == 5
    result = run("cache", "verify")
    assert result.exit_code == 1
    assert result.stdout.splitlines()[-1] == "3 of 5 ok, 2 FAILED"
    assert f"{tiny / 'config.json'} cannot be read" in result.stdout
    assert "onnx/model.onnx is a link to a file that is gone" in result.stdout
    assert run("cache", "verify", REPO).exit_code == 1
    (tiny / "config.json").resolve().unlink()
    assert "config.json is a link to a file that is gone" in run("cache", "verify", REPO).stdout
    assert run("cache", "remove", "pvt_v2_b0", REPO, "--yes").exit_code == 0
    assert [row["kind"] for row in rows("cache", "list")] == ["export", "checkpoint", "engines"]
    assert not list(Path(constants.HF_HUB_CACHE).glob("models--someone--*"))
    assert find_artifact(REPO).is_dir()


def test_compiled_engines_are_listed_and_removed_by_model(kept: Path) -> None:
    def compile_for(model_file: Path, engine: str) -> Path:
        entry = entry_for(kept / "engines", engine, sha256_of(model_file), {})

        def build(folder: Path | None) -> None:
            assert folder is not None
            (folder / "model.blob").write_bytes(b"compiled")

        compiled(entry, EngineOptions(), build=build, load=lambda _: None)
        return entry.folder

    shipped = compile_for(SHIPPED_DIR / "pvt_v2_nano_fashion" / MODEL, "openvino")
    exported = [compile_for(kept / "models" / "pvt_v2_b2" / MODEL, engine) for engine in ("openvino", "tensorrt")]

    def listed() -> list[tuple[str, str]]:
        return sorted((row["name"], row["engine"]) for row in rows("cache", "list") if row["kind"] == "engines")

    other = (OF_NO_MODEL, "openvino")
    of_shipped, of_export = ("pvt_v2_nano_fashion", "openvino"), [("pvt_v2_b2", "openvino"), ("pvt_v2_b2", "tensorrt")]
    assert listed() == sorted([other, of_shipped, *of_export])
    assert "pvt_v2_nano_fashion (openvino)" in run("cache", "list").stdout
    (shipped / "model.blob").write_bytes(b"altered!")
    assert run("cache", "verify", "engines/pvt_v2_b2").exit_code == 0
    assert "model.blob was altered" in run("cache", "verify", "pvt_v2_nano_fashion").stdout
    assert run("cache", "remove", "pvt_v2_nano_fashion", "--yes").exit_code == 0
    assert not shipped.exists()
    assert run("cache", "remove", "engines/pvt_v2_b2", "--yes").stdout.startswith("removed 2 of")
    assert not any(folder.exists() for folder in exported)
    assert (kept / "models" / "pvt_v2_b2" / MODEL).is_file()
    assert listed() == [other]
    compile_for(kept / "models" / "pvt_v2_b2" / MODEL, "openvino")
    assert run("cache", "remove", "PVT_V2_B2", "--yes").exit_code == 0, "with what was compiled of it"
    assert listed() == [other]
    assert run("cache", "remove", "engines/pvt_v2_b2", "--yes").exit_code == 3
    assert run("cache", "remove", OF_NO_MODEL, "--yes").exit_code == 0
    (kept / "engines" / "openvino" / "stray").write_bytes(b"?")
    assert run("cache", "remove", "engines", "--yes").stdout.startswith("removed 1 of")
    assert listed() == []


def test_cache_remove_takes_the_link_and_not_what_is_behind(kept: Path, tmp_path: Path) -> None:
    mine = write_artifact(tmp_path / "mine", name="pvt_v2_b1")
    (kept / "models" / "pvt_v2_b1").symlink_to(mine)
    blobs = tmp_path / "engines"
    (kept / "engines").rename(blobs)
    (kept / "engines").symlink_to(blobs)
    assert run("cache", "remove", "pvt_v2_b1", "engines", "--yes").exit_code == 0
    assert not (kept / "models" / "pvt_v2_b1").is_symlink()
    assert not (kept / "engines").is_symlink()
    assert (mine / "config.json").is_file()
    assert (blobs / "openvino" / OF_NO_MODEL / "key" / "one.blob").read_bytes() == b"compiled"


def test_cache_remove_says_what_cannot_be_removed(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("onnxzoo.hub.inventory.shutil.rmtree", refuse)
    for name in ("pvt_v2_b2", "engines", REPO):
        result = run("cache", "remove", name, "--yes")
        assert result.exit_code == 1
        assert "cannot be removed" in result.stderr


def test_cache_remove_keeps_the_same_commit_of_another_repo(kept: Path, hub: LoopbackHub) -> None:
    cache = Path(constants.HF_HUB_CACHE)
    shutil.copytree(cache / "models--someone--tiny", cache / "models--renamed--tiny", symlinks=True)
    shutil.copytree(cache / "models--someone--tiny", cache / "datasets--someone--tiny", symlinks=True)
    assert run("cache", "remove", REPO, "--yes").exit_code == 0
    assert not (cache / "models--someone--tiny").exists()
    assert find_artifact("renamed/tiny", offline=True).is_dir()
    assert (cache / "datasets--someone--tiny" / "snapshots").is_dir()
    left = [row["name"] for row in rows("cache", "list") if row["kind"] == "hub"]
    assert left == ["onnxzoo/pvt_v2_b0", "renamed/tiny"]


@pytest.mark.parametrize("name", ["other--bert", "other--pvt_v2_b1", "other--tiny"])
def test_models_of_other_tools_are_left_alone_whoever_they_are_of(
    name: str, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also in our own namespace, with the files of an artifact, and when onnxzoo was asked for them once."""
    monkeypatch.setenv("ONNXZOO_NAMESPACE", "other")
    folder = Path(constants.HF_HUB_CACHE) / f"models--{name}" / "snapshots" / ("0" * 40)
    (folder / "onnx").mkdir(parents=True)
    (folder / MODEL).write_bytes(b"theirs")
    (folder / "config.json").write_text('{"model_type": "bert"}')
    lock = Path(constants.HF_HUB_CACHE) / ".locks" / f"models--{name}" / "onnxzoo.lock"
    lock.parent.mkdir()
    lock.touch()
    assert run("cache", "remove", "--all", "--yes").exit_code == 0
    assert (folder / MODEL).read_bytes() == b"theirs"


def test_cache_commands_for_missing_names(kept: Path) -> None:
    for arguments in (("remove", "pvt_v2_b5", "--yes"), ("verify", "no/body"), ("remove", f"{REPO}@v9", "--yes")):
        result = run("cache", *arguments)
        assert result.exit_code == 3
        assert "nothing in the cache is called" in result.stderr
    assert run("cache", "remove").exit_code == 2
    assert len(rows("cache", "list")) == 5
