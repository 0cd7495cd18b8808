"""Precision `auto` on CPUs: int8 where it is known to be faster and recorded to be right, and it says why."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import pytest

from onnxzoo.cpu import INSTRUCTION_SETS, cpu
from onnxzoo.engines import ENGINES, EngineOptions, auto_precision, create_engine
from onnxzoo.engines.auto_precision import FASTER, MEASURED, Measured, faster_sets, saturates, without_int8
from onnxzoo.engines.protocol import ModelFile, ModelFiles
from onnxzoo.precisions import PRECISIONS
from onnxzoo.registry import list_models

pytest.importorskip("onnxruntime", reason="needs the cpu extra")

BOTH = {"int8": {"onnxruntime", "openvino"}}
AUTO = EngineOptions(precision="auto")


@pytest.fixture
def plain_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A CPU without VNNI."""
    found = replace(cpu(), instruction_sets=("avx2", "avx512"))
    monkeypatch.setattr(auto_precision, "cpu", lambda: found)


def files(model_file: Path, *precisions: str, proved: dict[str, set[str]] = BOTH, bits: int = 7) -> ModelFiles:
    return ModelFiles(precisions, lambda one: ModelFile(model_file, precision=one, weights_bits=bits), proved)


def test_the_rule_is_data_about_engines_and_instruction_sets_that_there_are() -> None:
    assert FASTER.keys() <= ENGINES.keys()
    assert set().union(*FASTER.values()) <= set(INSTRUCTION_SETS)
    assert set().union(*FASTER.values()) <= PRECISIONS["int8"].instruction_sets
    assert {one.model for one in MEASURED} <= set(list_models())
    expected = {"avx512_vnni", "avx_vnni", "amx_int8"}
    assert {"onnxruntime": expected, "openvino": expected} == FASTER


def test_an_instruction_set_counts_if_every_model_is_faster_by_it() -> None:
    vnni = [Measured("openvino", "avx512_vnni", "a", 2.0), Measured("openvino", "dotprod", "a", 3.0)]
    slow = Measured("openvino", "avx512_vnni", "b", 1.1)
    assert faster_sets(vnni) == {"openvino": {"avx512_vnni", "avx_vnni", "amx_int8", "dotprod"}}
    assert faster_sets([*vnni, slow]) == {"openvino": {"dotprod"}}
    assert faster_sets([Measured("openvino", "", "a", 9.0)]) == {"openvino": set()}


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime", "openvino:CPU"])
def test_int8_is_taken_where_it_is_faster_and_recorded(vnni: None, model_file: Path, engine: str) -> None:
    pytest.importorskip(engine.partition(":")[0])
    info = create_engine(engine, files(model_file, "fp32", "int8"), AUTO).info
    assert info.precision == "int8"
    assert info.reason == "requested; auto: int8, which avx512_vnni makes faster; its validation is recorded"


def test_without_vnni_it_is_fp32_and_says_so(plain_cpu: None, model_file: Path) -> None:
    info = create_engine("onnxruntime", files(model_file, "fp32", "int8"), AUTO).info
    assert info.precision == "fp32"
    assert info.reason == "requested; auto: not int8, which is not known to be faster on CPUs without VNNI"
    assert (
        create_engine("onnxruntime", files(model_file, "fp32", "int8"), EngineOptions("int8")).info.precision == "int8"
    )


@pytest.mark.parametrize("proved", [{}, {"int8": set()}, {"int8": {"openvino"}}, {"fp32": {"onnxruntime"}}])
def test_without_a_record_of_this_engine_it_is_fp32_and_says_so(
    vnni: None, model_file: Path, proved: dict[str, set[str]]
) -> None:
    info = create_engine("onnxruntime", files(model_file, "fp32", "int8", proved=proved), AUTO).info
    assert info.precision == "fp32"
    assert info.reason.endswith("auto: not int8, as no validation of that file on onnxruntime is recorded")


def test_where_there_is_no_choice_nothing_is_said(plain_cpu: None, model_file: Path) -> None:
    assert create_engine("onnxruntime", files(model_file, "fp32"), AUTO).info.reason == "requested"
    only = create_engine("onnxruntime", files(model_file, "int8"), AUTO).info
    assert (only.precision, only.reason) == ("int8", "requested")
    assert without_int8("openvino:GPU", ("fp32", "int8"), BOTH) == (False, "")
    assert without_int8("tensorrt", ("fp32", "int8"), BOTH) == (False, "")


def test_weights_of_8_bits_are_warned_about_where_they_saturate(
    plain_cpu: None, model_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    create_engine("onnxruntime", files(model_file, "int8"), EngineOptions(precision="int8"))
    assert caplog.records == []
    create_engine("onnxruntime", files(model_file, "int8", bits=8), EngineOptions(precision="int8"))
    (warned,) = caplog.records
    assert "use all 8 bits, and their products saturate on this CPU, which has no VNNI" in warned.message


def test_weights_of_8_bits_are_right_with_vnni_and_nothing_is_claimed_of_unknown_cpus(
    vnni: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not saturates("openvino", 8)
    for sets, expected in ((("avx2",), True), (("neon", "dotprod"), False), (("neon",), True), (None, False)):
        monkeypatch.setattr(auto_precision, "cpu", lambda sets=sets: replace(cpu(), instruction_sets=sets))
        assert saturates("onnxruntime", 8) is expected
        assert not saturates("onnxruntime", 7)
        assert not saturates("onnxruntime", None)
        assert not saturates("tensorrt", 8)
