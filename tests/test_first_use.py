"""Proof on first use: an engine is used when it has given a model's recorded outputs on this machine."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from artifacts import announce, configure
from fake_onnxruntime import L40S
from quantizing import write_colours
from tiny import tiny_outputs

from onnxzoo import load
from onnxzoo.artifact.folder import CONFORMANCE_FILE, Artifact, read_artifact
from onnxzoo.artifact.vectors import read_vectors
from onnxzoo.cpu import cpu
from onnxzoo.engines import EngineOptions, onnxruntime
from onnxzoo.engines.fake import FakeEngine
from onnxzoo.engines.onnxruntime import OnnxRuntimeEngine
from onnxzoo.engines.onnxruntime_engine import SessionEngine
from onnxzoo.engines.protocol import ModelFile
from onnxzoo.errors import ArtifactError, EngineError, EngineUnavailableError, WrongResultsError
from onnxzoo.first_use import FirstUse, tolerance_in
from onnxzoo.precisions import PRECISIONS
from onnxzoo.results import Array
from onnxzoo.source import Source
from onnxzoo.verdicts import verdicts_dir

pytest.importorskip("onnxruntime", reason="needs the cpu extra")

Outputs = dict[str, Array]


@pytest.fixture
def colours(tmp_path: Path) -> Path:
    """The colour classifier with four recorded inputs."""
    return write_colours(tmp_path / "colours")


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The batch sizes of all runs of ONNX Runtime's engines, in order."""
    return change_results(monkeypatch, lambda outputs: outputs)


def change_results(monkeypatch: pytest.MonkeyPatch, change: Callable[[Outputs], Outputs]) -> list[int]:
    """Have ONNX Runtime's engines compute something else; the batch sizes of their runs."""
    sizes: list[int] = []
    right = SessionEngine.run

    def run(self: SessionEngine, feeds: Any) -> Outputs:
        sizes.append(len(next(iter(feeds.values()))))
        return change(right(self, feeds))

    monkeypatch.setattr(SessionEngine, "run", run)
    return sizes


def other_classes(outputs: Outputs) -> Outputs:
    """Every class takes the logit of the next one."""
    return {**outputs, "logits": np.roll(outputs["logits"], 1, axis=1)}


def check(artifact: Artifact, engine: FakeEngine, *, precision: str = "fp32", **options: Any) -> FirstUse:
    """Verify an engine without a library."""
    first_use = FirstUse(artifact, lambda: read_vectors(artifact), EngineOptions(**options))
    first_use(engine, ModelFile(artifact.folder / "onnx/model.onnx", "0" * 64, precision))
    return first_use


