"""Files of a training that something else has damaged: metrics end there, a state is refused in one line."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from onnxzoo.training.metrics import append_record, keep_until, read_records
from onnxzoo.training.state import load_state_file

from onnxzoo.errors import TrainingError

STEP, EPOCH = {"kind": "step", "step": 1, "loss": 0.5}, {"kind": "epoch", "step": 2, "epoch": 1}


@pytest.mark.parametrize(
    "line",
    [
        b'{"kind": "step", "st',
        b"[1]",
        b"7",
        b"null",
        b"{}",
        b'{"kind": "step"}',
        b'{"kind": "step", "step": "2"}',
        b'{"kind": "epoch", "step": 2}',
        b'{"kind": "step", "step": 2, "loss": NaN}',
        b"[" * 100_000,
        b"\xff\xfe",
        b"",
    ],
)
def test_records_end_at_the_first_line_that_is_none(tmp_path: Path, line: bytes) -> None:
    file = tmp_path / "metrics.jsonl"
    for record in (STEP, EPOCH):
        append_record(file, record)
    whole = file.read_bytes()
    file.write_bytes(whole + line + b"\n" + whole)
    assert read_records(file) == [STEP, EPOCH]
    keep_until(file, 2, 1)
    assert file.read_bytes() == whole


def test_records_that_cannot_be_read(tmp_path: Path) -> None:
    assert read_records(tmp_path / "absent") == []
    with pytest.raises(TrainingError, match="cannot be read"):
        read_records(tmp_path)


@pytest.mark.parametrize(
    "header", [b"{'descr': '<f4', 'fortran_order': False, 'shape': (8, 10", b"(" * 4000, b"-" * 3900 + b"1", b"\xff"]
)
def test_a_state_with_a_damaged_header_is_refused(tmp_path: Path, header: bytes) -> None:
    file = tmp_path / "state.npz"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("meta.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    with pytest.raises(TrainingError, match=r"state\.npz cannot be read") as caught:
        load_state_file(file)
    assert "to start again, remove it" in str(caught.value)
