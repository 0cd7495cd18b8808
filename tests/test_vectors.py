"""Reading conformance vectors: nothing is decompressed that config.json does not imply."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from artifacts import PVT, announce, configure, copy_shipped
from onnxzoo.validators.vectors import MAX_INPUTS, read_vectors

from onnxzoo.artifact import read_artifact
from onnxzoo.errors import ArtifactError
from onnxzoo.hub import SHIPPED_DIR

FILE = "conformance.npz"


@pytest.fixture
def arrays() -> dict[str, Any]:
    with np.load(SHIPPED_DIR / PVT / FILE) as file:
        return dict(file)


def write(folder: Path, arrays: dict[str, Any]) -> Path:
    np.savez(folder / FILE, **arrays)
    announce(folder, FILE)
    return folder


def test_the_vectors_of_a_shipped_model() -> None:
    vectors = read_vectors(read_artifact(SHIPPED_DIR / PVT))
    assert vectors.names[:2] == ("chelsea.jpg", "coffee.jpg")
    assert vectors.images.shape == (6, 3, 32, 32)
    assert {name: array.shape for name, array in vectors.outputs.items()} == {"logits": (6, 10), "embedding": (6, 96)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.update(logits=a["logits"][:, :3]), r"'logits' is float32 \(6, 3\), expected float32 \(6, 10\)"),
        (lambda a: a.update(embedding=a["embedding"][:2]), r"'embedding' is float32 \(2, 96\)"),
        (lambda a: a.update(image=a["image"].astype(np.float64)), "'image' is float64"),
        (lambda a: a.update(image=np.zeros((6, 3, 64, 64), np.float32)), r"'image' is float32 \(6, 3, 64, 64\)"),
        (lambda a: a.pop("logits"), "cannot be read: There is no item named 'logits.npy' in the archive"),
        (lambda a: a.update(names=np.array([{"a": 1}] * 6, dtype=object)), "cannot be read: 'names' is object"),
        (lambda a: a.update(names=np.arange(6)), "cannot be read: 'names' is int64"),
        (lambda a: a.update(names=np.array(["x" * 1000] * 6)), "cannot be read: 'names' is <U1000"),
        (lambda a: a.update(names=np.array([str(i) for i in range(MAX_INPUTS + 1)])), "expected at most 64 names"),
        (lambda a: a.update(names=np.array("one")), r"'names' has the shape \(\), expected 1 to 64"),
        (lambda a: a.update(names=np.array([], dtype="U3")), r"'names' has the shape \(0,\)"),
    ],
)
def test_what_does_not_fit_the_model_is_refused(
    tmp_path: Path, arrays: dict[str, Any], change: Callable[[dict[str, Any]], None], message: str
) -> None:
    change(arrays)
    folder = write(copy_shipped(tmp_path / "artifact"), arrays)
    with pytest.raises(ArtifactError, match=message):
        read_vectors(read_artifact(folder))


def test_an_image_size_that_differs_is_another_model(tmp_path: Path, arrays: dict[str, Any]) -> None:
    folder = write(copy_shipped(tmp_path / "artifact"), arrays)
    crop = {**read_artifact(folder).config["preprocess"], "resize_size": 64, "crop_size": 64}
    configure(folder, image_size=64, preprocess=crop)
    with pytest.raises(ArtifactError, match=r"'image' is float32 \(6, 3, 32, 32\), expected float32 \(6, 3, 64, 64\)"):
        read_vectors(read_artifact(folder))


def replace_member(folder: Path, name: str, content: bytes) -> Path:
    with zipfile.ZipFile(folder / FILE) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    members[name] = content
    with zipfile.ZipFile(folder / FILE, "w", zipfile.ZIP_DEFLATED) as archive:
        for key, value in members.items():
            archive.writestr(key, value)
    announce(folder, FILE)
    return folder


def test_a_bomb_is_refused_by_what_it_declares(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.BytesIO()
    np.save(stream, np.zeros((6, 10), np.float32))
    bomb = stream.getvalue() + bytes(64 * 2**20)  # the array that is expected, then 64 MiB that deflate to 64 KiB
    folder = replace_member(copy_shipped(tmp_path / "artifact"), "logits.npy", bomb)
    assert (folder / FILE).stat().st_size < 300_000
    read: list[int] = []
    original = zipfile.ZipExtFile.read

    def counted(self: zipfile.ZipExtFile, count: int = -1) -> bytes:
        data = original(self, count)
        read.append(len(data))
        return data

    monkeypatch.setattr(zipfile.ZipExtFile, "read", counted)
    with pytest.raises(ArtifactError, match="'logits' takes 67109232 bytes, expected 240 and a header"):
        read_vectors(read_artifact(folder))
    assert sum(read) < 200_000


def test_a_header_that_claims_more_than_there_is_is_refused(tmp_path: Path) -> None:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "<f4", "fortran_order": False, "shape": (6, 10)})
    folder = replace_member(copy_shipped(tmp_path / "artifact"), "logits.npy", stream.getvalue())
    with pytest.raises(ArtifactError, match="'logits' takes 128 bytes, expected 240 and a header"):
        read_vectors(read_artifact(folder))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no archive", b"\x93NUMPY\x01\x00"])
def test_what_is_no_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    folder = copy_shipped(tmp_path / "artifact")
    (folder / FILE).write_bytes(content)
    announce(folder, FILE)
    with pytest.raises(ArtifactError, match="cannot be read"):
        read_vectors(read_artifact(folder))


@pytest.mark.parametrize("content", [b"", b"nonsense", b"\x93NUMPY\x09\x00", b"\x93NUMPY\x01\x00\xff\xff"])
def test_a_member_that_is_no_array_is_refused(tmp_path: Path, content: bytes) -> None:
    folder = replace_member(copy_shipped(tmp_path / "artifact"), "names.npy", content)
    with pytest.raises(ArtifactError, match="cannot be read"):
        read_vectors(read_artifact(folder))
