"""Runs that write tables: stopped and gone on with, refused when something has changed, one at a time."""

from __future__ import annotations

import errno
import json
import logging
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from table_reading import read_description, read_rows
from tiny import COLOURS, LABELS, tiny_outputs, write_artifact

from onnxzoo.artifact.folder import read_artifact
from onnxzoo.batch import table_runs, working_folder
from onnxzoo.batch.entry import Entry
from onnxzoo.batch.table_runs import embed_to_table, predict_to_table
from onnxzoo.batch.tables.csv_table import CsvTable
from onnxzoo.batch.working_folder import WorkingFolder
from onnxzoo.engines.fake import FakeEngine
from onnxzoo.errors import EngineError, ImageError, InputError, TableError
from onnxzoo.model import Model
from onnxzoo.signals import Terminated

COUNT = 25


def colour(name: str) -> np.ndarray:
    return np.full((40, 48, 3), COLOURS[name], dtype=np.uint8)


def entries(count: int = COUNT) -> list[Entry]:
    found = [Entry(f"{i}.png", colour(LABELS[i % 4])) for i in range(count)]
    found[5] = Entry("5.png", ImageError("5.png is empty"))
    return found


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine(tiny_outputs)


@pytest.fixture
def model(tiny: Path, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> Model:
    monkeypatch.setattr(table_runs, "PART_ROWS", 4)
    return Model(read_artifact(tiny), engine, batch_size=1)


class StopError(Exception):
    """What ends a run in the middle."""


def stopping(after: int, error: BaseException | None = None) -> Callable[..., None]:
    """An `on_result` that raises when so many images are done."""

    def on_result(entry: Entry, result: Any, done: int) -> None:
        if done == after:
            raise error or StopError

    return on_result


def stop(
    model: Model, out: Path, after: int = 10, write: Callable[..., Any] = predict_to_table, **options: Any
) -> None:
    with pytest.raises(StopError):
        write(model, entries(), out, on_result=stopping(after), **options)


# Going on


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_a_run_that_was_stopped_goes_on(model, engine, tmp_path, suffix):
    whole = read_rows(predict_to_table(model, entries(), tmp_path / f"whole{suffix}").path)
    out = tmp_path / f"answers{suffix}"
    stop(model, out, 10)
    assert not out.exists()
    before = {
        path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in (tmp_path / f"{out.name}.parts").iterdir()
    }
    assert len([name for name in before if name.startswith("part-")]) == 3  # 4, 4, and the 2 that were left
    engine.batches.clear()
    done: list[int] = []
    table = predict_to_table(model, entries(), out, on_result=lambda entry, result, count: done.append(count))
    assert (table.rows, table.errors, table.resumed) == (COUNT, 1, 10)
    assert sum(engine.batches) == COUNT - 10
    assert done == list(range(11, COUNT + 1))
    assert read_rows(out) == whole
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith((".", "answers"))) == sorted(
        out.name + end for end in ([""] if suffix == ".parquet" else ["", ".meta.json"])
    )


@pytest.mark.parametrize("suffix", [".parquet", ".npy"])
def test_embeddings_go_on(model, tmp_path, suffix):
    whole = read_rows(embed_to_table(model, entries(), tmp_path / f"whole{suffix}").path)
    out = tmp_path / f"vectors{suffix}"
    stop(model, out, 6, embed_to_table)
    stop(model, out, 19, embed_to_table)
    assert embed_to_table(model, entries(), out).resumed == 19
    assert str(read_rows(out)) == str(whole)


def test_finished_parts_are_never_written_again(model, tmp_path):
    out = tmp_path / "answers.csv"
    folder = tmp_path / "answers.csv.parts"
    seen: dict[str, tuple[int, int]] = {}
    for after in (3, 9, 10, 24):
        stop(model, out, after)
        now = {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in folder.glob("part-*")}
        assert {name: now.get(name) for name in seen} == seen
        seen = now
    assert predict_to_table(model, entries(), out).resumed == 24


