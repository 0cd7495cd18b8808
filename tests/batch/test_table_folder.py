"""A table as a folder of parts: what is kept, what is refused, and what readers of Parquet see."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pq = pytest.importorskip("pyarrow.parquet", reason="needs the extra batch")

from onnxzoo.batch.rows import Schema
from onnxzoo.batch.table_folder import FinishedPart, TableFolder, part_path, write_part
from onnxzoo.batch.working_folder import digest_of_paths
from onnxzoo.errors import InputError, TableError

SCHEMA = Schema("predict", top_k=1)
DESCRIPTION = {"model": {"name": "tiny"}, "top_k": 1}


def put(folder: Path, number: int, *names: str, error: str | None = None) -> FinishedPart:
    rows = [(name, None, None, None, error) if error else (name, 0, "red", 0.5, None) for name in names]
    return write_part(folder, number, SCHEMA, rows, names, DESCRIPTION)


@pytest.fixture
def table(tmp_path):
    return TableFolder(tmp_path / "new" / "answers")


def begin(table: TableFolder, **changes: Any) -> str:
    settings: dict[str, Any] = {"part_rows": 2, "restart": False}
    description = {**DESCRIPTION, **changes.pop("description", {})}
    return table.begin(description, **{**settings, **changes})


def test_parts_in_any_order_are_one_table_in_the_order_of_the_source(table):
    with table.locked():
        run = begin(table)
        put(table.folder, 1, "c", "d", error="d is empty")
        assert table.finished(0) is None
        assert put(table.folder, 0, "a", "b") == FinishedPart(2, 0, digest_of_paths(["a", "b"]))
        assert table.finished(1) == FinishedPart(2, 2, digest_of_paths(["c", "d"]))
        assert begin(table) == run, "the same call goes on"
        table.complete(2, 4, 2)
    whole = pq.read_table(table.folder)
    assert whole["path"].to_pylist() == ["a", "b", "c", "d"]
    assert whole["error"].to_pylist() == [None, None, "d is empty", "d is empty"]
    assert sorted(path.name for path in table.folder.iterdir()) == [
        "_run.json",
        "part-000000.parquet",
        "part-000001.parquet",
    ]
    metadata = pq.read_schema(part_path(table.folder, 1)).metadata[b"onnxzoo"]
    assert b'"tiny"' in metadata


def test_two_runs_cannot_write_one_folder(table):
    with table.locked():
        begin(table)
        with pytest.raises(TableError, match="another run is writing to"), TableFolder(table.folder).locked():
            pass
    with table.locked():
        pass


def test_a_folder_in_which_nothing_was_begun_is_removed_and_no_other(table, tmp_path):
    with table.locked():
        assert table.folder.is_dir()
    assert not table.folder.exists()
    other = tmp_path / "photos"
    other.mkdir()
    (other / "cat.jpg").write_bytes(b"")
    refused = pytest.raises(TableError, match=r"contains 'cat\.jpg', which is not a part of a table")
    with refused, TableFolder(other).locked():
        pass
    assert [path.name for path in other.iterdir()] == ["cat.jpg"]


def test_another_model_option_or_source_is_refused_and_restart_begins_anew(table):
    with table.locked():
        run = begin(table)
        put(table.folder, 0, "a", "b")
        with pytest.raises(InputError, match=r"has a table, or a part of one, with top_k 1, now 2; repeat"):
            begin(table, description={"top_k": 2})
        with pytest.raises(TableError, match="has parts of 2 images, and this version makes parts of 7"):
            begin(table, part_rows=7)
        assert table.finished(0) is not None
        assert begin(table, restart=True) != run
        assert table.finished(0) is None


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"run": 1}'])
def test_a_damaged_record_is_reported(table, content):
    with table.locked():
        begin(table)
        (table.folder / "_run.json").write_bytes(content)
        with pytest.raises(TableError, match=r"_run.json is damaged .*--restart"):
            begin(table)


def test_a_part_that_is_not_one_is_reported(table):
    with table.locked():
        begin(table)
        part_path(table.folder, 0).write_bytes(b"PAR1")
        with pytest.raises(TableError, match=r"part-000000.parquet is damaged"):
            table.finished(0)
        put(table.folder, 1, "a")
        part_path(table.folder, 1).rename(part_path(table.folder, 0))
        with pytest.raises(TableError, match="is damaged: it does not say what it holds"):
            table.finished(0)


def test_more_parts_than_images_are_reported(table):
    with table.locked():
        begin(table)
        put(table.folder, 0, "a", "b")
        put(table.folder, 1, "c")
        with pytest.raises(TableError, match="holds images that are not in the source"):
            table.complete(1, 2, 0)


def test_a_full_disk_leaves_no_part(table, monkeypatch):
    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with table.locked():
        begin(table)
        monkeypatch.setattr("os.fsync", full)
        with pytest.raises(TableError, match="No space left on device; make room"):
            put(table.folder, 0, "a")
        assert table.finished(0) is None
