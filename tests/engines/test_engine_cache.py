"""The cache of compiled models: built once, whole or not at all, thrown away when damaged."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from onnxzoo.engines import compiled_models
from onnxzoo.engines.compiled_models import MANIFEST, Entry, compiled, entry_for, has_entries
from onnxzoo.engines.options import EngineOptions
from onnxzoo.errors import EngineError, InputError

SHA = "ab" * 32
FACTS = {"gpu": "Some GPU", "driver": "580.1", "precision": "fp32", "profile": [1, 8, 8]}


@pytest.fixture
def entry(tmp_path: Path) -> Entry:
    return entry_for(tmp_path / "engines", "tensorrt", SHA, FACTS)


class Library:
    """Writes a file when it builds, reads it when it loads, and counts both."""

    def __init__(self) -> None:
        self.builds: list[Path | None] = []
        self.loads = 0
        self.rejects = False

    def build(self, folder: Path | None) -> str:
        self.builds.append(folder)
        if folder is not None:
            (folder / "deep").mkdir()
            (folder / "deep" / "a.engine").write_bytes(b"compiled")
        return "built"

    def load(self, folder: Path) -> str:
        self.loads += 1
        if self.rejects:
            raise EngineError("of another version")
        assert (folder / "deep" / "a.engine").read_bytes() == b"compiled"
        return "loaded"

    def get(self, entry: Entry, options: EngineOptions | None = None) -> str:
        return compiled(entry, options or EngineOptions(), build=self.build, load=self.load)


def test_it_is_built_once_and_loaded_afterwards(entry):
    library = Library()
    assert [library.get(entry) for _ in range(3)] == ["built", "loaded", "loaded"]
    assert len(library.builds) == 1
    manifest = json.loads((entry.folder / MANIFEST).read_text())
    assert manifest["facts"] == {"engine": "tensorrt", "model_sha256": SHA, **FACTS}
    assert list(manifest["files"]) == ["deep/a.engine"]
    assert manifest["seconds"] >= 0
    assert has_entries(entry.folder.parents[2], "tensorrt", SHA)
    assert not has_entries(entry.folder.parents[2], "tensorrt", "cd" * 32)


@pytest.mark.parametrize("key", FACTS)
def test_every_fact_is_in_the_key(tmp_path, entry, key):
    other = entry_for(tmp_path / "engines", "tensorrt", SHA, {**FACTS, key: "another"})
    assert other.folder != entry.folder
    assert entry_for(tmp_path / "engines", "openvino", SHA, FACTS).folder.name != entry.folder.name
    assert entry_for(tmp_path / "engines", "tensorrt", "cd" * 32, FACTS).folder.name != entry.folder.name


def _shorten(folder: Path) -> None:
    (folder / "deep" / "a.engine").write_bytes(b"compile")


def _flip(folder: Path) -> None:
    (folder / "deep" / "a.engine").write_bytes(b"cOmpiled")


def _remove(folder: Path) -> None:
    (folder / "deep" / "a.engine").unlink()


def _add(folder: Path) -> None:
    (folder / "b.engine").write_bytes(b"")


def _cut_manifest(folder: Path) -> None:
    (folder / MANIFEST).write_text((folder / MANIFEST).read_text()[:50])


def _wrong_manifest(folder: Path) -> None:
    (folder / MANIFEST).write_text("[1]")


def _strange_manifest(folder: Path) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["files"] = {"deep/a.engine": None}
    (folder / MANIFEST).write_text(json.dumps(manifest))


def _foreign_manifest(folder: Path) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["facts"]["driver"] = "570.2"
    (folder / MANIFEST).write_text(json.dumps(manifest))


def _no_manifest(folder: Path) -> None:
    (folder / MANIFEST).unlink()


DAMAGES = [
    (_shorten, "deep/a.engine was altered"),
    (_flip, "deep/a.engine was altered"),
    (_remove, "its files are not those that were built"),
    (_add, "its files are not those that were built"),
    (_cut_manifest, "Expecting|Unterminated|delimiter"),
    (_wrong_manifest, "does not list files"),
    (_strange_manifest, "NoneType"),
    (_foreign_manifest, "belongs to another model or machine"),
    (_no_manifest, "it has no manifest"),
]


@pytest.mark.parametrize(("damage", "reason"), DAMAGES)
def test_a_damaged_entry_is_never_loaded_but_built_again_with_a_warning(entry, caplog, damage, reason):
    library = Library()
    library.get(entry)
    damage(entry.folder)
    with caplog.at_level(logging.WARNING):
        assert library.get(entry) == "built"
    assert library.loads == 0
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert caplog.text.count(f"{entry.folder} is thrown away and built again") == 1
    assert re.search(reason, caplog.text)
    assert library.get(entry) == "loaded"


def test_an_entry_that_the_library_rejects_is_built_again_with_its_message(entry, caplog):
    library = Library()
    library.get(entry)
    library.rejects = True
    assert library.get(entry) == "built"
    assert "thrown away and built again: of another version" in caplog.text
    library.rejects = False
    assert library.get(entry) == "loaded"


def test_an_entry_that_the_library_rejects_stays_where_no_other_can_be_built(entry):
    library = Library()
    library.get(entry)
    library.rejects = True

    def fail(folder: Path | None) -> str:
        raise EngineError("out of memory")

    with pytest.raises(EngineError, match="out of memory"):
        compiled(entry, EngineOptions(), build=fail, load=library.load)
    library.rejects = False
    assert library.get(entry) == "loaded"
    assert len(library.builds) == 1


def test_a_build_that_fails_leaves_nothing(entry):
    def fail(folder: Path | None) -> str:
        assert folder is not None
        (folder / "half").write_bytes(b"x")
        raise EngineError("out of memory")

    with pytest.raises(EngineError, match="out of memory"):
        compiled(entry, EngineOptions(), build=fail, load=Library().load)
    assert [path.name for path in entry.folder.parent.iterdir()] in ([], [f"{entry.folder.name}.lock"])
    assert Library().get(entry) == "built"


@pytest.mark.parametrize("named", [True, False])
def test_a_cache_that_cannot_be_written(tmp_path, monkeypatch, caplog, named):
    blocked = tmp_path / "file"
    blocked.write_bytes(b"")
    monkeypatch.setenv("ONNXZOO_CACHE", str(blocked))
    options = EngineOptions(cache=blocked / "mine") if named else EngineOptions()
    entry = entry_for(options.cache_folder, "tensorrt", SHA, FACTS)
    library = Library()
    if named:
        with pytest.raises(InputError, match=r"the cache folder .*mine cannot be written \(.*; name another one"):
            library.get(entry, options)
        assert not library.builds
    else:
        assert library.get(entry, options) == "built"
        assert library.builds == [None]
        assert "cannot be written" in caplog.text
        assert "running without it; set ONNXZOO_CACHE to a folder of yours" in caplog.text


def test_a_disk_that_fills_up_after_the_build_does_not_lose_it(entry, monkeypatch, caplog):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(compiled_models, "_write_manifest", full)
    library = Library()
    assert library.get(entry) == "built"
    assert len(library.builds) == 1
    assert "No space left on device" in caplog.text
    assert not entry.folder.exists()


@pytest.mark.parametrize(
    "error",
    [
        PermissionError(13, "Permission denied", "/dev/accelerator"),
        OSError(24, "Too many open files"),
        OSError("broken"),
    ],
    ids=str,
)
def test_a_build_failure_unrelated_to_the_cache_is_not_repeated(entry, caplog, error):
    builds: list[Path | None] = []

    def fail(folder: Path | None) -> str:
        builds.append(folder)
        raise error

    with pytest.raises(EngineError, match=re.escape(f"the model cannot be compiled: {error}")):
        compiled(entry, EngineOptions(), build=fail, load=Library().load)
    assert len(builds) == 1
    assert not caplog.records
    assert not entry.folder.exists()


@pytest.mark.parametrize("names_the_file", [True, False])
def test_a_build_that_cannot_write_is_repeated_without_the_cache(entry, caplog, names_the_file):
    builds: list[Path | None] = []

    def full(folder: Path | None) -> str:
        builds.append(folder)
        if folder is None:
            return "built"
        if names_the_file:
            raise PermissionError(13, "Permission denied", str(folder / "a.engine"))
        raise OSError(28, "No space left on device")

    assert compiled(entry, EngineOptions(cache=None), build=full, load=Library().load) == "built"
    assert len(builds) == 2
    assert "cannot be written" in caplog.text


def test_threads_build_once(entry):
    library = Library()

    def build(folder: Path | None) -> str:
        time.sleep(0.2)
        return library.build(folder)

    with ThreadPoolExecutor(6) as pool:
        results = list(pool.map(lambda _: compiled(entry, EngineOptions(), build=build, load=library.load), range(6)))
    assert sorted(results) == ["built"] + ["loaded"] * 5
    assert len(library.builds) == 1


CHILD = """
import sys, time
from pathlib import Path
from onnxzoo.engines.compiled_models import compiled, entry_for
from onnxzoo.engines.options import EngineOptions

