"""Tables: the same rows in every format, whatever text they contain, as other programs read them."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from table_reading import read_description, read_rows
from tiny import COLOURS, LABELS, tiny_outputs, write_artifact

import onnxzoo
from onnxzoo.artifact.folder import read_artifact
from onnxzoo.batch.entry import Entry
from onnxzoo.batch.rows import Schema, float32_digits, unicode_path
from onnxzoo.batch.table_runs import embed_to_table, predict_to_table
from onnxzoo.batch.tables import FORMATS, format_of
from onnxzoo.engines.fake import FakeEngine
from onnxzoo.errors import ImageError, InputError, MissingDependencyError
from onnxzoo.model import Model

PREDICTIONS = [".csv", ".jsonl", ".parquet"]
EMBEDDINGS = [".parquet", ".npy"]


def colour(name: str) -> np.ndarray:
    return np.full((40, 48, 3), COLOURS[name], dtype=np.uint8)


def entries(count: int = 7) -> list[Entry]:
    """Images of all colours in turn; the third cannot be read."""
    found = [Entry(f"images/{i}.png", colour(LABELS[i % 4])) for i in range(count)]
    found[2] = Entry(found[2].path, ImageError("cannot read 'images/2.png': it is empty"))
    return found


@pytest.fixture
def model(tiny: Path) -> Model:
    return Model(read_artifact(tiny), FakeEngine(tiny_outputs), batch_size=3)


def model_with(labels: list[str], folder: Path) -> Model:
    changes = {"id2label": {str(i): label for i, label in enumerate(labels)}}
    return Model(read_artifact(write_artifact(folder, changes=changes)), FakeEngine(tiny_outputs))


# Rows


def test_the_library_does_what_the_command_does(model, photos, tmp_path):
    from onnxzoo import batch

    table = batch.predict_to_table(model, batch.open_source([str(photos)]), tmp_path / "answers.csv", top_k=1)
    assert (table.rows, table.errors) == (4, 0)
    assert [row["label_1"] for row in read_rows(table.path)] == ["black", "blue", "green", "red"]
    assert read_description(table.path)["source"]["arguments"] == [str(photos)]
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        batch.nothing  # noqa: B018


@pytest.mark.parametrize("suffix", PREDICTIONS)
def test_a_row_for_each_image_in_order(model, tmp_path, suffix):
    table = predict_to_table(model, entries(), tmp_path / f"answers{suffix}", top_k=2)
    assert (table.rows, table.errors, table.resumed) == (7, 1, 0)
    rows = read_rows(table.path)
    assert [row["path"] for row in rows] == [f"images/{i}.png" for i in range(7)]
    expected = model.predict([colour(LABELS[i % 4]) for i in range(7)], top_k=2)
    names = ["path", "class_id_1", "label_1", "score_1", "class_id_2", "label_2", "score_2", "error"]
    for index, (row, best) in enumerate(zip(rows, expected, strict=True)):
        assert list(row) == names
        if index == 2:
            assert row == {
                **dict.fromkeys(names),
                "path": row["path"],
                "error": "cannot read 'images/2.png': it is empty",
            }
            continue
        assert row["error"] is None
        for place, one in enumerate(best.top, start=1):
            values = row[f"class_id_{place}"], row[f"label_{place}"], row[f"score_{place}"]
            assert values == (one.class_id, one.label, np.float32(one.score))


@pytest.mark.parametrize("suffix", EMBEDDINGS)
def test_an_embedding_for_each_image_in_order(model, tmp_path, suffix):
    table = embed_to_table(model, entries(), tmp_path / f"vectors{suffix}")
    assert (table.rows, table.errors) == (7, 1)
    rows = read_rows(table.path)
    expected = model.embed([colour(LABELS[i % 4]) for i in range(7)])
    for index, row in enumerate(rows):
        assert row["path"] == f"images/{index}.png"
        if index == 2:
            assert row["embedding"] is None
            assert row["error"] == "cannot read 'images/2.png': it is empty"
        else:
            assert row["embedding"].dtype == np.float32
            np.testing.assert_array_equal(row["embedding"], expected[index])
            assert row["error"] is None


def test_the_array_of_embeddings_is_what_numpy_loads(model, tmp_path):
    embed_to_table(model, entries(), tmp_path / "vectors.npy")
    vectors = np.load(tmp_path / "vectors.npy", mmap_mode="r")
    assert (vectors.dtype, vectors.shape) == (np.float32, (7, 3))
    assert np.isnan(vectors).any(1).tolist() == [index == 2 for index in range(7)]


def test_parquet_has_the_types_that_are_documented(model, tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    predict_to_table(model, entries(), tmp_path / "answers.parquet", top_k=1)
    types = {field.name: field.type for field in pq.read_schema(tmp_path / "answers.parquet")}
    assert types == {
        "path": pa.string(),
        "class_id_1": pa.int32(),
        "label_1": pa.string(),
        "score_1": pa.float32(),
        "error": pa.string(),
    }
    embed_to_table(model, entries(), tmp_path / "vectors.parquet")
    assert pq.read_schema(tmp_path / "vectors.parquet").field("embedding").type == pa.list_(pa.float32(), 3)


@pytest.mark.parametrize("suffix", PREDICTIONS)
def test_no_images_are_a_table_without_rows(model, tmp_path, suffix):
    assert predict_to_table(model, [], tmp_path / f"answers{suffix}").rows == 0
    assert read_rows(tmp_path / f"answers{suffix}") == []


@pytest.mark.parametrize("suffix", EMBEDDINGS)
def test_no_images_are_no_embeddings(model, tmp_path, suffix):
    embed_to_table(model, [], tmp_path / f"vectors{suffix}")
    assert read_rows(tmp_path / f"vectors{suffix}") == []


@pytest.mark.parametrize("suffix", PREDICTIONS)
def test_all_images_may_be_unreadable(model, tmp_path, suffix):
    bad = [Entry(f"{i}", ImageError(f"{i} is not an image")) for i in range(5)]
    table = predict_to_table(model, bad, tmp_path / f"answers{suffix}")
    assert (table.rows, table.errors) == (5, 5)
    assert [row["error"] for row in read_rows(table.path)] == [f"{i} is not an image" for i in range(5)]


def test_as_many_classes_as_there_are(model, tmp_path):
    predict_to_table(model, entries(), tmp_path / "answers.jsonl", top_k=100)
    (row, *_) = read_rows(tmp_path / "answers.jsonl")
    assert [name for name in row if name.startswith("label")] == [f"label_{place}" for place in range(1, 5)]


@pytest.mark.parametrize("top_k", [0, -1, 1.5, "5", True])
def test_a_strange_number_of_classes_is_refused(model, tmp_path, top_k):
    with pytest.raises(InputError, match="top_k must be a whole number from 1"):
        predict_to_table(model, entries(), tmp_path / "answers.csv", top_k=top_k)
    assert not list(tmp_path.glob("answers*"))


def test_larger_parts_and_groups_give_the_same_table(model, tmp_path, monkeypatch):
    from onnxzoo.batch import table_runs
    from onnxzoo.batch.tables import parquet_table

    predict_to_table(model, entries(50), tmp_path / "one.parquet")
    monkeypatch.setattr(table_runs, "PART_ROWS", 4)
    monkeypatch.setattr(parquet_table, "GROUP_ROWS", 10)
    for suffix in PREDICTIONS:
        predict_to_table(model, entries(50), tmp_path / f"many{suffix}")
        assert read_rows(tmp_path / f"many{suffix}") == read_rows(tmp_path / "one.parquet")
    import pyarrow.parquet as pq

    file = pq.ParquetFile(tmp_path / "many.parquet")
    assert [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)] == [12, 12, 12, 12, 2]


# Text from outside

NASTY_LABELS = ["a, b", 'the "best"', "two\nlines\r\nand\rmore", "=1+1"]
NASTY_PATHS = [
    "with, comma.png",
    'quo"te.png',
    "two\nlines.png",
    "=cmd|'/c calc'!A1.png",
    "-rf.png",
    "@import.png",
    "+1.png",
    "'quoted'.png",
    "\tTab.png",
    "\rReturn.png",
    "ünïcödé 图.png",
    "a\u2028b.png",
    " spaces .png",
    "back\\slash.png",
    "NA",
]


@pytest.mark.parametrize("suffix", PREDICTIONS)
def test_any_text_comes_back_as_it_was(tmp_path, suffix):
    model = model_with(NASTY_LABELS, tmp_path / "nasty")
    found = [Entry(path, colour(LABELS[i % 4])) for i, path in enumerate(NASTY_PATHS)]
    found += [Entry("bad", ImageError('cannot read "a, b"'))]
    rows = read_rows(predict_to_table(model, found, tmp_path / f"answers{suffix}", top_k=4).path)
    assert [row["path"] for row in rows] == [*NASTY_PATHS, "bad"]
    for index, row in enumerate(rows[:-1]):
        assert row["label_1"] == NASTY_LABELS[index % 4]
        assert {row[f"label_{place}"] for place in range(1, 5)} == set(NASTY_LABELS)
    assert rows[-1]["error"] == 'cannot read "a, b"'


def test_no_cell_of_a_csv_file_is_a_formula(tmp_path):
    model = model_with(NASTY_LABELS, tmp_path / "nasty")
    found = [Entry(path, colour(LABELS[i % 4])) for i, path in enumerate(NASTY_PATHS)]
    predict_to_table(model, found, tmp_path / "answers.csv")
    with (tmp_path / "answers.csv").open(encoding="utf-8", newline="") as file:
        cells = [cell for row in csv.reader(file, strict=True) for cell in row]
    assert len(cells) == (len(NASTY_PATHS) + 1) * 14
    assert not [cell for cell in cells if cell[:1] in ("=", "+", "-", "@", "\t", "\r") and cell[:1]]
    assert "'=1+1" in cells


@pytest.mark.parametrize("suffix", PREDICTIONS)
def test_a_name_that_is_not_unicode_is_written_with_its_bytes(model, tmp_path, suffix):
    found = [Entry("caf\udce9.png", colour("red")), Entry("half\ud800.png", colour("red"))]
    rows = read_rows(predict_to_table(model, found, tmp_path / f"answers{suffix}").path)
    assert [row["path"] for row in rows] == [r"caf\xe9.png", r"half\ud800.png"]
    assert unicode_path("plain é.png") == "plain é.png"


def test_csv_and_json_are_read_by_pandas(model, tmp_path):
    pandas = pytest.importorskip("pandas")
    for suffix, read in ((".csv", pandas.read_csv), (".jsonl", lambda path: pandas.read_json(path, lines=True))):
        predict_to_table(model, entries(), tmp_path / f"answers{suffix}", top_k=1)
        frame = read(tmp_path / f"answers{suffix}")
        assert list(frame.columns) == ["path", "class_id_1", "label_1", "score_1", "error"]
        assert frame.label_1.tolist()[:2] == ["black", "red"]
        assert frame.error.notna().tolist() == [index == 2 for index in range(7)]


def test_scores_have_the_digits_of_a_float32():
    assert float32_digits(0.1) == 0.1
    assert float32_digits(1 / 3) == 0.33333334
    for value in np.random.default_rng(0).random(1000) ** 8:
        assert np.float32(float32_digits(value)) == np.float32(value)
        assert len(repr(float32_digits(value))) <= 14


# The description of the run


@pytest.mark.parametrize("suffix", PREDICTIONS)
def test_the_table_names_what_made_it(model, tmp_path, suffix):
    table = predict_to_table(model, entries(), tmp_path / f"answers{suffix}", top_k=3, identity={"folder": "images"})
    found = read_description(table.path)
    artifact = model.artifact
    assert found["model"]["name"] == "tiny"
    assert found["model"]["sha256"] == artifact.files["onnx/model.onnx"].sha256
    assert found["engine"] == {"name": "fake", "device": "CPU", "precision": "fp32", "version": "0"}
    assert found["onnxzoo"] == onnxzoo.__version__
    assert (found["task"], found["top_k"], found["source"]) == ("predict", 3, {"folder": "images"})
    assert (found["rows"], found["errors"]) == (7, 1)
    assert found["created"].startswith("20")


@pytest.mark.parametrize("suffix", EMBEDDINGS)
def test_embeddings_name_what_made_them(model, tmp_path, suffix):
    found = read_description(embed_to_table(model, entries(), tmp_path / f"vectors{suffix}").path)
    assert (found["task"], found["width"], found["rows"]) == ("embed", 3, 7)
    assert "top_k" not in found


def test_the_file_that_runs_is_named(tiny):
    sha256 = json.loads((tiny / "config.json").read_text())["files"]["onnx/model.onnx"]["sha256"]
    with onnxzoo.load(tiny, engine="onnxruntime") as model:
        assert model.sha256 == sha256


# Formats


@pytest.mark.parametrize("name", ["answers", "answers.txt", "answers.csv.gz", "answers.npy", ".csv"])
def test_an_unknown_suffix_is_refused_with_those_that_are_known(name):
    with pytest.raises(InputError, match=r"ends with \.csv, \.jsonl, \.parquet$"):
        format_of(Path(name), "predict")


def test_embeddings_have_formats_of_their_own():
    with pytest.raises(InputError, match=r"'a\.csv' is not known for embed: .* \.parquet, \.npy$"):
        format_of(Path("a.csv"), "embed")


def test_suffixes_are_read_in_any_case():
    assert format_of(Path("A.CSV"), "predict") is format_of(Path("a.csv"), "predict")


def test_parquet_without_pyarrow_says_how_to_install_it(model, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'onnxzoo\[batch\]', or write \.csv or \.jsonl"):
        predict_to_table(model, entries(), tmp_path / "answers.parquet")
    assert not list(tmp_path.glob("answers*"))
    predict_to_table(model, entries(), tmp_path / "answers.csv")


@pytest.mark.parametrize("suffix", FORMATS)
def test_every_format_has_the_rows_of_the_others(model, tmp_path, suffix):
    """What a new format has to pass, with its reader in `table_reading`."""
    for task, write in (("predict", predict_to_table), ("embed", embed_to_table)):
        if task not in FORMATS[suffix].tasks:
            continue
        write(model, entries(), tmp_path / f"{task}{suffix}")
        write(model, entries(), tmp_path / f"{task}-2.parquet")
        for row, other in zip(
            read_rows(tmp_path / f"{task}{suffix}"), read_rows(tmp_path / f"{task}-2.parquet"), strict=True
        ):
            assert str(row) == str(other)
            assert row.keys() == other.keys() == {column.name for column in Schema.of(model, task).columns}
