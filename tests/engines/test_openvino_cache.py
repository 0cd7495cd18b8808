"""What the OpenVINO engine compiles and keeps: used again, never where it does not fit, built anew when damaged."""

from __future__ import annotations

import dataclasses
import logging
import os
import stat
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny import tiny_outputs

from onnxzoo.artifact.folder import INPUT_NAME

pytest.importorskip("openvino")

from openvino_engine import NANO, engine_for, images

from onnxzoo.cpu import cpu
from onnxzoo.engines import openvino_compile
from onnxzoo.engines.openvino import OpenVINOEngine
from onnxzoo.engines.openvino_compile import BLOB
from onnxzoo.engines.options import EngineOptions
from onnxzoo.engines.protocol import CachedEngine, ModelFile, Selection
from onnxzoo.errors import EngineError, InputError
from onnxzoo.loading import load


def blobs(folder: Path) -> list[Path]:
    return sorted(folder.rglob(BLOB))


def test_nothing_is_written_for_the_cpu_unless_asked_for(model_file, cache):
    engine_for(model_file).run({INPUT_NAME: images(8)})
    assert list(cache.iterdir()) == []


@pytest.mark.slow
def test_what_warming_kept_is_used_without_the_onnx_file(tmp_path, cache, compiled_sizes):
    file = tmp_path / "model.onnx"
    file.write_bytes(NANO.read_bytes())
    sha256 = ModelFile(file).digest()
    engine = engine_for(file, batch_size=8)
    assert isinstance(engine, CachedEngine)
    built = engine.warm()
    assert [(one.batch_size, one.found) for one in built] == [(8, False), (1, False)]
    assert all(one.folder.is_relative_to(cache / "engines" / "openvino") and one.seconds > 0 for one in built)
    assert [one.found for one in engine.warm()] == [True, True]
    assert len(blobs(cache)) == 2
    expected = engine.run({INPUT_NAME: images(9)})

    file.write_bytes(b"no longer a model")
    again = OpenVINOEngine.open(
        ModelFile(file, sha256), options=EngineOptions(batch_size=8), device=None, selection=Selection()
    )
    assert again.inputs == engine.inputs
    assert again.info == engine.info
    outputs = again.run({INPUT_NAME: images(9)})
    assert outputs.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(outputs[name], value)
    # A size that is not in the cache has to come from the file, which is another by now.
    again.run({INPUT_NAME: images(2)})
    with pytest.raises(EngineError, match=r"model\.onnx was replaced since it was loaded; load the model again"):
        again.run({INPUT_NAME: images(2)})


@pytest.mark.parametrize(
    "other",
    [{"precision": "auto"}, {"threads": 1}, {"hint": "throughput"}, {"batch_size": 4}],
    ids=lambda options: next(iter(options)),
)
def test_other_options_are_other_entries(model_file, cache, other):
    engine_for(model_file, batch_size=1).warm()
    assert len(blobs(cache)) == 1
    engine_for(model_file, **{"batch_size": 1, **other}).warm()
    assert len(blobs(cache)) >= 2


@pytest.mark.parametrize(
    "changes",
    [{"instruction_sets": ("avx2",)}, {"instruction_sets": None}, {"cores": 4096}, {"name": "another"}],
    ids=lambda changes: next(iter(changes)),
)
def test_what_another_processor_compiled_is_not_used(model_file, cache, monkeypatch, changes):
    """A folder on a network is shared: machine code for instructions that are not here ends the process."""
    here = dataclasses.replace(cpu(), instruction_sets=("avx2", "fma"))
    monkeypatch.setattr(openvino_compile, "cpu", lambda: here)
    engine_for(model_file, batch_size=1).warm()
    assert [one.found for one in engine_for(model_file, batch_size=1).warm()] == [True]
    monkeypatch.setattr(openvino_compile, "cpu", lambda: dataclasses.replace(here, **changes))
    assert [one.found for one in engine_for(model_file, batch_size=1).warm()] == [False]
    assert len(blobs(cache)) == 2


def test_another_version_of_openvino_does_not_use_the_entry(model_file, cache, monkeypatch):
    import openvino

    engine_for(model_file, batch_size=1).warm()
    monkeypatch.setattr(openvino, "__version__", "2099.1.0-1")
    assert [one.found for one in engine_for(model_file, batch_size=1).warm()] == [False]
    assert len(blobs(cache)) == 2


def flip(path: Path, at: float) -> None:
    path.chmod(stat.S_IRUSR | stat.S_IWUSR)
    data = bytearray(path.read_bytes())
    middle = int(len(data) * at)
    data[middle : middle + 64] = os.urandom(64)
    path.write_bytes(data)


