"""The benchmark of the stream: its photos, its measurements on a tiny model, its table."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import stream
import stream_child
from stream_photos import SIZE, write_photos


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stream") / "photos"
    write_photos(folder, 10)
    return folder


def test_the_photos_are_different_and_the_same_every_time(pictures, tmp_path):
    write_photos(tmp_path, 10)
    contents = [path.read_bytes() for path in sorted(pictures.iterdir())]
    assert contents == [path.read_bytes() for path in sorted(tmp_path.iterdir())]
    assert len(set(contents)) == 10
    assert all(Image.open(path).size == SIZE for path in pictures.iterdir())


@pytest.mark.parametrize("what", ["decoding", "inference", "stream"])
def test_a_measurement_prints_its_figures(tiny, pictures, capsys, what):
    stream_child.main(what, str(pictures), "24", str(tiny), *([] if what == "decoding" else ["openvino"]))
    figures = json.loads(capsys.readouterr().out)
    assert figures["images_s"] > 0
    assert figures["peak_mib"] > 10
    assert len(figures.get("best", [])) == (8 if what == "stream" else 0)


def test_the_table_says_how_much_of_the_possible_the_stream_reaches():
    def row(name: str, *rates: float, **more: object) -> stream.Row:
        return stream.Row("m", name, [], [{"images_s": rate, **more} for rate in rates])

    rows = [row("decoding", 400, 200, 200), row("PyTorch, batch 8", 10, best=[1, 2])]
    for engine in ("openvino", "onnxruntime"):
        rows += [row(f"inference, {engine}", 100, 50, 50), row(f"stream, {engine}", 60, 36, 36, best=[1, 2])]
    stream.require_same_answers(rows)
    options = argparse.Namespace(images=2000, rounds=3, many=20_000, model=["m"])
    text = stream.report(rows, {"openvino": {"200": 100.0, "20000": 105.0}}, options)
    expected = "100.0 (50.0) | 400.0 (200.0) | 80.0 (40.0) | 60.0 (36.0) | 75 % (90 %) | 10.0 (10.0) in batches of 8"
    assert f"| m | openvino | {expected} |" in text
    assert "| openvino | 100 | 105 | 1.050 |" in text
    rows[1].rounds[0]["best"] = [1, 3]
    with pytest.raises(SystemExit, match="disagree about the classes"):
        stream.require_same_answers(rows)
