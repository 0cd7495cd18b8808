"""A worker of a run on many machines, without a cluster: its rows, its model, and its errors as values."""

from __future__ import annotations

import dataclasses
import pickle

import pytest

pq = pytest.importorskip("pyarrow.parquet", reason="needs the extra batch")

from onnxzoo import errors
from onnxzoo.artifact.folder import read_artifact
from onnxzoo.batch.entry import Entry
from onnxzoo.batch.part_worker import Failure, Job, PartWorker, pack, unpack
from onnxzoo.batch.table_folder import TableFolder
from onnxzoo.batch.table_runs import predict_to_table
from onnxzoo.errors import EngineError, EngineUnavailableError, ImageError, InputError, OnnxzooError
from onnxzoo.loading import load


@pytest.fixture
def entries(photos):
    (photos / "bad.png").write_bytes(b"no image")
    listed = [Entry(path.name, str(path)) for path in sorted(photos.iterdir())]
    return [*listed, Entry("list.txt", ImageError("list.txt is a list without images; add some"))]


@pytest.fixture
def job(tiny, tmp_path):
    return Job(str(tiny), "predict", 2, str(tmp_path / "answers"), {"arguments": ["x"]}, {"engine": "onnxruntime"})


def begun(job: Job) -> Job:
    """The job, after a worker was asked for the description of the run."""
    job = dataclasses.replace(job, description=PartWorker(job).describe())
    table = TableFolder(table_of(job))
    with table.locked():
        table.begin(job.description, part_rows=10, restart=False)
    return job


def table_of(job):
    from pathlib import Path

    return Path(job.folder)


def test_a_part_has_the_rows_of_the_run_on_one_machine(job, entries, tiny, tmp_path):
    job = begun(job)
    worker = PartWorker(job)
    done = [worker.write(0, entries[:3]), worker.write(1, entries[3:])]
    assert [(one.number, one.rows, one.errors, one.failure) for one in done] == [(0, 3, 1, None), (1, 3, 1, None)]
    assert done[0].summary.classes == {"black": 1, "blue": 1}
    assert pickle.loads(pickle.dumps(done[1])) == done[1]
    with load(tiny, engine="onnxruntime") as model:
        predict_to_table(model, entries, tmp_path / "one.parquet", top_k=2, identity={"arguments": ["x"]})
    assert pq.read_table(job.folder).equals(pq.read_table(tmp_path / "one.parquet"))


def test_a_packed_artifact_is_loaded_where_it_is_not(job, entries, tiny, tmp_path):
    content = pack(read_artifact(tiny))
    tiny.rename(tmp_path / "away")
    with pytest.raises(OnnxzooError):
        PartWorker(job).describe()
    worker = PartWorker(job, lambda: content)
    assert worker.describe()["model"]["name"] == "tiny"
    unpack(content, tmp_path / "again")
    assert read_artifact(tmp_path / "again").files.keys() == read_artifact(tmp_path / "away").files.keys()


def test_a_worker_with_another_engine_is_refused(job, entries):
    job = begun(job)
    other = dataclasses.replace(job, options={"engine": "openvino"})
    failure = PartWorker(other).write(0, entries[:1]).failure
    assert failure is not None
    error = failure.error()
    assert isinstance(error, InputError)
    assert "the run was begun by a worker with engine.name" in str(error)


def test_a_folder_that_the_worker_does_not_see_is_reported(job, entries, tmp_path):
    job = dataclasses.replace(begun(job), folder=str(tmp_path / "elsewhere"))
    failure = PartWorker(job).write(0, entries[:1]).failure
    assert failure is not None
    assert "is not the folder in which the run was begun" in str(failure.error())
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (EngineUnavailableError("no GPU; get one"), EngineUnavailableError),
        (EngineError("x"), EngineError),
        (ZeroDivisionError("division by zero"), EngineError),
    ],
)
def test_errors_keep_their_class_and_name_the_machine(error, kind):
    failure = pickle.loads(pickle.dumps(Failure.of(error)))
    again = dataclasses.replace(failure, host="node7").error()
    assert type(again) is kind
    assert str(again).startswith("on node7: ")
    assert str(error) in str(again)
    assert again.exit_code == kind("").exit_code


def test_a_failure_of_an_unknown_kind_is_still_one_of_ours():
    assert type(Failure("escaped", "a function", "x").error()) is EngineError
    assert type(Failure("Exception", "not ours", "x").error()) is EngineError
    for name in ("TableError", "ModelNotFoundError", "ExportError"):
        assert type(Failure(name, "m", "x").error()) is getattr(errors, name)


def test_relative_paths_are_those_of_the_program_that_began_the_run(job, entries, photos, tmp_path, monkeypatch):
    relative = [Entry("photos/red.png", "photos/red.png")]
    monkeypatch.chdir(photos.parent)
    job = begun(job)
    monkeypatch.chdir("/")
    worker = PartWorker(dataclasses.replace(job, directory=str(photos.parent)))
    assert worker.write(0, relative).errors == 0
    monkeypatch.chdir("/")
    worker = PartWorker(dataclasses.replace(job, directory=str(tmp_path / "not on this machine")))
    assert worker.write(1, relative).errors == 1
    with pytest.raises(InputError, match=r"red\.png does not exist here; put the images on a file system that"):
        worker.describe("photos/red.png")