def truncate(path: Path, at: float) -> None:
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * at)])


@pytest.mark.slow
@pytest.mark.parametrize(("damage", "at"), [(flip, 0.5), (flip, 0.01), (flip, 0.999), (truncate, 0.5), (truncate, 0)])
def test_a_damaged_entry_is_thrown_away_and_built_again(cache, caplog, damage, at):
    expected = engine_for(NANO, batch_size=1).run({INPUT_NAME: images(1)})["logits"]
    engine_for(NANO, batch_size=1).warm()
    (blob,) = blobs(cache)
    whole = blob.stat().st_size
    damage(blob, at)
    with caplog.at_level(logging.WARNING):
        engine = engine_for(NANO, batch_size=1)
    assert f"the compiled model in {blob.parent} is thrown away and built again: {BLOB} was altered" in caplog.text
    np.testing.assert_array_equal(engine.run({INPUT_NAME: images(1)})["logits"], expected)
    # Not to the byte: OpenVINO numbers the operations of a process through, and writes the numbers.
    assert blob.stat().st_size == pytest.approx(whole, rel=0.01)
    caplog.clear()
    engine_for(NANO, batch_size=1)
    assert caplog.text == ""


@pytest.mark.slow
def test_an_entry_that_openvino_does_not_take_is_built_again(cache, caplog, monkeypatch):
    """As after a change of machine that the key knows nothing of: whole by its checksums, and useless."""
    engine_for(NANO, batch_size=1).warm()

    def reject(*_: Any) -> Any:
        raise RuntimeError("Exception from src/plugin.cpp:1: requirements differ")

    import openvino

    with monkeypatch.context() as patch, caplog.at_level(logging.WARNING):
        patch.setattr(openvino.Core, "import_model", reject)
        engine = engine_for(NANO, batch_size=1)
    assert "is thrown away and built again: openvino does not take" in caplog.text
    assert "requirements differ" in caplog.text
    assert np.isfinite(engine.run({INPUT_NAME: images(1)})["logits"]).all()


@pytest.mark.skipif(sys.platform == "win32", reason="folders have no such mode")
def test_a_cache_that_cannot_be_written(model_file, cache, caplog, monkeypatch):
    (cache / "engines").write_text("a file where the folder should be", encoding="utf-8")
    engine = engine_for(model_file, batch_size=2)
    engine.run({INPUT_NAME: images(5)})
    assert caplog.text == ""  # nothing is kept for the CPU
    for named in (None, cache / "engines"):
        with pytest.raises(
            InputError, match=rf"the cache folder {cache}/engines cannot be written \(.*\); name another"
        ):
            engine_for(model_file, batch_size=2, cache=named).warm()


@pytest.mark.slow
def test_without_a_place_for_a_cache_a_shipped_model_runs(monkeypatch, caplog):
    monkeypatch.setenv("ONNXZOO_CACHE", "~no such user/x")
    with load("pvt_v2_nano_fashion", engine="openvino") as model:
        assert model.logits(np.zeros((1, 3, model.image_size, model.image_size), np.float32)).shape == (1, 10)
    assert not caplog.records
    monkeypatch.setattr("onnxzoo.engines.openvino_device.SLOW_TO_COMPILE", ("CPU",))
    with caplog.at_level("WARNING"):
        engine_for(NANO).run({INPUT_NAME: images(1)})
    assert "cannot be written" in caplog.text
    assert "set ONNXZOO_CACHE to a folder of yours" in caplog.text
    with pytest.raises(InputError, match="cannot be written"):
        engine_for(NANO).warm()


def test_a_device_that_is_slow_to_compile_for_keeps_by_itself_and_warns_once(model_file, cache, caplog, monkeypatch):
    monkeypatch.setattr("onnxzoo.engines.openvino_device.SLOW_TO_COMPILE", ("CPU",))
    engine = engine_for(model_file, batch_size=2)
    for _ in range(2):
        engine.run({INPUT_NAME: images(3)})
    assert len(blobs(cache)) == 2
    monkeypatch.setenv("ONNXZOO_CACHE", str(cache / "file" / "below"))
    (cache / "file").write_text("in the way", encoding="utf-8")
    with caplog.at_level(logging.WARNING):
        engine = engine_for(model_file, batch_size=2)
        for _ in range(2):
            outputs = engine.run({INPUT_NAME: images(3)})
    np.testing.assert_allclose(outputs["logits"], tiny_outputs(images(3))["logits"], rtol=1e-5, atol=1e-5)
    assert caplog.text.count("cannot be written") == 1
