"""A name is resolved once: what the `Source` holds, what it opens, and how often it reads a file for that."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hub_server import LoopbackHub
from hub_tiny import two_precisions
from onnx import helper
from tiny import tiny_graph, write_artifact

import onnxzoo
from onnxzoo import source
from onnxzoo.artifact.file import ArtifactFile
from onnxzoo.engines import EngineOptions
from onnxzoo.errors import ArtifactError, InputError, ModelNotFoundError, UnknownModelError
from onnxzoo.hub import SHIPPED_DIR, offline
from onnxzoo.loading import source_for
from onnxzoo.source import EXPORTED, FOLDER, HUB, SHIPPED, resolve

REPO = "someone/two"
MODEL = "onnx/model.onnx"


@pytest.fixture
def hub(vnni: None, loopback: LoopbackHub, tmp_path: Path) -> LoopbackHub:
    """The loopback Hub with an artifact in fp32 and int8 as someone/two."""
    loopback.store.add_repo(REPO, two_precisions(tmp_path / "two", "int8"))
    return loopback


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each file was hashed, by its name, from here on."""
    counts: Counter[str] = Counter()
    problem, config_problem = ArtifactFile.problem, offline.etag_problem

    def of_file(file: ArtifactFile, found: Path) -> str | None:
        counts[found.name] += 1
        return problem(file, found)

    def of_config(found: Path, etag: str) -> str | None:
        counts[found.name] += 1
        return config_problem(found, etag)

    monkeypatch.setattr(ArtifactFile, "problem", of_file)
    monkeypatch.setattr(offline, "etag_problem", of_config)
    return counts


@pytest.mark.parametrize("precision", ["fp32", "int8", "auto"])
@pytest.mark.parametrize("state", ["absent", "cached", "offline"])
def test_a_load_hashes_each_file_once(hub: LoopbackHub, hashed: Counter[str], precision: str, state: str) -> None:
    if state != "absent":
        onnxzoo.load(REPO, precision=precision).close()
        hashed.clear()
    onnxzoo.load(REPO, precision=precision, offline=state == "offline").close()
    opened = "model.onnx" if precision == "fp32" else "model_int8.onnx"
    assert hashed == {"config.json": 1, opened: 1}


def test_a_load_of_a_folder_hashes_its_file_once(tiny: Path, hashed: Counter[str]) -> None:
    onnxzoo.load(tiny).close()
    assert hashed == {"model.onnx": 1}


def test_a_file_that_is_opened_twice_is_hashed_once(hub: LoopbackHub, hashed: Counter[str]) -> None:
    found = resolve(REPO)
    assert found.open("fp32") is found.open("fp32")
    assert hashed == {"config.json": 1, "model.onnx": 1}


def test_a_load_asks_as_often_whatever_the_engine_opens(hub: LoopbackHub) -> None:
    """The branch once, each file at the commit that was found."""
    commit = hub.store.repos[REPO].branches["main"].sha
    onnxzoo.load(REPO, precision="auto").close()
    heads = [one.path for one in hub.log.all("HEAD ") if "/resolve/" in one.path]
    assert heads[0] == f"/{REPO}/resolve/main/config.json"
    assert all(f"/resolve/{commit}/" in path for path in heads[1:])
    hub.log.clear()
    onnxzoo.load(REPO, precision="auto").close()
    heads = [one.path for one in hub.log.all() if "/api/" not in one.path]  # redirects within the Hub
    assert heads == [f"/{REPO}/resolve/main/config.json"]


def test_later_files_are_of_the_commit_that_was_found_first(hub: LoopbackHub, tmp_path: Path) -> None:
    found = resolve(REPO, precision="int8")
    first = found.commit
    newer = two_precisions(tmp_path / "newer", "int8")
    hub.store.change(REPO, {**_contents(newer), "onnx/model.onnx": b"of another commit"})
    assert hub.store.repos[REPO].branches["main"].sha != first
    opened = found.open("fp32")
    assert opened.path.parent.parent.name == first == found.artifact.folder.name
    assert opened.sha256 == found.artifact.files[MODEL].sha256
    # The cache's note of the branch is that commit's, too: offline it is whole.
    assert resolve(REPO, offline=True).commit == first


