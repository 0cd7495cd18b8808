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

from onnxzoo.artifact.folder import INPUT_NAME, read_artifact
from onnxzoo.artifact.vectors import MAX_INPUTS, read_vectors
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
        (
            lambda a: a.update({INPUT_NAME: a[INPUT_NAME].astype(np.float64)}),
            "'pixel_values' does not have a header that numpy writes",
        ),
        (
            lambda a: a.update({INPUT_NAME: np.zeros((6, 3, 64, 64), np.float32)}),
            r"'pixel_values' is float32 \(6, 3, 64, 64\)",
        ),
        (lambda a: a.pop("logits"), "cannot be read: it has no array 'logits'"),
        (
            lambda a: a["logits"].__setitem__((2, 3), np.nan),
            r"conformance\.npz: the recorded 'logits' hold NaN or infin",
        ),
        (lambda a: a["embedding"].__setitem__((0, 0), np.inf), r"the recorded 'embedding' hold NaN or .* is damaged"),
        (
            lambda a: a.update(names=np.array([{"a": 1}] * 6, dtype=object)),
            "'names' does not have a header that numpy",
        ),
        (lambda a: a.update(names=np.arange(6)), "'names' does not have a header that numpy"),
        (lambda a: a.update(names=np.array(["x" * 1000] * 6)), "cannot be read: 'names' is <U1000"),
        (
            lambda a: a.update(names=np.array([str(i) for i in range(MAX_INPUTS + 1)])),
            r"<U2 \(65,\), expected 1 to 64",
        ),
        (lambda a: a.update(names=np.array("one")), r"'names' is <U3 \(\), expected 1 to 64"),
        (lambda a: a.update(names=np.array([], dtype="U3")), r"'names' is <U3 \(0,\)"),
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
    with pytest.raises(
        ArtifactError, match=r"'pixel_values' is float32 \(6, 3, 32, 32\), expected float32 \(6, 3, 64, 64\)"
    ):
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
    with pytest.raises(ArtifactError, match="'logits' takes 67109232 bytes, expected 240 and"):
        read_vectors(read_artifact(folder))
    assert sum(read) < 200_000


def test_a_header_that_claims_more_than_there_is_is_refused(tmp_path: Path) -> None:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "<f4", "fortran_order": False, "shape": (6, 10)})
    folder = replace_member(copy_shipped(tmp_path / "artifact"), "logits.npy", stream.getvalue())
    with pytest.raises(ArtifactError, match="'logits' takes 128 bytes, expected 240 and"):
        read_vectors(read_artifact(folder))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no archive", b"\x93NUMPY\x01\x00"])
def test_an_invalid_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    folder = copy_shipped(tmp_path / "artifact")
    (folder / FILE).write_bytes(content)
    announce(folder, FILE)
    with pytest.raises(ArtifactError, match="cannot be read"):
        read_vectors(read_artifact(folder))


@pytest.mark.parametrize("content", [b"", b"nonsense", b"\x93NUMPY\x09\x00", b"\x93NUMPY\x01\x00\xff\xff"])
def test_a_member_that_is_not_an_array_is_refused(tmp_path: Path, content: bytes) -> None:
    folder = replace_member(copy_shipped(tmp_path / "artifact"), "names.npy", content)
    with pytest.raises(ArtifactError, match="cannot be read"):
        read_vectors(read_artifact(folder))


