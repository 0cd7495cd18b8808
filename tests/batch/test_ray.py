"""Runs on a Ray cluster: the table of one machine, whatever happens to the workers. All tests use one Ray."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import is_one_error_line, run

pytest.importorskip("ray.data", reason="needs the extra ray")
pq = pytest.importorskip("pyarrow.parquet", reason="needs the extra batch")

from onnxzoo.batch import ray as ray_module
from onnxzoo.batch import ray_runs
from onnxzoo.batch.sources import open_source

pytestmark = pytest.mark.slow

SAMPLE = Path(__file__).parents[1] / "data" / "fashion_mnist_sample"
MODEL = "pvt_v2_nano_fashion"
OPTIONS = ("--top-k", "2", "--threads", "1", "--engine", "onnxruntime")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty images and two that cannot be read."""
    folder = tmp_path_factory.mktemp("ray") / "images"
    folder.mkdir()
    for number, path in enumerate(sorted(SAMPLE.rglob("*.png"))[::12][:40]):
        shutil.copy(path, folder / f"{number:03}.png")
    (folder / "007b.png").write_bytes(b"")
    (folder / "031b.png").write_bytes(b"no image")
    return folder


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """Two workers of a CPU each; what is tested uses the connection that there is."""
    patched = pytest.MonkeyPatch()
    patched.setattr(ray_module, "worker_threads", lambda: 2)
    patched.delenv("RAY_ADDRESS", raising=False)
    with ray_module.cluster(None):
        yield
    patched.undo()


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch, cluster: None) -> None:
    monkeypatch.setattr(ray_runs, "PART_ROWS", 6)
    monkeypatch.setattr(ray_runs, "WINDOW_PARTS", 5)


def states(folder: Path) -> dict[str, tuple[int, int]]:
    """What changes when a part is written again."""
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in folder.glob("part-*")}


def test_the_table_is_that_of_one_machine_and_only_what_is_missing_is_done_again(images, tmp_path, monkeypatch):
    monkeypatch.chdir(images.parent)
    one, many = tmp_path / "one.parquet", tmp_path / "many"
    assert run("predict", MODEL, "images", "--out", one, *OPTIONS).exit_code == 1
    result = run("predict", MODEL, "images", "--out", many, *OPTIONS, "--ray")
    assert result.exit_code == 1, result.stderr
    lines = result.stderr.splitlines()
    assert all(line.startswith("onnxzoo: ") for line in lines), "nothing of Ray's"
    assert "without --ray the same work takes" in lines[0]
    assert {"onnxzoo: 1 worker on 1 machine", "onnxzoo: 2 workers on 1 machine"} & set(lines)
    assert any(line.startswith("onnxzoo: errors: 'is empty' 1 (images/007b.png)") for line in lines)
    assert lines[-1] == f"onnxzoo: {many}: 42 rows, 2 with an error"
    table = pq.read_table(one)
    assert pq.read_table(many).equals(table)
    before = states(many)
    assert len(before) == 7

    for name in ("part-000001.parquet", "part-000006.parquet"):
        (many / name).unlink()
    changed = run("predict", MODEL, "images", "--out", many, *OPTIONS, "--top-k", "3", "--ray")
    assert (changed.exit_code, changed.stdout) == (2, "")
    assert "with top_k 2, now 3" in changed.stderr
    assert run("predict", MODEL, "images", "--out", many, *OPTIONS, "--ray", "-q").exit_code == 1
    after = states(many)
    assert {name for name in after if after[name] == before[name]} == set(before) - {
        "part-000001.parquet",
        "part-000006.parquet",
    }
    assert pq.read_table(many).equals(table)
    assert json.loads((many / "_run.json").read_text())["rows"] == 42


def test_a_worker_that_is_killed_costs_nothing_but_time(images, tmp_path, monkeypatch, capfd):
    killed = []
    write = ray_module.Pool.write

    def write_and_kill(pool: ray_module.Pool, parts: list[dict[str, object]]) -> Iterator[ray_module.Done]:
        for done in write(pool, parts):
            if not killed:
                killed.append(done.process)
                os.kill(done.process, signal.SIGKILL)
            yield done

    monkeypatch.setattr(ray_module.Pool, "write", write_and_kill)
    monkeypatch.setattr(ray_runs, "PART_ROWS", 2)
    monkeypatch.setattr(ray_runs, "WINDOW_PARTS", 50)
    table, summary = ray_runs.table_by_ray(MODEL, open_source([str(images)]), tmp_path / "many", engine="onnxruntime")
    assert len(killed) == 1
    assert capfd.readouterr() == ("", ""), "Ray prints nothing of its own"
    assert (table.rows, table.errors, table.resumed) == (42, 2, 0)
    assert (summary.images, summary.failed) == (42, 2)
    paths = pq.read_table(tmp_path / "many")["path"].to_pylist()
    assert paths == [entry.path for entry in open_source([str(images)])]


def test_an_artifact_folder_is_sent_and_embeddings_of_an_archive_are_those_of_one_machine(tiny, photos, tmp_path):
    one, many = tmp_path / "one.parquet", tmp_path / "many"
    archive = shutil.make_archive(str(tmp_path / "photos"), "tar", photos)
    assert run("embed", tiny, archive, "--out", one, "--threads", "1").exit_code == 0
    result = run("embed", tiny, archive, "--out", many, "--ray")
    assert result.exit_code == 0, result.stderr
    assert pq.read_table(many).equals(pq.read_table(one))


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["no_such_model", "--out", "{out}"], 2, "no_such_model"),
        (
            [MODEL, "--out", "{out}", "--engine", "cuda"],
            3,
            "no machine of the cluster has 0.9 CPUs and a GPU",
        ),
        ([MODEL, "--out", "{out}", "--threads", "3"], 3, "no machine of the cluster has 2.7 CPUs for a worker"),
        ([MODEL], 2, "name it with --out DIR"),
        ([MODEL, "--out", "{out}", "--json"], 2, "give one of them"),
        ([MODEL, "--out", "{file}"], 2, "is a file; with Ray the output is a folder"),
        ([MODEL, "--out", "{out}", "--ray", "{file}"], 2, "takes the address of a cluster, got the path"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_leaves_no_folder(images, tmp_path, arguments, code, message):
    (tmp_path / "file").write_text("")
    names = {"out": tmp_path / "out", "file": tmp_path / "file"}
    words = [word.format(**names) for word in arguments]
    result = run("predict", words[0], images, *words[1:], *([] if "--ray" in words else ["--ray"]))
    assert result.exit_code == code, result.stderr
    lines = [line for line in result.stderr.splitlines() if "without --ray" not in line]
    assert is_one_error_line("\n".join(lines) + "\n")
    assert message in lines[0]
    assert not (tmp_path / "out").exists()
