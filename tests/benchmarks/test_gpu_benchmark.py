"""The benchmark for GPUs, run with engines of the CPU: its table, and that it goes on where it was stopped."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from artifacts import PVT, alter, copy_shipped, scale_initializer

from onnxzoo.artifact.folder import INPUT_NAME

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path[:0] = [str(BENCHMARKS), str(BENCHMARKS / "peers")]

import gpu
from gpu_table import EAGER, Results, differences, images_per_second, shortcomings

from onnxzoo.bench import timing
from onnxzoo.bench.children.conformance import batches
from onnxzoo.bench.timing import Contender, OpenGate
from onnxzoo.engines import nvidia

MACHINE = {"device": "NVIDIA H200", "cpu": "one"}
ENGINES = ("onnxruntime", "openvino")


class Bench:
    """gpu.py on a copy of a shipped model at batch 4, whatever the machine's health."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self._patch = folder, monkeypatch
        self.artifact = copy_shipped(folder / "artifacts" / PVT)
        self.started: list[str] = []
        monkeypatch.setattr(gpu, "Gate", OpenGate)
        monkeypatch.setattr(timing, "WARM_MS", 1.0)

        class Counted(timing.Worker):
            def __init__(worker, contender: Contender, *rest: Any) -> None:  # noqa: N805
                self.started.append(contender.name)
                super().__init__(contender, *rest)

        monkeypatch.setattr(gpu, "Worker", Counted)

    def run(self, *options: str, engines: tuple[str, ...] = ENGINES) -> int:
        """The exit code; `started` are the processes that it took."""
        self.started.clear()
        folders = [item for name in ("artifacts", "packs", "work", "out") for item in (f"--{name}", self.folder / name)]
        named = [item for engine in engines for item in ("--engine", engine)]
        arguments = [PVT, *named, "--batch-size", "4", "--rounds", "2", "--runs", "3", *folders, *options]
        self._patch.setattr(sys, "argv", ["gpu.py", *map(str, arguments)])
        return gpu.main()

    def document(self) -> dict[str, Any]:
        """What gpu.json holds."""
        found: dict[str, Any] = json.loads((self.folder / "out" / "gpu.json").read_text(encoding="utf-8"))
        return found

    def rows(self) -> dict[str, Any]:
        """The rows of the one group."""
        found: dict[str, Any] = self.document()["rows"][PVT]["4"]
        return found


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """A benchmark that has not run yet."""
    return Bench(tmp_path, monkeypatch)


@pytest.mark.slow
def test_finished_rows_stay_and_unfinished_ones_keep_their_first_start(bench: Bench) -> None:
    assert bench.run() == 0
    # OpenVINO keeps compiled models: it is started with nothing kept, and again.
    assert bench.started == ["onnxruntime", "openvino", "openvino"]
    rows = bench.rows()
    for name, row in rows.items():
        assert row["max_abs"].keys() == {"logits", "embedding"}
        assert 0 < row["relative"] <= 1e-4
        assert len(row["timing"]["all_samples_ms"]) == 2
        assert row["timing"]["min_ms"] <= row["timing"]["median_ms"]
        assert (row["device"], row["precision"]) == ("CPU", "fp32"), name
    assert rows["onnxruntime"]["second_start_s"] is None
    assert rows["onnxruntime"]["build_s"] is None
    assert rows["openvino"]["kept_bytes"] > 1e5
    assert rows["openvino"]["second_start_s"] > 0
    assert f"| {PVT} | 4 | openvino |" in (bench.folder / "out" / "gpu.md").read_text(encoding="utf-8")
    assert not any((bench.folder / "work").iterdir())

    assert bench.run() == 0
    assert bench.started == []

    # As if it had been killed between the starts and the timing of one row.
    document = bench.document()
    row = document["rows"][PVT]["4"]["openvino"]
    del row["timing"]
    row["start_s"] = 123.0
    (bench.folder / "out" / "gpu.json").write_text(json.dumps(document), encoding="utf-8")
    assert bench.run() == 0
    assert bench.started == ["openvino"]
    assert bench.rows()["openvino"]["start_s"] == 123.0
    assert bench.rows()["openvino"]["timing"]

    assert bench.run("--again", engines=("onnxruntime",)) == 0
    assert bench.started == ["onnxruntime"]


@pytest.mark.slow
def test_wrong_numbers_and_what_does_not_start_are_rows_that_can_be_tried_again(bench: Bench) -> None:
    alter(bench.artifact, scale_initializer([10], 1.01))
    assert bench.run(engines=("onnxruntime", "onnxruntime:qnn")) == 1
    wrong, absent = bench.rows().values()
    assert shortcomings("onnxruntime", wrong)[0].startswith("differs by ")
    assert wrong["timing"]
    words = "onnxruntime:qnn ended with exit code 1: onnxzoo.errors.EngineUnavailableError: onnxruntime"
    assert absent["error"].startswith(words)
    assert "timing" not in absent
    assert bench.run("--retry", engines=("onnxruntime", "onnxruntime:qnn")) == 1
    assert bench.started == ["onnxruntime:qnn"]


