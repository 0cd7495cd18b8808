"""Compiling ahead as library code: one result for each batch size, as soon as it is there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from onnxzoo.engines.openvino_compile import BLOB
from onnxzoo.errors import InputError
from onnxzoo.warmup import as_dict, kept_bytes, warm


def test_each_batch_size_gives_a_result_when_it_is_ready(tiny: Path, cache: Path) -> None:
    results = warm(tiny, [1, 8, 1], engine="openvino", hint="latency")
    first = next(results)
    assert (first.model, first.engine.name, first.batch_size) == ("tiny", "openvino", 1)
    assert [(one.batch_size, one.found) for one in first.kept] == [(1, False)]
    assert len(list((cache / "engines").rglob(BLOB))) == 1, "the second is not compiled before it is asked for"
    second, third = results
    assert [one.batch_size for one in second.kept] == [8]
    assert third.kept == (), "what one batch size keeps, another does not count again"
    document = as_dict([first, second, third])
    assert json.loads(json.dumps(document))["kept"] == document["kept"]
    assert [one["bytes"] for one in document["kept"]] == [kept_bytes(one) for one in (*first.kept, *second.kept)]


def test_everything_is_checked_before_the_first_is_compiled(tiny: Path, cache: Path) -> None:
    for sizes, options in (([1, 0], {}), ([1], {"precision": "fp5"}), ([1], {"engine": "openvno"})):
        with pytest.raises(InputError):
            warm(tiny, sizes, **options)
    assert not (cache / "engines").exists()
    assert list(warm(tiny, [])) == []


def test_an_engine_that_compiles_nothing_says_so(tiny: Path, cache: Path) -> None:
    pytest.importorskip("onnxruntime")
    (result,) = warm(tiny, [4], engine="onnxruntime")
    assert result.kept == ()
    assert not (cache / "engines").exists()
