"""Ctrl-C at any line of the module that writes tables: the same call goes on, and every image is there once."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from interrupts import interrupted_at
from table_reading import read_rows
from tiny import COLOURS, LABELS, tiny_outputs

from onnxzoo.artifact.folder import read_artifact
from onnxzoo.batch import table_runs
from onnxzoo.batch.entry import Entry
from onnxzoo.batch.table_runs import predict_to_table
from onnxzoo.engines.fake import FakeEngine
from onnxzoo.errors import ImageError
from onnxzoo.model import Model

COUNT = 3


@pytest.mark.slow
def test_an_interrupt_at_any_moment_loses_nothing_and_doubles_nothing(tiny: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(table_runs, "PART_ROWS", 2)
    monkeypatch.setattr(os, "fsync", lambda file: None)  # an interrupt is no power failure
    model = Model(read_artifact(tiny), FakeEngine(tiny_outputs), batch_size=1)
    entries = [Entry(f"{i}.png", np.full((32, 32, 3), COLOURS[LABELS[i % 4]], np.uint8)) for i in range(COUNT)]
    entries[1] = Entry("1.png", ImageError("1.png is empty"))
    expected = read_rows(predict_to_table(model, entries, tmp_path / "whole.jsonl").path)
    moments = resumed = 0
    while True:
        out = tmp_path / f"{moments}" / "answers.jsonl"
        if not interrupted_at(moments, lambda out=out: predict_to_table(model, entries, out), {table_runs.__file__}):
            break
        table = predict_to_table(model, entries, out)
        assert read_rows(out) == expected, f"at moment {moments}"
        assert (table.rows, table.errors) == (COUNT, 1), f"at moment {moments}"
        assert sorted(path.name for path in out.parent.iterdir()) == ["answers.jsonl", "answers.jsonl.meta.json"]
        resumed += table.resumed > 0
        moments += 1
    assert moments > 100, "the interrupts came while it was written"
    assert resumed > 30