def build(folder):
    (folder / "part").write_bytes(b"half")
    print("building", flush=True)
    time.sleep(float(sys.argv[2]))
    (folder / "part").write_bytes(b"whole")
    return "built"

print(compiled(entry_for(Path(sys.argv[1]), "tensorrt", "ab" * 32, {"driver": "1"}), EngineOptions(), build=build,
               load=lambda folder: "loaded " + (folder / "part").read_text()), flush=True)
"""


def _child(folder: Path, seconds: float) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-P", "-c", CHILD, str(folder), str(seconds)], stdout=subprocess.PIPE, text=True
    )


@pytest.mark.slow
def test_of_several_processes_one_builds(tmp_path):
    children = [_child(tmp_path, 1) for _ in range(3)]
    outputs = sorted(child.communicate(timeout=60)[0] for child in children)
    assert outputs == ["building\nbuilt\n", "loaded whole\n", "loaded whole\n"]


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="SIGKILL")
def test_a_killed_build_does_not_count_and_leaves_no_lock(tmp_path):
    first = _child(tmp_path, 60)
    assert first.stdout is not None
    assert first.stdout.readline() == "building\n"
    first.send_signal(signal.SIGKILL)
    first.communicate(timeout=60)
    remains = list(tmp_path.rglob("part"))
    assert [path.read_text() for path in remains] == ["half"]
    assert _child(tmp_path, 0).communicate(timeout=60)[0] == "building\nbuilt\n"
    assert [path.read_text() for path in tmp_path.rglob("part")] == ["whole"]
    assert _child(tmp_path, 0).communicate(timeout=60)[0] == "loaded whole\n"


@pytest.mark.slow
def test_waiting_for_another_process_is_reported(entry, monkeypatch, caplog):
    monkeypatch.setattr(compiled_models, "WAITING_SECONDS", 0.05)
    library = Library()

    def build(folder: Path | None) -> str:
        time.sleep(0.4)
        return library.build(folder)

    with caplog.at_level(logging.INFO), ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: compiled(entry, EngineOptions(), build=build, load=library.load), range(2)))
    assert "waiting for another process that is compiling the same model" in caplog.text