def test_a_part_is_written_when_its_time_has_come(model, tmp_path, monkeypatch):
    monkeypatch.setattr(table_runs, "PART_ROWS", 1000)
    monkeypatch.setattr(table_runs, "PART_S", 0.0)
    stop(model, tmp_path / "answers.csv", 6)
    assert len(list((tmp_path / "answers.csv.parts").glob("part-*-1-*"))) == 6


def test_an_image_that_could_not_be_read_is_not_tried_again(model, tmp_path):
    out = tmp_path / "answers.csv"
    stop(model, out, 10)
    mended = [Entry(entry.path, colour("red")) for entry in entries()]
    assert predict_to_table(model, mended, out).errors == 1
    assert read_rows(out)[5]["error"] == "5.png is empty"


def test_a_run_that_fails_before_its_first_image_leaves_nothing(model, tmp_path):
    out = tmp_path / "answers.csv"

    def none() -> Iterator[Entry]:
        raise StopError
        yield

    with pytest.raises(StopError):
        predict_to_table(model, none(), out)
    assert not list(tmp_path.glob("*answers*"))
    assert predict_to_table(model, entries(), out).rows == COUNT


@pytest.mark.parametrize("error", [KeyboardInterrupt(), Terminated(15), EngineError("the engine failed")])
def test_whatever_ends_a_run_it_says_how_to_go_on(model, tmp_path, caplog, error):
    with pytest.raises(type(error)):
        predict_to_table(model, entries(), tmp_path / "answers.csv", on_result=stopping(7, error))
    (message,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert message == (
        f"7 images are finished and kept in {tmp_path / 'answers.csv.parts'}; repeat the command to go on"
    )
    assert predict_to_table(model, entries(), tmp_path / "answers.csv").resumed == 7


def test_an_engine_that_fails_loses_nothing(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(table_runs, "PART_ROWS", 4)
    runs = 0

    def failing(batch: np.ndarray) -> Any:
        nonlocal runs
        runs += 1
        if runs == 8:
            raise RuntimeError("out of memory")
        return tiny_outputs(batch)

    out = tmp_path / "answers.csv"
    model = Model(read_artifact(tiny), FakeEngine(failing), batch_size=1)
    with pytest.raises(EngineError, match="out of memory"):
        predict_to_table(model, entries(), out)
    table = predict_to_table(model, entries(), out)
    assert table.resumed >= 7
    assert [row["path"] for row in read_rows(out)] == [f"{i}.png" for i in range(COUNT)]


# Something has changed


def other_model(tiny: Path, folder: Path, **changes: Any) -> Model:
    return Model(read_artifact(write_artifact(folder, **changes)), FakeEngine(tiny_outputs), batch_size=1)


def test_another_option_is_refused_with_the_choice(model, tmp_path):
    out = tmp_path / "answers.csv"
    stop(model, out)
    with pytest.raises(InputError) as refused:
        predict_to_table(model, entries(), out, top_k=2)
    assert str(refused.value) == (
        f"{out}.parts holds an unfinished run with top_k 4, now 2; repeat the earlier command to go on with it, name "
        "another output, or begin anew with --restart (restart=True)"
    )
    assert predict_to_table(model, entries(), out).resumed == 10


def test_other_models_engines_and_sources_are_refused(model, tiny, tmp_path):
    out = tmp_path / "answers.csv"
    stop(model, out, identity={"folder": "a"})
    with pytest.raises(InputError, match=r'source.folder "a", now "b"'):
        predict_to_table(model, entries(), out, identity={"folder": "b"})
    renamed = other_model(tiny, tmp_path / "renamed", changes={"id2label": dict(zip("0123", "abcd", strict=True))})
    with pytest.raises(InputError, match=r"model\.labels_sha256"):
        predict_to_table(renamed, entries(), out, identity={"folder": "a"})
    model._sha256 = "f" * 64
    with pytest.raises(InputError, match=r"model\.sha256"):
        predict_to_table(model, entries(), out, identity={"folder": "a"})
    model._sha256 = ""
    model._engine._info = model._engine.info.__class__("other", "CPU", "int8", "1", "a test")
    with pytest.raises(InputError, match=r"engine.name .*; engine.precision .*; engine.version "):
        predict_to_table(model, entries(), out, identity={"folder": "a"})


def test_a_source_whose_names_are_not_unicode_goes_on(model, tmp_path):
    out = tmp_path / "answers.csv"
    identity = {"arguments": ["caf\udce9.png", "half\ud800"], "caf\udce9": (1, 2)}
    stop(model, out, identity=identity)
    assert predict_to_table(model, entries(), out, identity=identity).resumed == 10
    assert read_description(out)["source"] == {"arguments": [r"caf\xe9.png", r"half\ud800"], r"caf\xe9": [1, 2]}
    assert predict_to_table(model, entries(), out, identity=identity).resumed == COUNT


def test_images_that_are_others_than_before_are_refused(model, tmp_path):
    out = tmp_path / "answers.csv"
    stop(model, out)
    changed = entries()
    del changed[6]
    with pytest.raises(InputError, match=r"the source has changed .* its images 5 to 8 are others; .*--restart"):
        predict_to_table(model, changed, out)
    with pytest.raises(InputError, match="its images 9 to 10 are others"):
        predict_to_table(model, entries()[:9], out)
    assert predict_to_table(model, entries(), out).resumed == 10


def test_begin_anew(model, tmp_path):
    out = tmp_path / "answers.csv"
    stop(model, out)
    assert predict_to_table(model, entries(), out, top_k=1, restart=True).resumed == 0
    assert read_rows(out)[0].keys() == {"path", "class_id_1", "label_1", "score_1", "error"}


def test_the_same_call_on_a_finished_table_does_nothing(model, engine, tmp_path, caplog):
    caplog.set_level(logging.INFO, "onnxzoo")
    out = tmp_path / "answers.parquet"
    first = predict_to_table(model, entries(), out)
    engine.batches.clear()
    content = out.read_bytes()
    again = predict_to_table(model, entries(), out)
    assert (again.rows, again.errors, again.resumed) == (first.rows, first.errors, COUNT)
    assert not engine.batches
    assert out.read_bytes() == content
    assert "is complete already; --restart" in caplog.text
    assert not (tmp_path / "answers.parquet.parts").exists()


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("content", [b"", b"path,label\na,b\n"])
def test_a_file_of_others_is_not_replaced(model, tmp_path, content, restart):
    out = tmp_path / "answers.csv"
    out.write_bytes(content)
    with pytest.raises(InputError, match=r"answers\.csv exists and is not a table of onnxzoo; move it away"):
        predict_to_table(model, entries(), out, restart=restart)
    assert out.read_bytes() == content
    assert [path.name for path in tmp_path.glob("*answers*")] == ["answers.csv"]


def test_a_file_that_appears_during_the_run_is_not_replaced(model, tmp_path):
    out = tmp_path / "answers.csv"
    written = lambda entry, result, done: out.write_text("mine")  # noqa: E731
    with pytest.raises(TableError, match="was made by something else during the run; move it away"):
        predict_to_table(model, entries(), out, on_result=written)
    assert out.read_text() == "mine"
    out.unlink()
    assert predict_to_table(model, entries(), out).resumed == COUNT


def test_a_finished_table_of_other_options_is_not_replaced(model, tmp_path):
    out = tmp_path / "answers.jsonl"
    predict_to_table(model, entries(), out)
    with pytest.raises(InputError, match=r"answers\.jsonl exists, from a run with top_k 4, now 1; .*--restart"):
        predict_to_table(model, entries(), out, top_k=1)
    assert len(read_rows(out)) == COUNT


def test_a_run_that_replaces_a_table_goes_on_without_being_told_again(model, tmp_path):
    out = tmp_path / "answers.csv"
    predict_to_table(model, entries(), out)
    stop(model, out, top_k=1, restart=True)
    assert read_description(out)["top_k"] == 4  # the earlier one is still there
    table = predict_to_table(model, entries(), out, top_k=1)
    assert table.resumed == 10
    assert read_description(out)["top_k"] == 1


def test_a_run_killed_when_the_table_was_complete_is_complete(model, tmp_path, monkeypatch):
    out = tmp_path / "answers.csv"
    with monkeypatch.context() as patched:
        patched.setattr(WorkingFolder, "discard", lambda self: None)
        predict_to_table(model, entries(), out)
    assert (tmp_path / "answers.csv.parts" / "run.json").exists()
    assert predict_to_table(model, entries(), out).resumed == COUNT
    assert not (tmp_path / "answers.csv.parts").exists()


# What goes wrong


def full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_keeps_what_is_finished(model, tmp_path, monkeypatch, caplog):
    out = tmp_path / "answers.csv"
    with monkeypatch.context() as patched:

        def fill(entry: Entry, result: Any, done: int) -> None:
            if done == 9:
                patched.setattr(os, "fsync", full)

        with pytest.raises(TableError) as failed:
            predict_to_table(model, entries(), out, on_result=fill)
    assert str(failed.value) == (
        f"{out} cannot be written: No space left on device; make room; 8 images are finished and kept in {out}.parts; "
        "repeat the command to go on"
    )
    assert not caplog.records  # said once
    assert predict_to_table(model, entries(), out).resumed == 8
    assert [row["path"] for row in read_rows(out)] == [f"{i}.png" for i in range(COUNT)]


def test_a_disk_that_is_full_at_the_end_keeps_everything(model, tmp_path, monkeypatch, engine):
    out = tmp_path / "answers.csv"
    with monkeypatch.context() as patched:
        patched.setattr(CsvTable, "join", full)
        with pytest.raises(TableError, match=f"make room; {COUNT} images are finished"):
            predict_to_table(model, entries(), out)
    assert not out.exists()
    assert not list(tmp_path.glob(".*.tmp"))
    engine.batches.clear()
    assert predict_to_table(model, entries(), out).resumed == COUNT
    assert not engine.batches


def test_a_second_run_is_refused(model, tmp_path):
    out = tmp_path / "answers.csv"
    refusals: list[Exception] = []

    def another(entry: Entry, result: Any, done: int) -> None:
        if done == 6:
            thread = threading.Thread(target=second)
            thread.start()
            thread.join()

    def second() -> None:
        for restart in (False, True):
            try:
                predict_to_table(model, entries(), out, restart=restart)
            except TableError as error:
                refusals.append(error)

    assert predict_to_table(model, entries(), out, on_result=another).rows == COUNT
    assert [str(error) for error in refusals] == [
        f"another run is writing to {out}.parts; wait for it, or name another output"
    ] * 2
    assert read_rows(out)[-1]["path"] == "24.png"


def test_a_part_that_was_altered_is_not_used(model, tmp_path):
    out = tmp_path / "answers.csv"
    stop(model, out)
    part = sorted((tmp_path / "answers.csv.parts").glob("part-*"))[1]
    part.write_bytes(part.read_bytes().replace(b"green", b"greed"))
    with pytest.raises(TableError, match=r"part-000001-.* was altered after it was written: .*--restart"):
        predict_to_table(model, entries(), out)
    assert not out.exists()


def test_a_part_that_is_missing_is_noticed(model, tmp_path):
    out = tmp_path / "answers.csv"
    stop(model, out)
    sorted((tmp_path / "answers.csv.parts").glob("part-*"))[1].unlink()
    with pytest.raises(TableError, match=r"lacks part 1 of 2; begin anew with --restart"):
        predict_to_table(model, entries(), out)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"run": "1"}', b'{"run": 1, "description": 2}'])
def test_a_damaged_record_is_named(model, tmp_path, content):
    out = tmp_path / "answers.csv"
    stop(model, out)
    (tmp_path / "answers.csv.parts" / "run.json").write_bytes(content)
    with pytest.raises(TableError, match=r"run\.json is damaged \(.*\); begin anew with --restart"):
        predict_to_table(model, entries(), out)
    assert predict_to_table(model, entries(), out, restart=True).rows == COUNT


def test_a_folder_of_others_is_not_touched(model, tmp_path):
    folder = tmp_path / "answers.csv.parts"
    folder.mkdir()
    (folder / "thesis.tex").write_text("years of work")
    for restart in (False, True):
        with pytest.raises(TableError, match=r"it contains 'thesis\.tex', which is not one; move it away"):
            predict_to_table(model, entries(), tmp_path / "answers.csv", restart=restart)
    assert [path.name for path in folder.iterdir()] == ["thesis.tex"] or (folder / "thesis.tex").exists()


def test_parts_without_a_record_are_nobodys(model, tmp_path):
    out = tmp_path / "answers.csv"
    stop(model, out)
    (tmp_path / "answers.csv.parts" / "run.json").unlink()
    assert predict_to_table(model, entries(), out, top_k=1).resumed == 0


def test_temporary_files_of_killed_runs_are_removed(model, tmp_path):
    out = tmp_path / "answers.csv"
    stop(model, out)
    half = tmp_path / "answers.csv.parts" / ".part-000003-4-0-0000.0123456789ab.tmp"
    half.write_bytes(b"half a li")
    (tmp_path / ".answers.csv.0123456789ab.tmp").write_bytes(b"half a table")
    assert predict_to_table(model, entries(), out).resumed == 10
    assert sorted(path.name for path in tmp_path.glob("*answers*")) == ["answers.csv", "answers.csv.meta.json"]


@pytest.mark.parametrize("restart", [False, True])
def test_a_folder_is_not_an_output(model, tmp_path, restart):
    (tmp_path / "answers.csv").mkdir()
    with pytest.raises(InputError, match="is a folder; expected the name of a file"):
        predict_to_table(model, entries(), tmp_path / "answers.csv", restart=restart)


def test_a_place_that_cannot_be_written_is_named_at_once(model, engine, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(TableError, match=r"cannot be written: .*name an output elsewhere"):
        predict_to_table(model, entries(), tmp_path / "file" / "answers.csv")
    with pytest.raises(TableError) as refused:
        predict_to_table(model, entries(), tmp_path / f"{'a' * 240}.csv")
    assert "cannot be written: File name too long" in refused.value.args[0]
    assert not engine.batches


def test_folders_above_the_output_are_made(model, tmp_path):
    assert predict_to_table(model, entries(), tmp_path / "a" / "b" / "answers.csv").path.exists()


def test_the_record_is_for_people_too(model, tmp_path):
    stop(model, tmp_path / "answers.csv", identity={"folder": "images"})
    record = json.loads((tmp_path / "answers.csv.parts" / "run.json").read_text())
    assert record["description"]["source"] == {"folder": "images"}
    assert working_folder._NAME.fullmatch(sorted((tmp_path / "answers.csv.parts").glob("part*"))[0].name)


def test_a_table_may_be_moved_with_its_parts(model, tmp_path):
    stop(model, tmp_path / "answers.csv")
    shutil.move(tmp_path / "answers.csv.parts", tmp_path / "moved.csv.parts")
    assert predict_to_table(model, entries(), tmp_path / "moved.csv").resumed == 10


@pytest.mark.parametrize(
    ("source", "got"),
    [("photos", "str"), (Path("photos"), "PosixPath"), (None, "NoneType"), (["a.png"], "an iterable of str")],
)
def test_what_is_no_source_is_refused_and_the_way_to_one_named(
    model: Model, tmp_path: Path, source: Any, got: str
) -> None:
    with pytest.raises(InputError, match=rf"source must be a source of onnxzoo.batch.sources.open_source.*; got {got}"):
        predict_to_table(model, source, tmp_path / "out.csv", identity=1)
    assert not (tmp_path / "out.csv").exists()
