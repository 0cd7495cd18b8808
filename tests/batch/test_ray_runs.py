"""A run of many workers, with workers of this process in the place of Ray's: what is given out, kept and refused."""

from __future__ import annotations

import contextlib
import dataclasses
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

pq = pytest.importorskip("pyarrow.parquet", reason="needs the extra batch")

from onnxzoo.batch import Entry, ray_runs
from onnxzoo.batch.part_worker import Done, Failure, Job, PartWorker
from onnxzoo.errors import EngineError, InputError


class PoolHere:
    """Has the interface of `ray.Pool`. `given`: the numbers of the parts of each window."""

    given: ClassVar[list[list[int]]] = []
    fail_at: int | None = None

    def __init__(self, job: Job, packed: bytes | None, cpus: int) -> None:
        assert cpus == 1
        self._job, self._packed = job, packed

    def require_room(self, *, wait: bool) -> None:
        pass

    def describe(self, first: Entry | None) -> Job:
        assert first is not None
        self._job = dataclasses.replace(self._job, description=self._worker().describe())
        return self._job

    def write(self, parts: list[dict[str, Any]]) -> Iterator[Done]:
        self.given.append([part["number"] for part in parts])
        # The last part comes first, as on a cluster any may.
        for part in reversed(parts):
            if part["number"] == self.fail_at:
                yield Done(part["number"], failure=Failure("EngineError", "out of memory", "node7"))
            else:
                yield self._worker().write(part["number"], pickle.loads(part["entries"]))

    def _worker(self) -> PartWorker:
        packed = self._packed
        return PartWorker(self._job, None if packed is None else lambda: packed)


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> type[PoolHere]:
    monkeypatch.setattr(PoolHere, "given", [])
    monkeypatch.setattr(ray_runs, "Pool", PoolHere)
    monkeypatch.setattr(ray_runs, "advise", lambda count: None)
    monkeypatch.setattr(ray_runs, "cluster", lambda address: contextlib.nullcontext())
    monkeypatch.setattr(ray_runs, "PART_ROWS", 2)
    monkeypatch.setattr(ray_runs, "WINDOW_PARTS", 2)
    return PoolHere


@pytest.fixture
def entries(photos: Path) -> list[Entry]:
    (photos / "bad.png").write_bytes(b"")
    return [Entry(path.name, str(path)) for path in sorted(photos.iterdir())]


def write(tiny: Path, entries: list[Entry], out: Path, **options: Any) -> Any:
    return ray_runs.table_by_ray(str(tiny), entries, out, engine="onnxruntime", identity={"same": True}, **options)[0]


def test_parts_are_given_out_in_windows_and_counted(pool, tiny, entries, tmp_path):
    seen: list[tuple[int, int]] = []
    table = write(tiny, entries, tmp_path / "out", on_part=lambda done, errors: seen.append((done, errors)))
    assert pool.given == [[0, 1], [2]]
    assert (table.rows, table.errors, table.resumed) == (5, 1, 0)
    assert seen == [(0, 0), (2, 0), (4, 1), (5, 1)]
    assert pq.read_table(tmp_path / "out")["path"].to_pylist() == [entry.path for entry in entries]


def test_a_run_goes_on_with_what_is_missing(pool, tiny, entries, tmp_path, monkeypatch):
    monkeypatch.setattr(PoolHere, "fail_at", 0)
    with pytest.raises(EngineError, match="on node7: out of memory"):
        write(tiny, entries, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").glob("part-*")] == ["part-000001.parquet"]
    monkeypatch.setattr(PoolHere, "fail_at", None)
    pool.given.clear()
    table = write(tiny, entries, tmp_path / "out")
    assert pool.given == [[0, 2]]
    assert (table.rows, table.errors, table.resumed) == (5, 1, 2)
    pool.given.clear()
    assert write(tiny, entries, tmp_path / "out").resumed == 5
    assert pool.given == []


def test_a_source_that_has_changed_is_refused_part_by_part(pool, tiny, entries, tmp_path, monkeypatch):
    monkeypatch.setattr(PoolHere, "fail_at", 2)
    with pytest.raises(EngineError):
        write(tiny, entries, tmp_path / "out")
    monkeypatch.setattr(PoolHere, "fail_at", None)
    with pytest.raises(InputError, match=r"the source has changed since part-000000\.parquet was written"):
        write(tiny, [*entries[1:], entries[0]], tmp_path / "out")
    pool.given.clear()
    assert write(tiny, [*entries[1:], entries[0]], tmp_path / "out", restart=True).resumed == 0
    assert pool.given == [[0, 1], [2]]


def test_what_would_not_fit_is_said_before_a_cluster_is_started(pool, tiny, entries, tmp_path, monkeypatch):
    monkeypatch.setattr(ray_runs, "cluster", lambda address: pytest.fail("started"))
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is a file; with Ray the output is a folder"):
        write(tiny, entries, tmp_path / "file")


def test_images_that_cannot_be_sent_are_refused(pool, tiny, tmp_path):
    from onnxzoo.image import LazyImage

    with pytest.raises(InputError, match="cannot be sent to other machines"):
        write(tiny, [Entry("a", LazyImage("a", lambda limit: b""))], tmp_path / "out")