def test_the_first_load_runs_the_recorded_inputs_and_no_later_one_runs_or_reads_them(
    colours: Path, runs: list[int], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with load(colours, engine="onnxruntime") as model:
        first = model.engine
    assert first.verified is True
    assert first.verification.startswith("verified now (20")
    assert "with 2 recorded inputs at batch size 1 and 2: largest difference " in first.verification
    assert first.verification.endswith(", 2 of 2 best classes agree")
    assert runs == [1, 2]
    monkeypatch.setattr(Source, "vectors", lambda self: pytest.fail("they are not needed"))
    with load(colours, engine="onnxruntime", threads=1, batch_size=3) as model:
        assert model.engine == replace(first, verification=first.verification.replace("now", "before"))
    assert runs == [1, 2]
    assert caplog.text == ""


@pytest.mark.parametrize("changed", ["library", "processor", "model", "vectors"])
def test_what_the_verdict_depends_on_is_verified_anew(
    colours: Path, runs: list[int], monkeypatch: pytest.MonkeyPatch, changed: str
) -> None:
    load(colours, engine="onnxruntime").close()
    if changed == "library":
        monkeypatch.setattr("onnxruntime.__version__", "99.0.0")
    elif changed == "processor":
        monkeypatch.setattr(onnxruntime, "cpu", lambda: replace(cpu(), name="another"))
    elif changed == "model":
        with (colours / "onnx/model.onnx").open("ab") as file:
            file.write(b"\x12\x01x")  # the producer's name, once more
        announce(colours, "onnx/model.onnx")
    else:
        with np.load(colours / CONFORMANCE_FILE) as arrays:
            np.savez(colours / CONFORMANCE_FILE, **arrays)
        announce(colours, CONFORMANCE_FILE)
    load(colours, engine="onnxruntime").close()
    assert runs == [1, 2, 1, 2]


def test_a_new_driver_is_verified_anew(colours: Path, ort: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from onnxzoo.engines import nvidia

    for driver, when in (("580.65.06", "now"), ("580.65.06", "before"), ("580.95.05", "now")):
        monkeypatch.setattr(nvidia, "gpu", lambda index=0, driver=driver: replace(L40S, driver=driver))
        with load(colours, engine="cuda") as model:
            assert model.engine.verification.startswith(f"verified {when}")
            assert "with 4 recorded inputs at batch size 1 and 4" in model.engine.verification


@pytest.mark.parametrize("engine", ["tensorrt", "tensorrt-rtx"])
def test_every_compiled_engine_of_a_gpu_is_verified(colours: Path, ort: Any, engine: str) -> None:
    for batch_size, when, sizes in ((8, "now", "1 and 4"), (8, "before", "1 and 4"), (2, "now", "1 and 2")):
        with load(colours, engine=engine, batch_size=batch_size) as model:
            assert model.engine.verification.startswith(f"verified {when}")
            assert f"at batch size {sizes}:" in model.engine.verification


def test_a_device_that_is_wrong_is_refused_with_the_figures(colours: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = change_results(monkeypatch, other_classes)
    closed: list[OnnxRuntimeEngine] = []
    monkeypatch.setattr(OnnxRuntimeEngine, "close", lambda self: closed.append(self))
    for _ in range(2):  # what was wrong is tried again: its driver may be another one by then
        with pytest.raises(WrongResultsError) as raised:
            load(colours, engine="onnxruntime")
        message = str(raised.value)
        assert message.startswith("onnxruntime ")
        assert " gives wrong results on CPU in fp32: at batch size 2, the largest difference to the " in message
        assert "(tolerance 0.0001) and 0 of 2 best classes agree; use another engine or device" in message
        assert message.endswith("(verify=False, --no-verify, skips this check)")
    assert (runs, len(closed)) == ([1, 2, 1, 2], 2)
    assert not verdicts_dir().exists()


def test_auto_passes_on_and_says_so(
    colours: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("openvino")
    change_results(monkeypatch, other_classes)
    monkeypatch.setenv("ONNXZOO_ENGINE", "onnxruntime,openvino")
    with load(colours) as model:
        info = model.engine
    assert (info.name, info.verified) == ("openvino", True)
    assert "; skipped onnxruntime: onnxruntime " in info.reason
    assert "0 of 2 best classes agree" in info.reason
    assert info.considered[0][0] == "onnxruntime"
    monkeypatch.setenv("ONNXZOO_ENGINE", "onnxruntime")
    with pytest.raises(EngineUnavailableError, match=r"no engine of ONNXZOO_ENGINE=onnxruntime can run .* wrong"):
        load(colours)


def test_a_gpu_that_is_wrong_is_warned_about(
    colours: Path, ort: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("openvino")
    change_results(monkeypatch, other_classes)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    with load(colours) as model:
        assert model.engine.name == "openvino"
        assert "cuda: cuda 1.31.1 gives wrong results on cuda:0 NVIDIA L40S in fp32" in model.engine.reason
        assert "0 of 4 best classes agree" in model.engine.reason
    assert "a GPU is here but cuda cannot be used: cuda 1.31.1 gives wrong results on cuda:0 NVIDIA L40S" in caplog.text


def test_what_is_skipped_knowingly_is_said(colours: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = change_results(monkeypatch, other_classes)
    with load(colours, engine="onnxruntime", verify=False) as model:
        assert (model.engine.verified, model.engine.verification) == (False, "skipped: verify=False")
    assert (runs, verdicts_dir().exists()) == ([], False)


def test_an_engine_that_fails_on_the_recorded_inputs_is_left_open_by_nobody(
    colours: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(outputs: Outputs) -> Outputs:
        raise EngineError("the device was lost")

    change_results(monkeypatch, failing)
    closed: list[OnnxRuntimeEngine] = []
    monkeypatch.setattr(OnnxRuntimeEngine, "close", lambda self: closed.append(self))
    with pytest.raises(EngineError, match="the device was lost"):
        load(colours, engine="onnxruntime")
    assert len(closed) == 1
    pytest.importorskip("openvino")
    monkeypatch.setenv("ONNXZOO_ENGINE", "onnxruntime,openvino")
    with load(colours) as model:
        assert "skipped onnxruntime: the device was lost" in model.engine.reason


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_wrong(colours: Path, value: float) -> None:
    def compute(images: Array) -> Outputs:
        return {**tiny_outputs(images), "embedding": np.full((len(images), 3), value, np.float32)}

    with pytest.raises(WrongResultsError, match=r"at batch size 2, 'embedding' holds NaN or infinity in rows \[0"):
        check(read_artifact(colours), FakeEngine(compute))


@pytest.mark.parametrize("wrong_at", [1, 2])
def test_an_engine_that_is_wrong_at_one_batch_size_is_refused(colours: Path, wrong_at: int) -> None:
    def compute(images: Array) -> Outputs:
        outputs = tiny_outputs(images)
        return {**outputs, "logits": outputs["logits"] + np.float32(len(images) == wrong_at)}

    with pytest.raises(WrongResultsError, match=rf"at batch size {wrong_at}, the largest difference .* is 1 \("):
        check(read_artifact(colours), FakeEngine(compute))


def test_an_order_that_is_mixed_up_in_batches_is_wrong(colours: Path) -> None:
    def compute(images: Array) -> Outputs:
        return {name: values[::-1] for name, values in tiny_outputs(images).items()}

    with pytest.raises(WrongResultsError, match="at batch size 2, the largest difference"):
        check(read_artifact(colours), FakeEngine(compute))


def test_outputs_of_another_shape_are_wrong(colours: Path) -> None:
    def compute(images: Array) -> Outputs:
        return {name: values[:, len(images) - 1 :] for name, values in tiny_outputs(images).items()}

    with pytest.raises(WrongResultsError, match=r"'logits' has the shape|differ in name or shape"):
        check(read_artifact(colours), FakeEngine(compute))


def test_no_batch_is_larger_than_the_engine_takes_or_the_user_expects(colours: Path) -> None:
    artifact = read_artifact(colours)
    for options, most, sizes in (({}, None, [1, 2]), ({}, 1, [1, 1]), ({"batch_size": 1}, None, [1, 1])):
        engine = FakeEngine(tiny_outputs, max_batch=most)
        for verdict in verdicts_dir().glob("*/*"):
            verdict.unlink()
        assert check(artifact, engine, **options).verification.verified
        assert engine.batches == sizes


def test_low_precision_is_compared_on_all_inputs_with_its_own_tolerance(colours: Path) -> None:
    def noisy(images: Array) -> Outputs:
        noise = np.random.default_rng(0).normal(0, 0.05, (len(images), 4)).astype(np.float32)
        outputs = tiny_outputs(images)
        return {**outputs, "logits": outputs["logits"] + noise}

    engine = FakeEngine(noisy)
    engine._info = replace(engine._info, precision="int8")
    first_use = check(read_artifact(colours), engine, precision="int8")
    assert "with 4 recorded inputs at batch size 1 and 4" in first_use.verification.verification
    with pytest.raises(WrongResultsError, match=r"tolerance 0\.0001"):
        check(read_artifact(colours), FakeEngine(noisy))


def test_noise_beyond_the_limit_is_wrong_though_no_value_is(colours: Path) -> None:
    artifact = read_artifact(colours)
    limit = PRECISIONS["int8"].tolerance

    def noisy(images: Array) -> Outputs:
        outputs = tiny_outputs(images)
        signs = np.where(np.arange(3) % 2, 1, -1) * limit * 0.5
        return {**outputs, "embedding": outputs["embedding"] + signs.astype(np.float32)}

    engine = FakeEngine(noisy)
    engine._info = replace(engine._info, precision="int8")
    with pytest.raises(WrongResultsError, match=r"'embedding' has a signal-to-noise ratio of .* expected at least 23"):
        check(artifact, engine, precision="int8")


def test_arithmetic_that_is_no_precision_has_the_tolerance_of_bf16() -> None:
    for arithmetic, file, expected in (
        ("fp32", "fp32", "fp32"),
        ("fp16", "fp32", "fp16"),
        ("fp32", "fp16", "fp16"),
        ("tf32", "fp32", "bf16"),
        ("CoreMLExecutionProvider's choice", "fp32", "bf16"),
        ("CoreMLExecutionProvider's choice", "int8", "int8"),
    ):
        assert tolerance_in(arithmetic, file).value == PRECISIONS[expected].tolerance


@pytest.mark.parametrize("given", ["none", "missing", "damaged"])
def test_an_artifact_without_recorded_outputs(
    colours: Path, runs: list[int], given: str, caplog: pytest.LogCaptureFixture
) -> None:
    if given == "none":
        config = json.loads((colours / "config.json").read_text())
        del config["files"][CONFORMANCE_FILE]
        configure(colours, files=config["files"])
    elif given == "missing":
        (colours / CONFORMANCE_FILE).unlink()
    else:
        (colours / CONFORMANCE_FILE).write_bytes(b"something else")
    if given == "damaged":
        with pytest.raises(ArtifactError, match=r"conformance\.npz has 14 bytes, expected"):
            load(colours, engine="onnxruntime")
        load(colours, engine="onnxruntime", verify=False).close()
        return
    with load(colours, engine="onnxruntime") as model:
        assert model.engine.verified is False
        assert model.engine.verification.startswith("not possible: ")
    assert runs == []
    assert ("not verified" in caplog.text) == (given == "missing")


def test_without_a_place_for_verdicts_every_load_verifies(
    colours: Path, runs: list[int], cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (cache / "verdicts").write_text("a file in its place")
    for place in (str(cache), "~no such user/x"):
        monkeypatch.setenv("ONNXZOO_CACHE", place)
        runs.clear()
        for _ in range(2):
            with load(colours, engine="onnxruntime") as model:
                assert model.engine.verified is True
                assert "; it cannot be kept (" in model.engine.verification
                assert "set ONNXZOO_CACHE to a folder of yours" in model.engine.verification
        assert runs == [1, 2, 1, 2]
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_a_verdict_that_cannot_be_read_is_made_anew(colours: Path, runs: list[int]) -> None:
    load(colours, engine="onnxruntime").close()
    (path,) = verdicts_dir().glob("*/*.json")
    whole = path.read_bytes()
    forged = json.loads(whole)
    forged["key"]["model_sha256"] = "0" * 64
    for content in (b"", b"{", whole[:-20], b"[]", b"{}", json.dumps(forged).encode(), b" " * 2**17 + whole):
        path.write_bytes(content)
        runs.clear()
        load(colours, engine="onnxruntime").close()
        assert runs == [1, 2]
        assert json.loads(path.read_bytes())["key"] == json.loads(whole)["key"]


def test_loads_at_once_all_verify_and_one_verdict_is_left(colours: Path) -> None:
    def loaded(_number: int) -> bool | None:
        with load(colours, engine="onnxruntime") as model:
            return model.engine.verified

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(loaded, range(8))) == [True] * 8
    assert len([path for path in verdicts_dir().rglob("*") if path.is_file()]) == 1


def test_the_reference_need_not_be_verified(colours: Path, monkeypatch: pytest.MonkeyPatch, runs: list[int]) -> None:
    monkeypatch.setattr("onnxzoo.loading._reference", lambda *_: (FakeEngine(tiny_outputs), "0" * 64))
    with load(colours, engine="exact") as model:
        assert model.engine.verified is None
        assert model.engine.verification == "not needed: the engine is the reference itself"


def test_a_wrong_int8_file_is_left_for_fp32_by_precision_auto(
    colours: Path, vnni: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (colours / "onnx/model_int8.onnx").write_bytes((colours / "onnx/model.onnx").read_bytes())
    announce(colours, "onnx/model_int8.onnx", precision="int8")
    monkeypatch.setattr(
        "onnxzoo.engines.without_int8", lambda *_: (False, "auto: int8, which avx512_vnni makes faster")
    )
    with load(colours, engine="onnxruntime", precision="auto") as model:
        assert (model.engine.precision, model.engine.verified) == ("int8", True)
    right = SessionEngine.run

    def run(self: SessionEngine, feeds: Any) -> Outputs:
        outputs = right(self, feeds)
        return other_classes(outputs) if self.info.precision == "int8" else outputs

    monkeypatch.setattr(SessionEngine, "run", run)
    monkeypatch.setattr("onnxruntime.__version__", "99.0.0")
    with load(colours, engine="onnxruntime", precision="auto") as model:
        assert (model.engine.precision, model.engine.verified) == ("fp32", True)
        assert "; auto: not int8, as onnxruntime 99.0.0 gives wrong results on CPU in int8" in model.engine.reason
        assert "avx512_vnni makes faster" not in model.engine.reason
    assert "gives wrong results on CPU in int8" in caplog.text
    with pytest.raises(WrongResultsError, match=r"on CPU in int8: at batch size 4, .* 0 of 4 best classes agree"):
        load(colours, engine="onnxruntime", precision="int8")
