"""Engines: the same numbers from each, strict when named, honest when chosen automatically."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from onnx import TensorProto, helper
from tiny import tiny_graph, tiny_outputs

from onnxzoo.artifact.folder import INPUT_NAME
from onnxzoo.engines import create_engine
from onnxzoo.engines.fake import FakeEngine
from onnxzoo.errors import EngineError, EngineUnavailableError, InputError

# Those that run anywhere; the others are in test_engines_nvidia*.py and test_engines_gpu.py.
NAMES = ["openvino", "onnxruntime"]


@pytest.fixture(params=NAMES)
def engine_name(request: pytest.FixtureRequest) -> str:
    pytest.importorskip(request.param)
    return str(request.param)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_agrees_with_numpy_at_every_batch_size(engine_name, model_file, batch, size):
    engine = create_engine(engine_name, model_file)
    outputs = engine.run({INPUT_NAME: batch[:size]})
    expected = tiny_outputs(batch[:size])
    assert outputs.keys() == expected.keys()
    for name in expected:
        assert outputs[name].dtype == np.float32
        np.testing.assert_allclose(outputs[name], expected[name], rtol=1e-5, atol=1e-5)


def test_describes_itself_and_its_input(engine_name, model_file):
    engine = create_engine(engine_name, model_file)
    info = engine.info
    assert (info.name, info.device, info.precision, info.reason) == (engine_name, "CPU", "fp32", "requested")
    assert info.version[0].isdigit()
    assert {name: (spec.shape, spec.dtype) for name, spec in engine.inputs.items()} == {
        INPUT_NAME: ((None, 3, 32, 32), "float32")
    }


def test_outputs_are_not_overwritten_by_the_next_run(engine_name, model_file, batch):
    engine = create_engine(engine_name, model_file)
    first = engine.run({INPUT_NAME: batch})
    kept = {name: value.copy() for name, value in first.items()}
    engine.run({INPUT_NAME: batch * 2})
    for name, value in first.items():
        np.testing.assert_array_equal(value, kept[name])


def test_inputs_that_are_not_contiguous_are_read_right(engine_name, model_file, batch):
    engine = create_engine(engine_name, model_file)
    turned = np.ascontiguousarray(batch.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(engine.run({INPUT_NAME: turned})["logits"], engine.run({INPUT_NAME: batch})["logits"])


def test_eight_threads_get_the_serial_answers(engine_name, model_file):
    engine = create_engine(engine_name, model_file)
    rng = np.random.default_rng(1)
    # Batches of several sizes, so that a request with another thread's shape would show.
    inputs = [rng.standard_normal((1 + i % 3, 3, 32, 32)).astype(np.float32) for i in range(400)]
    serial = [engine.run({INPUT_NAME: one})["logits"] for one in inputs]
    with ThreadPoolExecutor(8) as pool:
        parallel = list(pool.map(lambda one: engine.run({INPUT_NAME: one})["logits"], inputs))
    for one, other in zip(serial, parallel, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("feeds", "message"),
    [
        ({"picture": np.zeros((1, 3, 32, 32), np.float32)}, r"must be named \['pixel_values'\], got \['picture'\]"),
        ({INPUT_NAME: np.zeros((1, 3, 32, 32))}, "must be float32, got float64"),
        ({INPUT_NAME: np.zeros((1, 3, 32, 31), np.float32)}, r"shape \(any, 3, 32, 32\), got \(1, 3, 32, 31\)"),
        ({INPUT_NAME: np.zeros((3, 32, 32), np.float32)}, r"got \(3, 32, 32\)"),
    ],
)
def test_wrong_inputs_are_refused_before_the_library_sees_them(engine_name, model_file, feeds, message):
    with pytest.raises(InputError, match=message):
        create_engine(engine_name, model_file).run(feeds)


def test_a_file_that_is_not_a_model_is_a_one_line_engine_error(engine_name, tmp_path):
    broken = tmp_path / "model.onnx"
    broken.write_bytes(b"no model at all")
    with pytest.raises(EngineError, match=rf"{engine_name} cannot .*model\.onnx: .*[Mm]odel") as caught:
        create_engine(engine_name, broken)
    assert "\n" not in str(caught.value)
    assert "src/" not in str(caught.value)


def test_running_a_closed_engine_is_an_error(engine_name, model_file, batch):
    engine = create_engine(engine_name, model_file)
    engine.run({INPUT_NAME: batch})
    engine.close()
    engine.close()
    with pytest.raises(EngineError, match=f"the {engine_name} engine is closed"):
        engine.run({INPUT_NAME: batch})


@pytest.mark.parametrize(
    ("name", "install"),
    [
        ("onnxruntime", r"(pip uninstall -y onnxruntime && )?pip install 'onnxzoo\[cpu\]'"),
        ("openvino", "pip install openvino"),
    ],
)
def test_a_named_engine_that_is_not_installed_says_how_to_get_it(monkeypatch, model_file, name, install):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(EngineUnavailableError, match=f"{name} is not installed: {install}"):
        create_engine(name, model_file)


def test_an_engine_that_is_installed_but_broken_says_that(monkeypatch, model_file, tmp_path):
    (tmp_path / "onnxruntime.py").write_text("import a_library_that_is_not_there\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "onnxruntime", raising=False)
    with pytest.raises(EngineUnavailableError, match=r"installed but cannot be imported \(.*a_library_that"):
        create_engine("onnxruntime", model_file)


def test_auto_without_any_engine_names_them_all(monkeypatch, model_file):
    for name in NAMES:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(EngineUnavailableError, match=r"openvino is not installed.*onnxruntime is not installed"):
        create_engine("auto", model_file)


def test_auto_blames_the_model_when_every_engine_rejects_it(tmp_path):
    broken = tmp_path / "model.onnx"
    broken.write_bytes(b"no model at all")
    with pytest.raises(EngineError, match=r"no engine of .* can run .*model\.onnx"):
        create_engine("auto", broken)


def test_the_reference_does_not_run_the_onnx_file(model_file):
    with pytest.raises(InputError, match=r"'paddle' is the reference, .*use onnxzoo\.load\(..., engine='paddle'\)"):
        create_engine("paddle", model_file)


def test_a_mistyped_engine_gets_the_closest(model_file):
    with pytest.raises(InputError, match="did you mean 'openvino'"):
        create_engine("opnevino", model_file)


def test_the_graph_may_name_its_input_anything(engine_name, tmp_path, batch):
    file = tmp_path / "other.onnx"
    file.write_bytes(tiny_graph(input_name="x").SerializeToString())
    assert create_engine(engine_name, file).run({"x": batch})["logits"].shape == (3, 4)


def test_outputs_keep_their_names_where_the_library_merges_tensors(engine_name, tmp_path, batch):
    model = tiny_graph()
    model.graph.node[2].output[0] = "head"
    model.graph.node.append(helper.make_node("Identity", ["head"], ["logits"]))
    model.graph.output.append(helper.make_tensor_value_info("a_copy", TensorProto.FLOAT, ["batch", 4]))
    model.graph.node.append(helper.make_node("Identity", ["logits"], ["a_copy"]))
    file = tmp_path / "merged.onnx"
    file.write_bytes(model.SerializeToString())
    outputs = create_engine(engine_name, file).run({INPUT_NAME: batch})
    assert list(outputs) == ["logits", "embedding", "a_copy"]
    for name, expected in {**tiny_outputs(batch), "a_copy": tiny_outputs(batch)["logits"]}.items():
        np.testing.assert_allclose(outputs[name], expected, rtol=1e-5, atol=1e-5)


def test_the_fake_runs_its_function_and_fails_like_an_engine(batch):
    fake = FakeEngine(tiny_outputs)
    np.testing.assert_array_equal(fake.run({INPUT_NAME: batch})["logits"], tiny_outputs(batch)["logits"])
    assert fake.batches == [3]

    def fail(_: np.ndarray) -> dict[str, np.ndarray]:
        raise RuntimeError("out of\nmemory")

    with pytest.raises(EngineError, match="out of memory"):
        FakeEngine(fail).run({INPUT_NAME: batch})
    fake.close()
    with pytest.raises(EngineError, match="closed"):
        fake.run({INPUT_NAME: batch})


def test_a_graph_that_the_library_cannot_compile_is_an_engine_error_with_its_reason(engine_name, tmp_path):
    model = tiny_graph()
    model.graph.node[0].op_type = "Convolute"
    file = tmp_path / "model.onnx"
    file.write_bytes(model.SerializeToString())
    with pytest.raises(EngineError, match=rf"^{engine_name} cannot .*model\.onnx.*Convolute") as caught:
        create_engine(engine_name, file)
    assert "\n" not in str(caught.value)