@pytest.mark.slow
def test_a_contender_that_dies_while_timed_does_not_take_the_others_along(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = gpu.contenders

    def with_one_that_dies(*arguments: Any) -> list[Contender]:
        first, second = real(*arguments)
        # Its standard input is empty: it gets ready, and ends.
        shell = 'exec "$0" "$@" </dev/null'
        return [Contender(first.graph, "", ["sh", "-c", shell, *first.command]), second]

    monkeypatch.setattr(gpu, "contenders", with_one_that_dies)
    assert bench.run() == 1
    rows = bench.rows()
    assert rows["onnxruntime"]["error"].startswith("onnxruntime ended with exit code 0")
    assert len(rows["openvino"]["timing"]["all_samples_ms"]) == 2


def test_nothing_begins_after_the_minutes_are_over(bench: Bench) -> None:
    assert bench.run("--minutes", "0") == 3
    assert bench.started == []


def test_a_start_that_takes_too_long_is_a_failed_row(bench: Bench) -> None:
    assert bench.run("--start-seconds", "0.01", engines=("onnxruntime",)) == 1
    assert "gave no answer in 0 s and was killed" in bench.rows()["onnxruntime"]["error"]


@pytest.mark.skipif(nvidia.driver_fault() is None, reason="there is a GPU")
def test_without_a_gpu_it_says_so_before_it_does_anything(bench: Bench) -> None:
    with pytest.raises(SystemExit, match="no NVIDIA driver"):
        bench.run(engines=("cuda",))
    assert not (bench.folder / "out").exists()


def test_results_of_another_machine_are_not_mixed_in(tmp_path: Path) -> None:
    results = Results(tmp_path, MACHINE)
    results.group(PVT, 8)["cuda"] = {"error": ""}
    results.save()
    assert Results(tmp_path, {**MACHINE, "driver": "newer"}).rows == results.rows
    with pytest.raises(SystemExit, match=r"device 'NVIDIA H200', here 'NVIDIA L4'\); name another --out"):
        Results(tmp_path, {**MACHINE, "device": "NVIDIA L4"})


def test_the_table_has_images_a_second_and_ratios_to_eager(tmp_path: Path) -> None:
    results = Results(tmp_path, MACHINE)
    group = results.group("pvt_v2_b0", 8)
    group[EAGER] = {"timing": {"min_ms": 8.0, "median_ms": 16.0}, "start_s": 1.0, "second_start_s": None}
    nodes = {"TensorrtExecutionProvider": 1, "CUDAExecutionProvider": 2}
    group["tensorrt"] = {
        "timing": {"min_ms": 2.0, "median_ms": 4.0}, "start_s": 60.5, "second_start_s": 1.25, "build_s": 59.0,
        "max_abs": {"logits": 1e-5, "embedding": 2e-5}, "relative": 2e-5, "top1": True, "nodes": nodes,
    }  # fmt: skip
    results.group("pvt_v2_b0", 1)["cuda"] = {"error": "no | GPU"}
    lines = results.table().splitlines()[2:]
    assert lines == [
        "| pvt_v2_b0 | 1 | cuda |  |  |  |  |  |  |  |  | no \\| GPU |",
        "| pvt_v2_b0 | 8 | tensorrt | 2.0e-05 | 4000.0 | 2000.0 | 4.00 | 59.0 | 60.50 | 1.25 | Tensorrt 1, CUDA 2 |  |",
        "| pvt_v2_b0 | 8 | PyTorch eager |  | 1000.0 | 500.0 | 1.00 |  | 1.00 |  |  |  |",
    ]
    assert images_per_second({}, 8) is None


def test_differences_see_every_row_nan_and_another_class() -> None:
    reference = {"logits": np.array([[0.0, 10.0], [3.0, 1.0]]), "embedding": np.ones((2, 3))}
    outputs = {"logits": np.resize(reference["logits"], (4, 2)).copy(), "embedding": np.ones((4, 3))}
    assert differences(outputs, reference) == {"max_abs": {"logits": 0, "embedding": 0}, "relative": 0, "top1": True}
    outputs["logits"][2, 1] += 0.011
    found = differences(outputs, reference)
    assert found["relative"] == pytest.approx(0.001)
    assert shortcomings("cuda", found) == ["differs by 1.0e-03 (1 + |reference|), at most 0.0001"]
    outputs["logits"][3] = 1.0, 3.0
    assert "another best class" in shortcomings(EAGER, differences(outputs, reference))
    outputs["embedding"][3, 2] = np.nan
    assert shortcomings("cuda", differences(outputs, reference))[0].startswith("differs by nan")
    with pytest.raises(ValueError, match="logits: shape"):
        differences({"logits": np.ones((4, 3))}, reference)


@pytest.mark.parametrize(("size", "count"), [(1, 6), (4, 2), (8, 1)])
def test_batches_have_every_vector_in_order(tmp_path: Path, size: int, count: int) -> None:
    images = np.arange(6 * 3 * 2 * 2, dtype=np.float32).reshape(6, 3, 2, 2)
    np.savez(tmp_path / "v.npz", **{INPUT_NAME: images})
    found = batches(tmp_path / "v.npz", size)
    assert [batch.shape for batch in found] == [(size, 3, 2, 2)] * count
    together = np.concatenate(found)
    np.testing.assert_array_equal(together[:6], images)
    np.testing.assert_array_equal(together[6:], images[: len(together) - 6])
