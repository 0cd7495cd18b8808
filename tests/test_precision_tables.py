"""Every table that needs a value for each precision has one: adding a precision and forgetting a table fails here."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection

import pytest
from onnxzoo.validators.engine_settings import ROUNDING as ROUNDING_OF_ENGINES
from onnxzoo.validators.layer_errors import NOISE
from onnxzoo.validators.low_precision import ROUNDING, SMALLEST
from written_options import ENGINES as WITH_WRITTEN_OPTIONS
from written_options import PRECISIONS as WRITTEN

from onnxzoo.artifact.folder import MODEL_FILES
from onnxzoo.artifact.onnx_checks import CAST_TYPES
from onnxzoo.cli import download, predict, validate, warmup
from onnxzoo.cli import eval as eval_command
from onnxzoo.comparison.tolerances import TOLERANCES
from onnxzoo.cpu import INSTRUCTION_SETS, implied_precisions
from onnxzoo.engines import ENGINES, engine_class
from onnxzoo.engines.onnxruntime_tensorrt import PRECISION_FLAGS
from onnxzoo.engines.openvino import PRECISIONS as NAMED_BY_OPENVINO
from onnxzoo.engines.openvino_device import ARITHMETIC, CAPABILITIES
from onnxzoo.engines.options import EngineOptions
from onnxzoo.engines.provider_options import TENSORRT, TYPES
from onnxzoo.hub.inventory import LAYOUT
from onnxzoo.hub.package import FIXED
from onnxzoo.precisions import AUTO_PRECISION, FP32, LOW_PRECISIONS, PRECISIONS, REQUESTS

FLOATS = {name for name, one in PRECISIONS.items() if one.rounding is not None}


def computed_by(engine: str) -> set[str]:
    """What an engine says that it computes in, without `auto`, which is no precision."""
    return set(engine_class(engine).FILES) - {AUTO_PRECISION}


# Table -> (its keys, the precisions that it must have an entry for). Those of engines follow what the engine computes.
TABLES: dict[str, tuple[Collection[str], Collection[str]]] = {
    "what may be asked for": (REQUESTS, {*PRECISIONS, AUTO_PRECISION}),
    "low precisions": (LOW_PRECISIONS, PRECISIONS.keys() - {FP32}),
    "files of an artifact": (MODEL_FILES, {name for name, one in PRECISIONS.items() if one.file}),
    "choices of download": (
        next(option.type.choices for option in download.command.params if option.name == "precision"),
        {name for name, one in PRECISIONS.items() if one.file},
    ),
    "tolerances": (TOLERANCES, PRECISIONS.keys()),
    "noise of layers": (NOISE, PRECISIONS.keys()),
    "rounding in engines": (ROUNDING_OF_ENGINES.keys() - {"tf32"}, FLOATS - {FP32}),
    "rounding of constants": (ROUNDING.keys() - {"float64"}, {PRECISIONS[name].dtype for name in FLOATS}),
    "smallest constants": (SMALLEST, {one.dtype for one in PRECISIONS.values()}),
    "faster on some processor": (
        implied_precisions(INSTRUCTION_SETS),
        {name for name, one in PRECISIONS.items() if one.instruction_sets},
    ),
    "OpenVINO's arithmetic": (ARITHMETIC, computed_by("openvino")),
    "OpenVINO's capabilities": (CAPABILITIES, computed_by("openvino")),
    "OpenVINO's names": (NAMED_BY_OPENVINO, set(ARITHMETIC.values())),
    "TensorRT's flags": (PRECISION_FLAGS, computed_by("tensorrt") - MODEL_FILES.keys()),
    "computed by some engine": (set().union(*map(computed_by, ENGINES)), PRECISIONS.keys()),
    "files that some engine runs": (
        {file for engine in ENGINES for files in engine_class(engine).FILES.values() for file in files},
        MODEL_FILES.keys(),
    ),
    **{
        f"written options of {engine}": (set(WRITTEN[provider]) - {AUTO_PRECISION}, computed_by(engine))
        for provider, engine in WITH_WRITTEN_OPTIONS.items()
    },
}


@pytest.mark.parametrize("table", TABLES)
def test_every_table_has_every_precision(table):
    keys, wanted = TABLES[table]
    assert set(keys) == set(wanted)


@pytest.mark.parametrize("name", PRECISIONS)
def test_a_record_is_whole_and_fits_those_who_read_it(name):
    one = PRECISIONS[name]
    assert one.name == name
    assert EngineOptions(name).precision == name
    assert one.element_types
    assert one.element_types <= CAST_TYPES
    assert one.instruction_sets <= INSTRUCTION_SETS.keys()
    assert (one.snr_db is None) == (name == FP32)
    assert one.file is None or (one.file in LAYOUT and FIXED[one.file] == name)
    with pytest.raises(dataclasses.FrozenInstanceError):
        one.file = "onnx/other.onnx"


@pytest.mark.parametrize("key", ["file", "dtype", "element_types"])
def test_no_two_records_share_what_tells_them_apart(key):
    values = [getattr(one, key) for one in PRECISIONS.values() if getattr(one, key) is not None]
    assert len(set(values)) == len(values)


@pytest.mark.parametrize("key", ["rounding", "tolerance", "layer_noise"])
def test_records_go_from_fine_to_coarse(key):
    values = [getattr(one, key) for one in PRECISIONS.values() if getattr(one, key) is not None]
    assert values == sorted(values)


def test_auto_is_a_request_and_no_precision():
    assert AUTO_PRECISION not in PRECISIONS
    assert all(AUTO_PRECISION in engine_class(engine).FILES for engine in ENGINES)


def test_the_flags_of_tensorrt_are_options_that_it_takes():
    assert set(PRECISION_FLAGS.values()) <= TYPES[TENSORRT].keys()


@pytest.mark.parametrize("module", [predict, eval_command, warmup])
def test_help_names_everything_that_may_be_asked_for(module):
    text = next(option.help for option in module.command.params if option.name == "precision")
    assert [word for word in REQUESTS if word not in text] == []


def test_the_help_of_validate_gives_every_tolerance():
    text = next(option.help for option in validate.command.params if option.name == "tolerance")
    assert [name for name in PRECISIONS if f"{name} {TOLERANCES[name].value:g}" not in text] == []
