"""How many threads: affinity, CPU quota of control groups (v1 and v2, nested), OMP_NUM_THREADS; one place for all."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import pytest

from onnxzoo import cpu, image
from onnxzoo.engines import create_engine
from onnxzoo.engines.options import EngineOptions

V2 = "31 23 0:28 {root} {mount} rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
V1 = "32 31 0:29 {root} {mount} rw,relatime - cgroup cgroup rw,cpu,cpuacct\n"
OTHERS = "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n33 31 0:30 / {mount}/memory rw - cgroup cgroup rw,memory\n"


def tree(folder: Path, files: Mapping[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


def quota(folder: Path, group: str, mounts: str, root: str = "/") -> float | None:
    escaped = str(folder).replace(" ", "\\040")
    return cpu.quota_of(group, (OTHERS + mounts).format(root=root, mount=escaped))


@pytest.mark.parametrize(
    ("files", "group", "expected"),
    [
        ({"cpu.max": "50000 100000\n"}, "/", 0.5),
        ({"cpu.max": "max 100000\n"}, "/", None),
        ({"a/b/cpu.max": "150000 100000"}, "/a/b", 1.5),
        # The smallest on the way to the root, wherever it is.
        ({"a/cpu.max": "100000 100000", "a/b/cpu.max": "400000 100000"}, "/a/b", 1.0),
        ({"a/cpu.max": "max 100000", "a/b/cpu.max": "20000 10000", "a/b/c/cpu.max": "max 100000"}, "/a/b/c", 2.0),
        # Of no group beside it.
        ({"a/cpu.max": "10000 100000", "ab/cpu.max": "max 100000"}, "/ab", None),
        # Without the controller there is no file, and a process may have been moved out of what is mounted.
        ({}, "/a", None),
        ({"cpu.max": "300000 100000"}, "/../../elsewhere", 3.0),
        ({"cpu.max": "nonsense\n"}, "/", None),
        ({"cpu.max": ""}, "/", None),
        ({"cpu.max": "100000 0"}, "/", None),
        ({"cpu.max": "100000"}, "/", None),
    ],
)
def test_the_quota_of_cgroup_v2(tmp_path, files, group, expected):
    assert quota(tree(tmp_path / "cgroup 2", files), f"0::{group}\n", V2) == expected


@pytest.mark.parametrize(
    ("files", "group", "expected"),
    [
        ({"cpu.cfs_quota_us": "50000", "cpu.cfs_period_us": "100000"}, "/", 0.5),
        ({"cpu.cfs_quota_us": "-1", "cpu.cfs_period_us": "100000"}, "/", None),
        (
            {
                "cpu.cfs_quota_us": "-1", "cpu.cfs_period_us": "100000",
                "pod/cpu.cfs_quota_us": "200000", "pod/cpu.cfs_period_us": "100000",
                "pod/one/cpu.cfs_quota_us": "-1", "pod/one/cpu.cfs_period_us": "100000",
            },
            "/pod/one",
            2.0,
        ),
        ({"cpu.cfs_quota_us": "70000"}, "/", None),
    ],
)  # fmt: skip
def test_the_quota_of_cgroup_v1(tmp_path, files, group, expected):
    text = f"9:name=systemd:/\n4:memory:/else\n3:cpu,cpuacct:{group}\n2:cpuset:/\n0::/\n"
    assert quota(tree(tmp_path, files), text, V1) == expected


def test_a_container_sees_its_own_part_of_the_tree(tmp_path):
    """Docker on cgroup v1: the group's path is the host's, and the mount shows the tree from there on."""
    files = {"cpu.cfs_quota_us": "150000", "cpu.cfs_period_us": "100000"}
    assert quota(tree(tmp_path, files), "3:cpu,cpuacct:/docker/123\n", V1, root="/docker/123") == 1.5
    assert quota(tmp_path, "3:cpu,cpuacct:/docker/123\n", V1, root="/elsewhere") == 1.5


def test_with_both_versions_the_smaller_quota_counts(tmp_path):
    tree(tmp_path, {"1/cpu.cfs_quota_us": "400000", "1/cpu.cfs_period_us": "100000", "2/cpu.max": "300000 100000"})
    mounts = V1.format(root="/", mount=tmp_path / "1") + V2.format(root="/", mount=tmp_path / "2")
    assert cpu.quota_of("3:cpu,cpuacct:/\n0::/\n", mounts) == 3.0


@pytest.mark.parametrize("text", ["", "nonsense", "0:", "::", "0::", "1 2 3 - cgroup2\n", "\x00\n", "- - -"])
def test_strange_texts_give_no_quota(text):
    assert cpu.quota_of(text, text) is None
    assert cpu.quota_of("0::/\n", text) is None
    assert cpu.quota_of(text, V2.format(root="/", mount="/nowhere")) is None


def test_files_that_are_not_there_give_no_quota(monkeypatch, tmp_path):
    monkeypatch.setattr(cpu, "CGROUP", tmp_path / "nowhere")
    assert cpu.cpu_quota() is None


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """A machine with so many logical processors, two to a core if `smt`, and a quota."""

    def make(processors: int, granted: float | None = None, *, smt: bool = False, omp: str | None = None) -> None:
        siblings = {
            f"cpu{n}/topology/thread_siblings_list": f"{n // 2 * 2}-{n // 2 * 2 + 1}" if smt else str(n)
            for n in range(processors)
        }
        monkeypatch.setattr(cpu, "TOPOLOGY", tree(tmp_path / f"cpus {processors} {smt}", siblings))
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(processors)), raising=False)
        monkeypatch.setattr(cpu, "cpu_quota", lambda: granted)
        monkeypatch.delitem(sys.modules, "paddle", raising=False)
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
        if omp is not None:
            monkeypatch.setenv("OMP_NUM_THREADS", omp)

    return make


@pytest.mark.parametrize(
    ("granted", "threads"), [(None, 8), (0.01, 1), (0.5, 1), (1, 1), (1.5, 2), (2, 2), (2.01, 3), (8, 8), (64, 8)]
)
def test_a_quota_is_rounded_up(machine, granted, threads):
    machine(8, granted)
    assert (cpu.worker_threads(), cpu.engine_threads()) == (threads, threads)


@pytest.mark.parametrize(
    ("omp", "threads"),
    [
        ("1", 1), ("3", 3), (" 3 ", 3), ("3,2", 3), ("64", 4),
        ("", 4), ("0", 4), ("-2", 4), ("many", 4), ("2.5", 4), ("9" * 5000, 4), ("²", 4),
    ],
)  # fmt: skip
def test_omp_num_threads_lowers_the_number_and_never_raises_it(machine, omp, threads):
    machine(4, omp=omp)
    assert (cpu.worker_threads(), cpu.engine_threads()) == (threads, threads)


def test_an_engine_takes_whole_cores_and_workers_take_their_halves_too(machine):
    machine(8, smt=True)
    assert (cpu.worker_threads(), cpu.engine_threads()) == (8, 4)
    machine(8, 3, smt=True)
    assert (cpu.worker_threads(), cpu.engine_threads()) == (3, 3)


def test_the_processor_is_described_in_one_line(machine):
    machine(8, 0.5, smt=True)
    text = str(cpu.cpu())
    assert "8 cores, a CPU quota of 0.5, 1 for an engine: " in text
    machine(8, smt=True)
    assert "8 cores, 4 for an engine: " in str(cpu.cpu())


def test_what_paddle_writes_into_the_environment_is_not_the_users_wish(machine, monkeypatch, tmp_path):
    machine(4, omp="1")
    assert cpu.engine_threads() == 1
    monkeypatch.setitem(sys.modules, "paddle", ModuleType("paddle"))
    monkeypatch.setattr(cpu, "ENVIRON", tmp_path / "environ")
    (tmp_path / "environ").write_bytes(b"PATH=/bin\0HOME=/\0")
    assert cpu.engine_threads() == 4
    (tmp_path / "environ").write_bytes(b"PATH=/bin\0OMP_NUM_THREADS=1\0")
    assert cpu.engine_threads() == 1


def test_a_system_without_affinity_counts_its_processors(machine, monkeypatch):
    machine(8)
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert (cpu.worker_threads(), cpu.engine_threads()) == (1, 1)


@pytest.mark.parametrize(("asked", "expected"), [(None, 1), (2, 2)])
def test_onnxruntime_gets_the_number(machine, tiny, monkeypatch, asked, expected):
    onnxruntime = pytest.importorskip("onnxruntime")
    machine(8, 0.5)
    opened = []
    original = onnxruntime.InferenceSession

    def recorded(path, options, **rest):
        opened.append(options.intra_op_num_threads)
        return original(path, options, **rest)

    monkeypatch.setattr(onnxruntime, "InferenceSession", recorded)
    create_engine("onnxruntime", tiny / "onnx" / "model.onnx", EngineOptions(threads=asked)).close()
    assert opened == [expected]


@pytest.mark.parametrize("hint", ["latency", "throughput"])
@pytest.mark.parametrize(("asked", "expected"), [(None, 1), (2, 2)])
def test_openvino_gets_the_number(machine, tiny, hint, asked, expected):
    pytest.importorskip("openvino")
    machine(8, 0.5)
    engine = create_engine("openvino", tiny / "onnx" / "model.onnx", EngineOptions(threads=asked, hint=hint))
    try:
        model = next(iter(engine._models.values())).model
        assert model.get_property("INFERENCE_NUM_THREADS") == expected
        assert model.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS") <= expected
        assert engine._compiler.parallel <= expected
        assert model.get_property("ENABLE_CPU_PINNING") is False, "as other processes would be bound to the same core"
    finally:
        engine.close()


def test_openvino_binds_its_threads_as_it_likes_where_it_has_all_cores(machine, tiny):
    pytest.importorskip("openvino")
    machine(2, smt=True)
    engine = create_engine("openvino", tiny / "onnx" / "model.onnx")
    try:
        assert engine._compiler._settings["INFERENCE_NUM_THREADS"] == 1
        assert "ENABLE_CPU_PINNING" not in engine._compiler._settings
    finally:
        engine.close()


def test_images_are_read_by_as_many_workers(machine, monkeypatch):
    import numpy as np

    from onnxzoo.registry import find

    pools: list[int] = []

    class Recorded(image.ThreadPoolExecutor):
        def __init__(self, workers: int, **rest: str) -> None:
            pools.append(workers)
            super().__init__(workers, **rest)

    monkeypatch.setattr(image, "ThreadPoolExecutor", Recorded)
    pictures = [np.zeros((40, 40, 3), np.uint8)] * 5
    spec = find("pvt_v2_nano_fashion").preprocess
    for granted in (0.5, 3):
        machine(8, granted)
        image.preprocess_batch(pictures, spec)
    assert pools == [3]