def array(header: str | bytes, data: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    text = header if isinstance(header, bytes) else header.encode() + b"\n"
    return b"\x93NUMPY" + version + len(text).to_bytes(2, "little") + text + data


LOGITS = "{'descr': '<f4', 'fortran_order': False, 'shape': (6, 10), }"
"""As numpy writes it for the shipped model's logits."""


@pytest.mark.parametrize(
    ("name", "member"),
    [
        ("logits", array("{'descr': '<f4', 'fortran_order': False, 'shape': (6, 10")),  # tokenize.TokenError
        ("logits", array("(" * 4000)),
        ("logits", array("{'descr': '<f4', 'fortran_order': False, 'shape': " + "-" * 3900 + "1}")),
        ("logits", array(LOGITS.replace("10", "1" * 3000), bytes(240))),
        ("logits", array(LOGITS.replace("False", "True"), bytes(240))),
        ("logits", array(LOGITS.replace("<f4", "|O"), bytes(240))),
        ("logits", array(LOGITS.replace("<f4", ">f4"), bytes(240))),
        ("logits", array(LOGITS, bytes(240), version=b"\x03\x00")),
        ("logits", array(b"\xff" * 60, bytes(240))),
        ("logits", array(LOGITS, bytes(236))),
        ("logits", array(LOGITS, bytes(244))),
        ("logits", array(LOGITS)[:20]),
        ("names", array("{'descr': '<U1', 'fortran_order': False, 'shape': (6,), }", b"\xff" * 24)),  # SystemError
        ("names", array("{'descr': '<U1', 'fortran_order': False, 'shape': (6,), }", b"\x00\xd8\x00\x00" * 6)),
        ("names", array("{'descr': '<U99999', 'fortran_order': False, 'shape': (6,), }", bytes(24))),
    ],
)
def test_headers_that_numpy_never_writes_are_refused(tmp_path: Path, name: str, member: bytes) -> None:
    folder = replace_member(copy_shipped(tmp_path / "artifact"), f"{name}.npy", member)
    with pytest.raises(ArtifactError) as caught:
        read_vectors(read_artifact(folder))
    assert str(caught.value).startswith(f"{folder / FILE} cannot be read: ")
    assert str(caught.value).isprintable()


def test_a_header_as_numpy_writes_it_is_read(tmp_path: Path) -> None:
    values = np.arange(60, dtype=np.float32)
    folder = replace_member(copy_shipped(tmp_path / "artifact"), "logits.npy", array(LOGITS, values.tobytes()))
    assert (read_vectors(read_artifact(folder)).outputs["logits"] == values.reshape(6, 10)).all()


def test_sizes_are_bounded_whatever_config_json_says(tmp_path: Path) -> None:
    """An image size of 16,384 pixels would let 64 inputs take 206 GB."""
    folder = copy_shipped(tmp_path / "artifact")
    side, stored = 16384, bytes(2**20)
    crop = {**read_artifact(folder).config["preprocess"], "resize_size": side, "crop_size": side}
    header = array(f"{{'descr': '<f4', 'fortran_order': False, 'shape': (6, 3, {side}, {side}), }}")
    replace_member(folder, "image.npy", header + stored)
    data = bytearray((folder / FILE).read_bytes())
    entry = data.index(b"PK\x01\x02" + data[data.rindex(b"image.npy") - 42 : data.rindex(b"image.npy")])
    data[entry + 24 : entry + 28] = (2**31).to_bytes(4, "little")  # the size that the directory declares
    (folder / FILE).write_bytes(data)
    announce(folder, FILE)
    configure(folder, image_size=side, preprocess=crop)
    with pytest.raises(ArtifactError, match=r"members declare 21\d+ bytes, expected up to 16 and 536870912"):
        read_vectors(read_artifact(folder))


@pytest.mark.parametrize(
    "change",
    [
        lambda archive: [archive.writestr(f"more{number}", b"") for number in range(20)],
        lambda archive: setattr(archive, "comment", b"a comment"),
        lambda archive: [archive.writestr(letter * 40_000, b"") for letter in "ab"],
        lambda archive: archive.writestr("logits.npy", bytes(900), zipfile.ZIP_LZMA),
    ],
)
def test_archives_that_numpy_never_writes_are_refused(tmp_path: Path, change: Callable[[zipfile.ZipFile], Any]) -> None:
    folder = copy_shipped(tmp_path / "artifact")
    with zipfile.ZipFile(folder / FILE, "a") as archive:
        change(archive)
    announce(folder, FILE)
    with pytest.raises(ArtifactError, match="cannot be read"):
        read_vectors(read_artifact(folder))