def _contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_where_a_model_is_from(hub: LoopbackHub, tiny: Path, cache: Path) -> None:
    shipped = resolve("pvt_v2_nano_fashion")
    assert (shipped.kind, shipped.origin, shipped.commit) == (SHIPPED, "shipped", None)
    assert shipped.artifact.folder == SHIPPED_DIR / "pvt_v2_nano_fashion"
    exported = write_artifact(cache / "models" / "pvt_v2_b0", name="pvt_v2_b0")
    for named in ("PVT_V2_B0", str(exported)):
        assert (resolve(named).kind, resolve(named).artifact.folder) == (EXPORTED, exported)
    assert (resolve(tiny).kind, resolve(tiny).origin) == (FOLDER, "folder")
    from_hub = resolve(REPO)
    commit = hub.store.repos[REPO].branches["main"].sha
    assert (from_hub.kind, from_hub.origin, from_hub.commit) == (HUB, REPO, commit)


def test_which_precisions_are_here(hub: LoopbackHub) -> None:
    assert resolve(REPO, precision=None).here == ()
    assert resolve(REPO, precision="bf16").here == ()
    found = resolve(REPO, precision="int8")
    assert (found.artifact.precisions, found.here) == (("fp32", "int8"), ("int8",))
    found.open("fp32")
    assert found.here == ("fp32", "int8")


def test_engines_choose_offline_among_what_is_here(hub: LoopbackHub) -> None:
    options = EngineOptions(precision="auto")
    resolve(REPO, precision="fp32")
    assert source_for(REPO, "auto", options).model_files("auto").precisions == ("fp32", "int8")
    here = source_for(REPO, "auto", options, offline=True)
    assert here.model_files("auto").precisions == ("fp32",)
    assert here.model_files("int8").precisions == ("fp32", "int8")
    with pytest.raises(ModelNotFoundError, match=r"model_int8\.onnx of someone/two@\w+ is not on this machine"):
        here.open("int8")


def test_what_cannot_be_opened(hub: LoopbackHub, tiny: Path) -> None:
    found = resolve(REPO)
    with pytest.raises(InputError, match="has no 'fp16' model; available precisions: fp32, int8"):
        found.open("fp16")
    (tiny / MODEL).write_bytes(b"altered")
    folder = resolve(tiny)
    for _ in range(2):  # a failure is not remembered as a file
        with pytest.raises(ArtifactError, match=r"model\.onnx has 7 bytes, expected"):
            folder.open()


def test_the_graph_of_a_hub_model_is_checked_when_it_is_opened(loopback: LoopbackHub, tmp_path: Path) -> None:
    model = tiny_graph()
    model.graph.node.append(helper.make_node("Sin", ["logits"], ["unused"]))
    foreign = write_artifact(tmp_path / "foreign", model=model)
    loopback.store.add_repo("someone/foreign", foreign)
    found = resolve("someone/foreign")
    with pytest.raises(ArtifactError, match=r"contains: Sin; if you trust its author"):
        found.open()
    assert resolve("someone/foreign", trust="any").open().path.is_file()


def test_nothing_is_looked_for_with_a_wrong_request(hub: LoopbackHub) -> None:
    with pytest.raises(InputError, match="trust"):
        resolve(REPO, trust="all")
    with pytest.raises(UnknownModelError):
        resolve("pvt_v2_b99")
    assert hub.log.all() == []


def test_a_folder_needs_no_cache_folder(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise InputError("there is no place for the cache folder")

    monkeypatch.setattr(source, "models_dir", homeless)
    assert resolve(tiny).kind == FOLDER
