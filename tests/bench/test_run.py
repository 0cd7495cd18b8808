"""Measuring with real processes: tiny models, and machines whose health the test decides."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from artifacts import copy_shipped
from hub_server import LoopbackHub
from timed import SteadyGate, busy

from onnxzoo.bench import run
from onnxzoo.bench.plan import Settings, plan
from onnxzoo.bench.result import Group
from onnxzoo.bench.timing import Gate, Worker
from onnxzoo.errors import BenchmarkError, EngineUnavailableError

pytestmark = pytest.mark.usefixtures("short_samples")
SHIPPED = "pvt_v2_nano_fashion"


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """The processes that are started; none may be left at the end, nor a file of theirs."""
    started: list[Any] = []
    real = Worker.__init__

    def init(worker: Worker, *arguments: Any, **options: Any) -> None:
        real(worker, *arguments, **options)
        started.append(worker._process)

    monkeypatch.setattr(Worker, "__init__", init)
    yield started
    assert all(process.returncode is not None for process in started)
    assert list(Path(tempfile.gettempdir()).iterdir()) == []


def measured(model: str | Path, *, gate: Gate | None = None, samples: int = 2, **options: Any) -> list[Group]:
    settings = Settings(samples=samples, threads=1, **options)
    return list(run.measure(plan([model], settings), settings, log=lambda text: None, gate=gate or SteadyGate(0.02)))


@pytest.mark.slow
def test_speed_memory_accuracy_noise_and_limit_stand_side_by_side(processes: list[Any]) -> None:
    (group,) = measured(SHIPPED, engines=("onnxruntime",), precisions=("fp32", "int8"), batch_sizes=(4,))
    assert (group.model, group.batch_size) == (SHIPPED, 4)
    fp32, int8 = group.rows
    for row, precision in ((fp32, "fp32"), (int8, "int8")):
        assert (row.contender, row.engine, row.device, row.precision) == (*["onnxruntime"] * 2, "CPU", precision)
        assert row.speed is not None
        assert 0 < row.speed.min_ms <= row.speed.p50_ms <= row.speed.p95_ms <= row.speed.p99_ms
        assert (row.speed.healthy, row.speed.samples) == (2, 2)
        assert row.load_s is not None
        assert row.first_s is not None
        assert row.load_s > row.first_s > 0
        assert row.peak_mib is None or row.peak_mib > 30
        assert row.gflops == pytest.approx(2 * 0.00480 * row.speed.images_per_second, rel=0.02)
        assert row.limit_gflops == next(one.gflops for one in group.limits if one.precision == precision)
        assert row.limit_share == pytest.approx(row.gflops / row.limit_gflops)
    assert fp32.snr_db is not None
    assert int8.snr_db is not None
    assert fp32.snr_db > 100
    assert 23 < int8.snr_db < 60
    assert fp32.accuracy is not None
    assert (fp32.accuracy.top1, fp32.accuracy.engine) == (0.9183, "onnxruntime")
    assert {(one.engine, one.precision) for one in group.limits} == {("onnxruntime", "fp32"), ("onnxruntime", "int8")}
    assert len(processes) == 4  # two of the model, two of the products


@pytest.mark.slow
def test_a_model_without_recorded_outputs_has_a_speed_all_the_same(tiny: Path, processes: list[Any]) -> None:
    (group,) = measured(tiny, engines=("onnxruntime",))
    (row,) = group.rows
    assert row.speed is not None
    assert (row.snr_db, row.accuracy, row.gflops, row.limit_share) == (None, None, None, None)


@pytest.mark.slow
def test_a_model_of_the_hub_is_downloaded_once_and_measured_from_its_cache(
    loopback: LoopbackHub, tmp_path: Path, processes: list[Any]
) -> None:
    loopback.store.add_repo("someone/fashion", copy_shipped(tmp_path / "fashion"))
    settings = Settings(engines=("onnxruntime",), samples=1, threads=1)
    planned = plan(["someone/fashion"], settings)
    loopback.log.clear()
    (group,) = run.measure(planned, settings, log=lambda text: None, gate=SteadyGate(0.02))
    assert group.rows[0].speed is not None
    assert group.rows[0].snr_db is not None
    assert group.rows[0].snr_db > 100
    assert list(loopback.log.all()) == []


@pytest.mark.slow
def test_time_from_image_files(tiny: Path, photos: Path, processes: list[Any]) -> None:
    paths = tuple(str(path) for path in sorted(photos.iterdir()))
    (group,) = measured(tiny, engines=("onnxruntime",), images=paths, batch_sizes=(3,))
    assert group.rows[0].speed is not None
    assert not group.rows[0].error


@pytest.mark.slow
def test_a_machine_that_is_never_healthy_is_measured_all_the_same_and_not_for_ever(
    tiny: Path, processes: list[Any]
) -> None:
    (group,) = measured(tiny, engines=("onnxruntime",), gate=busy(), samples=3)
    speed = group.rows[0].speed
    assert speed is not None
    assert (speed.healthy, speed.samples) == (0, 3 * run.PATIENCE)
    assert speed.p50_ms > 0


@pytest.mark.slow
def test_one_engine_that_cannot_be_used_does_not_stop_the_others(tiny: Path, processes: list[Any]) -> None:
    (group,) = measured(tiny, engines=("onnxruntime:NoSuchProvider", "onnxruntime"))
    failed, good = group.rows
    assert failed.speed is None
    assert "NoSuchProvider" in failed.error
    assert "Traceback" not in failed.error
    assert good.speed is not None


@pytest.mark.slow
def test_an_engine_that_was_not_named_and_is_not_installed_is_left_out(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, processes: list[Any]
) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "openvino.py").write_text("raise ImportError('libopenvino.so: not there')")
    monkeypatch.setenv("PYTHONPATH", str(broken))
    settings = Settings(samples=1, threads=1)
    planned = plan([tiny], settings)
    (group,) = run.measure(planned, settings, log=lambda text: None, gate=SteadyGate(0.02))
    assert [row.contender for row in group.rows] == ["onnxruntime"]
    assert "libopenvino.so: not there" in planned.skipped["openvino in fp32"]


def test_no_engine_at_all_is_an_error(tiny: Path, processes: list[Any]) -> None:
    with pytest.raises(EngineUnavailableError, match=r"no engine can be used here: onnxruntime:NoSuch\w+ in fp32: "):
        measured(tiny, engines=("onnxruntime:NoSuchProvider",))


@pytest.mark.slow
def test_one_that_fails_while_it_is_timed_is_left_out_and_the_others_are_timed_anew(
    tiny: Path, processes: list[Any]
) -> None:
    class Deadly(SteadyGate):
        """Kills the first contender at the beginning of the second round."""

        def check(self) -> float:
            if len(self.left) == 1 and processes[0].poll() is None:
                processes[0].kill()
            return super().check()

    # Two contenders and a product: six checks in the first round.
    (group,) = measured(tiny, engines=("onnxruntime", "openvino"), gate=Deadly(*[0.02] * 9))
    failed, good = group.rows
    assert (failed.speed, failed.error) == (None, "onnxruntime in fp32 ended with exit code -9")
    assert good.speed is not None
    assert good.speed.samples == 2


@pytest.mark.slow
def test_what_interrupts_the_measuring_ends_every_process(tiny: Path, processes: list[Any]) -> None:
    class Interrupted(SteadyGate):
        def check(self) -> float:
            if len(self.left) == 1:
                raise KeyboardInterrupt
            return super().check()

    with pytest.raises(KeyboardInterrupt):
        measured(tiny, engines=("onnxruntime",), gate=Interrupted(*[0.02] * 3))
    assert len(processes) == 2


def test_a_failure_of_what_was_asked_for_is_told_in_its_own_words(tiny: Path) -> None:
    settings = Settings(engines=("onnxruntime",))
    planned = plan([tiny], settings)
    (tiny / "onnx" / "model.onnx").write_bytes(b"broken since")
    with pytest.raises(EngineUnavailableError, match=r"model.onnx has \d+ bytes"):
        list(run.measure(planned, settings, log=lambda text: None, gate=SteadyGate(0.02)))


def test_a_process_that_hangs_is_given_up(tiny: Path, monkeypatch: pytest.MonkeyPatch, processes: list[Any]) -> None:
    def hangs(worker: Worker, warm_ms: float, count: int) -> list[float]:
        raise BenchmarkError(f"{worker._name} gave no answer", contender=worker._name)

    monkeypatch.setattr(Worker, "run", hangs)
    (group,) = measured(tiny, engines=("onnxruntime",))
    assert (group.rows[0].speed, group.rows[0].error) == (None, "onnxruntime in fp32 gave no answer")
