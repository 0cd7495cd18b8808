"""What a Hub repo may not do: lead outside, bring code, announce other files than it has."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from found import find_artifact
from hub_server import LoopbackHub
from hub_tiny import MODEL, REPO, announce, blob_of, head, publish, read_config, sha256_of_bytes
from huggingface_hub import constants
from tiny import write_artifact

import onnxzoo
from onnxzoo.artifact.folder import read_artifact
from onnxzoo.errors import ArtifactError
from onnxzoo.hub import client


@pytest.mark.parametrize(
    "path",
    [
        "../outside.onnx",
        "onnx/../../outside.onnx",
        "/etc/outside.onnx",
        "..\\outside.onnx",
        "C:\\outside.onnx",
        "C:outside.onnx",
        "\\\\host\\share.onnx",
        "./model.onnx",
        "onnx//model.onnx",
        "onnx/",
        "a\0.onnx",
        "a\n.onnx",
        "a\u202e.onnx",
        "trailing /x.onnx",
        "",
    ],
)
def test_names_that_lead_outside_are_refused_before_any_download(hub: LoopbackHub, tiny: Path, path: str) -> None:
    entry = read_config(tiny)["files"][MODEL]
    publish(hub, tiny, files={path: entry})
    with pytest.raises(ArtifactError, match=r"leads outside the artifact's folder|is not allowed; expected plain"):
        onnxzoo.load(REPO)
    assert not hub.log.all("/objects/|outside|model.onnx")


def test_a_pickle_is_neither_downloaded_nor_read(hub: LoopbackHub, tiny: Path) -> None:
    pickle = b"cos\nsystem\n(S'touch /tmp/onnxzoo-was-here'\ntR."
    hub.store.change(REPO, {"onnx/model.pkl": pickle, "pytorch_model.bin": pickle, "model.py": b"import os"})
    folder = find_artifact(REPO)
    assert {path.name for path in folder.rglob("*")} == {"config.json", "onnx", "model.onnx"}
    entry = {"sha256": sha256_of_bytes(pickle), "bytes": len(pickle), "precision": "fp32"}
    publish(hub, tiny, files={"onnx/model.pkl": entry})
    with pytest.raises(ArtifactError, match=r"onnx/model\.pkl: a file with a precision must be an ONNX file"):
        onnxzoo.load(REPO)
    publish(hub, tiny, files={MODEL: entry}, more={MODEL: pickle})
    with pytest.raises(ArtifactError, match="is not a valid ONNX model; its structure is damaged"):
        onnxzoo.load(REPO)
    assert not hub.log.all(r"pkl|pytorch_model|model\.py")


def test_of_what_config_lists_only_the_files_of_an_artifact_come(hub: LoopbackHub, tiny: Path) -> None:
    for path in ("w.pkl", "evil.py", "onnx/unnamed.onnx"):
        (tiny / path).write_bytes(b"evil")
        announce(tiny, path)
    hub.store.change(REPO, tiny)
    folder = find_artifact(REPO, files=None)
    find_artifact(REPO, files=["w.pkl", "evil.py"])
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert there == {"config.json", MODEL, "preprocessor_config.json"}
    assert not hub.log.all(r"pkl|evil|unnamed")


def test_external_data_is_refused(hub: LoopbackHub, tmp_path: Path) -> None:
    import onnx
    from tiny import tiny_graph

    graph = tiny_graph()
    tensor = graph.graph.initializer[0]
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.ClearField("raw_data")
    tensor.external_data.add(key="location", value="/etc/passwd")
    hub.store.change(REPO, write_artifact(tmp_path / "external", model=graph))
    with pytest.raises(ArtifactError, match="stores data in other files"):
        onnxzoo.load(REPO)


@pytest.mark.parametrize("announced", [0, 10, 2**31])
def test_another_size_than_announced_is_not_downloaded(hub: LoopbackHub, tiny: Path, announced: int) -> None:
    entry = read_config(tiny)["files"][MODEL] | {"bytes": announced}
    publish(hub, tiny, files={MODEL: entry})
    with pytest.raises(
        ArtifactError, match=rf"has \d+ bytes on the Hub, config.json announces {announced}; it was not"
    ):
        onnxzoo.load(REPO)
    assert not hub.log.all("/objects/")


@pytest.mark.parametrize("size", [-1, 2**31 + 1, 1e3, "12", True, None])
def test_sizes_that_cannot_be(hub: LoopbackHub, tiny: Path, size: Any) -> None:
    publish(hub, tiny, files={MODEL: read_config(tiny)["files"][MODEL] | {"bytes": size}})
    with pytest.raises(ArtifactError, match=r"bytes must be a whole number from 0 to 2147483648"):
        onnxzoo.load(REPO)


@pytest.mark.parametrize("digest", ["", "0" * 63, "G" * 64, None, 7])
def test_hashes_that_cannot_be(hub: LoopbackHub, tiny: Path, digest: Any) -> None:
    publish(hub, tiny, files={MODEL: read_config(tiny)["files"][MODEL] | {"sha256": digest}})
    with pytest.raises(ArtifactError, match="sha256 must be 64 lower-case hexadecimal digits"):
        onnxzoo.load(REPO)


@pytest.mark.slow
def test_a_huge_config_is_not_downloaded(hub: LoopbackHub, tiny: Path) -> None:
    config = read_config(tiny)
    config["id2label"] = {str(i): "x" * 100 for i in range(200_000)}
    hub.store.change(REPO, {"config.json": json.dumps(config).encode()})
    with pytest.raises(
        ArtifactError, match=r"config.json of someone/tiny has \d+ bytes on the Hub, 2097152 are allowed"
    ):
        onnxzoo.load(REPO)
    assert not hub.log.all("^GET .*(config|objects)")


def test_a_config_of_a_newer_schema_is_refused_and_unknown_keys_are_kept(hub: LoopbackHub, tiny: Path) -> None:
    publish(hub, tiny, schema_version=99)
    with pytest.raises(ArtifactError, match="has schema version 99, this onnxzoo reads up to 1; upgrade onnxzoo"):
        onnxzoo.load(REPO)
    publish(hub, tiny, of_the_future={"a": [1]}, schema_version=1)
    assert read_artifact(find_artifact(REPO)).config["of_the_future"] == {"a": [1]}


def test_a_config_that_two_readers_read_differently_is_refused(hub: LoopbackHub, tiny: Path) -> None:
    text = (tiny / "config.json").read_text()
    double = text.replace('"files": {', '"files": {"onnx/model.onnx": {"sha256": "", "bytes": 1}, ')
    hub.store.change(REPO, {"config.json": double.encode()})
    with pytest.raises(ArtifactError, match=r"the key 'onnx/model\.onnx' occurs twice in one object"):
        onnxzoo.load(REPO)
    two = read_config(tiny)["files"]
    publish(hub, tiny, files=two | {"onnx/other.onnx": two[MODEL]})
    with pytest.raises(ArtifactError, match="files must list one ONNX file per precision, got fp32, fp32"):
        onnxzoo.load(REPO)


def test_links_lead_into_the_cache_and_nowhere_else(hub: LoopbackHub, tiny: Path, tmp_path: Path) -> None:
    folder = find_artifact(REPO)
    artifact = read_artifact(folder)
    assert (folder / MODEL).is_symlink()
    artifact.model_file()
    # As huggingface_hub shares blobs between repos: a link from blobs/ to the cache's own store.
    shared = client.cache_folder() / "blobs" / "ab" / ("ab" * 32)
    shared.parent.mkdir(parents=True)
    blob = blob_of(folder, MODEL)
    blob.rename(shared)
    blob.symlink_to(os.path.relpath(shared, blob.parent))
    artifact.model_file()
    outside = tmp_path / "outside.onnx"
    blob.unlink()
    shared.rename(outside)
    blob.symlink_to(outside)
    with pytest.raises(ArtifactError, match="leads outside the artifact's folder"):
        artifact.model_file()
    # An artifact elsewhere has no such links, neither by itself nor by a folder that looks like the cache's.
    (tiny / MODEL).unlink()
    (tiny / MODEL).symlink_to(outside)
    with pytest.raises(ArtifactError, match="leads outside the artifact's folder"):
        onnxzoo.load(tiny)
    fake = write_artifact(tmp_path / "models--a--b" / "snapshots" / "c")
    (fake / MODEL).rename(tmp_path / "model.onnx")
    (fake.parent.parent / "blobs").symlink_to(tmp_path)
    (fake / MODEL).symlink_to("../../../blobs/model.onnx")
    with pytest.raises(ArtifactError, match="leads outside the artifact's folder"):
        onnxzoo.load(fake)


def test_the_cache_is_huggingface_hubs_own(hub: LoopbackHub) -> None:
    folder = find_artifact(REPO)
    assert folder == Path(constants.HF_HUB_CACHE) / "models--someone--tiny" / "snapshots" / head(hub)
