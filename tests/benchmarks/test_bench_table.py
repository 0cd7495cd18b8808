"""Tables of several runs of `onnxzoo bench`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from timed import made_up_group

from onnxzoo.bench.result import as_document

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import bench_table


def test_several_runs_are_one_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    document = as_document([made_up_group()], machine={"CPU": "AMD EPYC", "CPU flags": "avx2"}, settings={}, skipped={})
    for name in ("one.json", "two.json"):
        (tmp_path / name).write_text(json.dumps(document), encoding="utf-8")
        document["results"] = [{**row, "batch_size": 8} for row in document["results"]]
    files = [str(tmp_path / name) for name in ("one.json", "two.json")]
    monkeypatch.setattr(sys, "argv", ["bench_table.py", *files, "--out", str(tmp_path)])
    bench_table.main()
    page = (tmp_path / "bench.md").read_text(encoding="utf-8")
    assert "CPU: AMD EPYC, CPU flags: avx2." in page
    # Of two engines and a peer, one of the engines never in a healthy moment.
    assert "36 of 80 samples came from healthy moments" in page
    assert page.count("## pvt_v2_b0, batch ") == 2
    assert "| openvino | fp32 | 9.50 | 1.00 | 10.00 |" in page
    assert "| openvino | int8 | 4.50 | 0.47 | 5.00* |" in page
    assert "torch-compile failed: no C++ compiler" in page
    assert len(json.loads((tmp_path / "bench.json").read_text(encoding="utf-8"))) == 2
