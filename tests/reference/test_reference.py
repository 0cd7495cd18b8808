"""The Paddle reference models: right against an independent implementation, trainable, strict about weights."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnxzoo.artifact.folder import INPUT_NAME
from onnxzoo.errors import CheckpointError, EngineError, InputError, MissingDependencyError
from onnxzoo.families import ModelSpec
from onnxzoo.families.pvt_v2.architecture import PvtV2Architecture
from onnxzoo.families.swinv2.architecture import SwinV2Architecture
from onnxzoo.reference.paddle.build import build_model, load_state, parameter_count, parameter_shapes
from onnxzoo.reference.paddle.engine import PaddleEngine
from onnxzoo.registry import labels, models
from onnxzoo.weights.seeded import seeded_images, seeded_state

GOLDEN = sorted((Path(__file__).parents[1] / "oracle" / "golden").glob("*.npz"))

# Stage maps of 8, 4, 2, 1 tokens a side at 32 pixels: shifted windows, one window, and a window of one token.
TINY_SWINV2 = SwinV2Architecture(
    patch_size=4, embed_dim=8, depths=(2, 2, 2, 2), num_heads=(1, 2, 2, 4), window_size=4,
    pretrained_window_sizes=(0, 0, 0, 0), mlp_ratio=2.0, drop_path_rate=0.2,
)  # fmt: skip
TINY_PVT_V2 = PvtV2Architecture(
    embed_dims=(8, 16, 16, 32), depths=(2, 1, 1, 1), num_heads=(1, 2, 2, 4), sr_ratios=(8, 4, 2, 1),
    mlp_ratios=(2, 2, 2, 2), linear=False, drop_path_rate=0.2,
)  # fmt: skip
TINY = {
    "swinv2": ModelSpec(TINY_SWINV2, 32, 5),
    "swinv2 pre-trained smaller": ModelSpec(
        dataclasses.replace(TINY_SWINV2, window_size=8, pretrained_window_sizes=(6, 6, 6, 3)), 64, 5
    ),
    "pvt_v2": ModelSpec(TINY_PVT_V2, 32, 5),
    "pvt_v2 linear": ModelSpec(dataclasses.replace(TINY_PVT_V2, linear=True), 64, 5),
}


@pytest.fixture(params=TINY.values(), ids=TINY.keys())
def spec(request: pytest.FixtureRequest) -> ModelSpec:
    chosen: ModelSpec = request.param
    return chosen


def seeded_model(spec: ModelSpec, **training_rates: float) -> Any:
    model = build_model(spec, **training_rates)
    load_state(model, seeded_state(parameter_shapes(model), seed=5))
    return model


def logits_of(model: Any, images: np.ndarray) -> np.ndarray:
    import paddle

    with paddle.no_grad():
        result: np.ndarray = model(paddle.to_tensor(images)).numpy()
    return result


@pytest.mark.paddle
@pytest.mark.parametrize(
    "path",
    [pytest.param(path, id=path.stem, marks=[pytest.mark.large] * (path.stem == "swinv2_base_w24")) for path in GOLDEN],
)
def test_outputs_equal_those_of_another_implementation(path: Path) -> None:
    golden = np.load(path)
    expected = golden["logits"]
    for name in ("logits", "embedding"):
        assert 2.5 < np.abs(golden[name]).max() < 6, "the tolerances below are meant for values of this size"
    entry = models()[path.stem]
    spec = ModelSpec(entry.architecture, entry.image_size, expected.shape[1])
    state = seeded_state(parameter_shapes(build_model(spec)), int(golden["weight_seed"]))
    engine = PaddleEngine.open(spec, state)
    images = seeded_images(entry.image_size, len(expected), int(golden["image_seed"]))
    outputs = engine.run({INPUT_NAME: images})
    np.testing.assert_allclose(outputs["logits"], expected, rtol=0, atol=1e-5)
    # Sharper, without the noise of the head's product. Measured: at most 1.7e-6, and at least 7e-6 where the
    # epsilon of some norms is wrong (1e-5 for 1e-6 or the other way round).
    np.testing.assert_allclose(outputs["embedding"], golden["embedding"], rtol=0, atol=4e-6)


def test_there_is_a_golden_file_for_every_variant() -> None:
    wanted = {"swinv2_tiny_w8", "swinv2_tiny_w16", "swinv2_base_w24", "pvt_v2_b0", "pvt_v2_b5", "pvt_v2_b2_linear"}
    assert wanted <= {path.stem for path in GOLDEN}


@pytest.mark.paddle
@pytest.mark.parametrize("name", models())
def test_parameter_counts_are_those_of_the_registry(name: str) -> None:
    import paddle

    entry = models()[name]
    with paddle.LazyGuard():  # shapes only: nothing is allocated or initialised
        model = build_model(ModelSpec(entry.architecture, entry.image_size, len(labels(entry.labels))))
    assert parameter_count(model) / 1e6 == pytest.approx(entry.params_m, abs=0.01)


@pytest.mark.paddle
def test_state_is_parameters_only(spec: ModelSpec) -> None:
    model = build_model(spec)
    assert set(model.state_dict()) == set(parameter_shapes(model))
    assert not any("relative" in name or "mask" in name for name in model.state_dict())


@pytest.mark.paddle
def test_every_parameter_gets_a_finite_gradient(spec: ModelSpec) -> None:
    import paddle

    model = seeded_model(spec, drop_rate=0.1, attn_drop_rate=0.1, drop_path_rate=0.0)
    model.train()
    images = paddle.to_tensor(seeded_images(spec.image_size, 4, seed=1))
    paddle.nn.functional.cross_entropy(model(images), paddle.to_tensor([0, 1, 2, 3])).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert np.isfinite(parameter.grad.numpy()).all(), name


@pytest.mark.paddle
@pytest.mark.parametrize("rate", ["drop_rate", "attn_drop_rate", "drop_path_rate"])
def test_dropout_acts_in_train_mode_only(spec: ModelSpec, rate: str) -> None:
    images = seeded_images(spec.image_size, 8, seed=1)
    model = seeded_model(spec, **{"drop_path_rate": 0.0, rate: 0.5})
    np.testing.assert_array_equal(logits_of(model, images), logits_of(model, images))
    model.train()
    assert not np.array_equal(logits_of(model, images), logits_of(model, images))


@pytest.mark.paddle
def test_stochastic_depth_rises_linearly_to_the_architectures_rate(spec: ModelSpec) -> None:
    from onnxzoo.reference.paddle.layers import DropPath

    rates = [layer.rate for layer in build_model(spec).sublayers() if isinstance(layer, DropPath)]
    assert rates == pytest.approx(np.linspace(0, 0.2, len(rates)))


@pytest.mark.paddle
def test_stochastic_depth_keeps_the_expectation() -> None:
    import paddle

    from onnxzoo.reference.paddle.layers import DropPath

    layer = DropPath(0.25)
    branch = layer(paddle.ones([4000, 1, 1])).numpy().ravel()
    assert set(np.unique(branch)) == {np.float32(0), np.float32(1 / 0.75)}
    assert branch.mean() == pytest.approx(1, abs=0.05)


@pytest.mark.paddle
def test_rows_of_a_batch_are_independent(spec: ModelSpec) -> None:
    images = seeded_images(spec.image_size, 3, seed=1)
    model = seeded_model(spec)
    batch = logits_of(model, images)
    for row in range(3):
        np.testing.assert_allclose(batch[row], logits_of(model, images[row : row + 1])[0], rtol=0, atol=1e-6)


@pytest.mark.paddle
def test_static_program_takes_any_batch(spec: ModelSpec, tmp_path: Path) -> None:
    import paddle

    model = seeded_model(spec)
    images = seeded_images(spec.image_size, 3, seed=1)
    expected = logits_of(model, images)
    image = paddle.static.InputSpec([None, 3, spec.image_size, spec.image_size], "float32", INPUT_NAME)
    paddle.jit.save(paddle.jit.to_static(model, input_spec=[image], full_graph=True), str(tmp_path / "model"))
    program = paddle.jit.load(str(tmp_path / "model"))
    for count in (1, 2, 3):
        np.testing.assert_allclose(logits_of(program, images[:count]), expected[:count], rtol=0, atol=1e-5)


@pytest.mark.paddle
def test_new_linear_layers_and_norms_start_as_in_the_papers() -> None:
    state = build_model(ModelSpec(models()["pvt_v2_b0"].architecture, 224, 1000)).state_dict()
    assert state["head.weight"].numpy().std() == pytest.approx(0.02, rel=0.05)
    assert not state["head.bias"].numpy().any()
    assert (state["norm1.weight"].numpy() == 1).all()
    # 3 x 3, as many filters as groups: fan_out is 9.
    assert state["block1.0.mlp.dwconv.dwconv.weight"].numpy().std() == pytest.approx((2 / 9) ** 0.5, rel=0.1)


@pytest.mark.paddle
def test_weights_that_do_not_fit_are_all_named() -> None:
    model = build_model(TINY["swinv2"])
    state = seeded_state(parameter_shapes(model), seed=5)
    before = model.state_dict()["head.weight"].numpy().copy()
    del state["norm.bias"]
    state["extra"] = np.zeros(3, np.float32)
    state["head.bias"] = np.zeros(7, np.float32)
    with pytest.raises(CheckpointError) as caught:
        load_state(model, state)
    assert str(caught.value) == (
        "the weights do not fit the model: missing: norm.bias; unexpected: extra; "
        "wrongly shaped: head.bias (expected [5], got [7])"
    )
    np.testing.assert_array_equal(model.state_dict()["head.weight"].numpy(), before)


@pytest.mark.paddle
def test_long_lists_of_names_are_cut() -> None:
    model = build_model(TINY["pvt_v2"])
    with pytest.raises(CheckpointError, match=r"missing: (\S+, ){5}\.\.\. and \d+ more$"):
        load_state(model, {})


@pytest.mark.paddle
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_rejected_by_name(bad: float) -> None:
    model = build_model(TINY["pvt_v2"])
    state = seeded_state(parameter_shapes(model), seed=5)
    state["norm2.weight"][3] = bad
    with pytest.raises(CheckpointError, match=r"norm2\.weight' holds NaN or infinite"):
        load_state(model, state)


@pytest.mark.paddle
def test_bfloat16_weights_are_converted() -> None:
    bfloat16 = pytest.importorskip("ml_dtypes").bfloat16
    model = build_model(TINY["pvt_v2"])
    state = {name: value.astype(bfloat16) for name, value in seeded_state(parameter_shapes(model), seed=5).items()}
    load_state(model, state)
    loaded = model.state_dict()["head.weight"].numpy()
    np.testing.assert_array_equal(loaded, state["head.weight"].astype(np.float32))


@pytest.mark.paddle
def test_other_float_precisions_are_converted_and_integers_rejected() -> None:
    model = build_model(TINY["pvt_v2"])
    state: dict[str, Any] = seeded_state(parameter_shapes(model), seed=5)
    load_state(model, {name: value.astype(np.float16) for name, value in state.items()})
    loaded = model.state_dict()["head.weight"].numpy()
    np.testing.assert_array_equal(loaded, state["head.weight"].astype(np.float16).astype(np.float32))
    state["head.bias"] = state["head.bias"].astype(np.int64)
    with pytest.raises(CheckpointError, match=r"head\.bias' is of type int64, expected floating-point"):
        load_state(model, state)


@pytest.mark.paddle
def test_engine_gives_logits_and_the_features_they_come_from(spec: ModelSpec) -> None:
    state = seeded_state(parameter_shapes(build_model(spec)), seed=5)
    engine = PaddleEngine.open(spec, state)
    assert (engine.info.name, engine.info.device, engine.info.precision) == ("paddle", "CPU", "fp32")
    assert engine.inputs[INPUT_NAME].shape == (None, 3, spec.image_size, spec.image_size)
    outputs = engine.run({INPUT_NAME: seeded_images(spec.image_size, 2, seed=1)})
    assert {name: (value.dtype.name, value.shape) for name, value in outputs.items()} == {
        "logits": ("float32", (2, 5)),
        "embedding": ("float32", (2, spec.architecture.num_features)),
    }
    head = outputs["embedding"] @ state["head.weight"] + state["head.bias"]
    np.testing.assert_allclose(outputs["logits"], head, rtol=0, atol=1e-5)


@pytest.mark.paddle
def test_engine_can_be_used_from_many_threads() -> None:
    spec = TINY["swinv2"]
    engine = PaddleEngine.open(spec, seeded_state(parameter_shapes(build_model(spec)), seed=5))
    images = seeded_images(spec.image_size, 2, seed=1)
    expected = engine.run({INPUT_NAME: images})["logits"]
    results: list[np.ndarray] = []
    threads = [
        threading.Thread(target=lambda: results.append(engine.run({INPUT_NAME: images})["logits"])) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
    for result in results:
        np.testing.assert_array_equal(result, expected)


@pytest.mark.paddle
def test_engine_rejects_wrong_inputs_and_use_after_close() -> None:
    spec = TINY["pvt_v2"]
    engine = PaddleEngine.open(spec, seeded_state(parameter_shapes(build_model(spec)), seed=5))
    with pytest.raises(InputError, match=r"named \['pixel_values'\], got \['x'\]"):
        engine.run({"x": np.zeros((1, 3, 32, 32), np.float32)})
    with pytest.raises(InputError, match=r"float32 \[N, 3, 32, 32\], got float32 \[1, 3, 64, 64\]"):
        engine.run({INPUT_NAME: np.zeros((1, 3, 64, 64), np.float32)})
    engine.close()
    engine.close()
    with pytest.raises(EngineError, match="closed"):
        engine.run({INPUT_NAME: np.zeros((1, 3, 32, 32), np.float32)})


@pytest.mark.parametrize(
    ("image_size", "classes", "message"),
    [
        (250, 10, "multiple of 32"),
        (0, 10, "got 0"),
        (-32, 10, "got -32"),
        (256, 0, "num_classes must be at least 1"),
        (224, 10, "windows of 8 tokens do not divide the 28 x 28 tokens of stage 1"),
    ],
)
def test_impossible_specs_are_rejected(image_size: int, classes: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        ModelSpec(models()["swinv2_tiny_w8"].architecture, image_size, classes)


def test_without_paddle_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "paddle", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'onnxzoo\[export\]'"):
        build_model(TINY["pvt_v2"])


def test_importing_the_reference_does_not_import_paddle() -> None:
    code = (
        "import sys, onnxzoo.reference.paddle.build, onnxzoo.reference.paddle.engine, onnxzoo.weights.seeded; "
        "sys.exit('paddle' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-P", "-c", code], check=False).returncode == 0
