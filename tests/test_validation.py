"""A validation as a whole, on the models that ship: engines, references, inputs, order, precisions; without Paddle."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from artifacts import (
    MODEL,
    PVT,
    SWIN,
    alter,
    announce,
    bake_batch,
    configure,
    copy_shipped,
    rename_producer,
    scale_initializer,
)
from onnxzoo.validators import engine_checks, references, running, validate
from onnxzoo.validators.engine_checks import Check
from onnxzoo.validators.inputs import image_inputs, noise_inputs, plain_inputs
from onnxzoo.validators.low_precision import check_low_precision
from onnxzoo.validators.tolerances import TOLERANCES
from onnxzoo.validators.validate import Validation
from PIL import Image

from onnxzoo import artifact_file
from onnxzoo.artifact import Artifact, read_artifact
from onnxzoo.engines import create_engine, openvino
from onnxzoo.engines.batches import Piece
from onnxzoo.engines.fake import FakeEngine
from onnxzoo.errors import ArtifactError, EngineError, EngineUnavailableError, ImageError, InputError, ValidationError
from onnxzoo.hub import SHIPPED_DIR
from onnxzoo.results import Array, EngineInfo

pytest.importorskip("onnxruntime", reason="needs the cpu extra")

Outputs = dict[str, Array]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return copy_shipped(tmp_path / "copy")


@pytest.fixture
def revision(tmp_path: Path) -> Artifact:
    """The same model in another file."""
    folder = copy_shipped(tmp_path / "revision")
    alter(folder, rename_producer)
    return read_artifact(folder)


def run(folder: Path, **options: object) -> list[Check]:
    return list(Validation(read_artifact(folder), **options).run())  # type: ignore[arg-type]


def problems(checks: list[Check]) -> str:
    return " | ".join(problem for check in checks for problem in check.comparison.problems)


@pytest.fixture
def with_fault(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Array, Outputs], Mapping[str, Array]]], None]:
    """Let the engine under test be ONNX Runtime with a fault; the engines of references stay as they are."""

    def install(fault: Callable[[Array, Outputs], Mapping[str, Array]]) -> None:
        def faulty(_name: str, model_file: Path, *_: object, **__: object) -> FakeEngine:
            real = create_engine("onnxruntime", model_file)
            return FakeEngine(lambda batch: fault(batch, real.run({"image": batch})))

        monkeypatch.setattr(engine_checks, "open_engine", faulty)

    return install


# What is checked


@pytest.mark.parametrize("name", [PVT, SWIN])
def test_every_engine_at_every_batch_size_and_in_another_order(name: str) -> None:
    checks = run(SHIPPED_DIR / name)
    assert {(c.engine.name, c.reference, c.batch_size) for c in checks} == {
        (engine, reference, size)
        for engine in ("openvino", "onnxruntime")
        for reference, size in (("conformance", 1), ("conformance", 2), ("conformance", 3), ("order", 3))
    }
    assert all(checks)
    assert all(check.comparison.max_abs < 1e-5 for check in checks)


def test_batch_sizes_and_engines_can_be_chosen() -> None:
    checks = run(SHIPPED_DIR / PVT, engines=["onnxruntime"], batch_sizes=[5, 1, 5])
    assert [(c.reference, c.batch_size) for c in checks] == [("conformance", 5), ("conformance", 1), ("order", 5)]
    assert all(checks)
    with pytest.raises(InputError, match="batch sizes must be whole numbers from 1"):
        run(SHIPPED_DIR / PVT, batch_sizes=[0])
    with pytest.raises(InputError, match="is not an engine"):
        run(SHIPPED_DIR / PVT, engines=["nonsense"])


def test_engines_that_cannot_be_used_are_listed_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str, model_file: Path, *_: object, **__: object) -> object:
        if name == "openvino":
            raise EngineUnavailableError("openvino is not installed: pip install openvino")
        return create_engine(name, model_file)

    monkeypatch.setattr(engine_checks, "open_engine", absent)
    monkeypatch.setattr(validate, "ENGINES", {"openvino": "", "onnxruntime": ""})
    validation = Validation(read_artifact(SHIPPED_DIR / PVT))
    checks = list(validation.run())
    assert {check.engine.name for check in checks} == {"onnxruntime"}
    assert validation.unavailable == {"openvino in fp32": "openvino is not installed: pip install openvino"}
    with pytest.raises(EngineUnavailableError, match="openvino is not installed"):
        run(SHIPPED_DIR / PVT, engines=["openvino"])
    monkeypatch.setattr(validate, "ENGINES", {"openvino": ""})
    with pytest.raises(EngineUnavailableError, match="no engine can be used here: openvino is not installed"):
        run(SHIPPED_DIR / PVT)


def test_a_model_that_an_engine_rejects_is_a_failed_check_and_the_others_go_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def reject(name: str, model_file: Path, *_: object, **__: object) -> object:
        if name == "openvino":
            raise EngineError("openvino cannot compile model.onnx: no such operator")
        return create_engine(name, model_file)

    monkeypatch.setattr(engine_checks, "open_engine", reject)
    checks = run(SHIPPED_DIR / PVT)
    assert [(c.engine.name, c.reference) for c in checks if not c] == [("openvino", "loading")]
    assert "no such operator" in problems(checks)
    assert sum(check.engine.name == "onnxruntime" for check in checks) == 4


def test_every_file_is_hashed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[str] = []
    original = artifact_file.sha256_of

    def counted(path: Path) -> str:
        hashed.append(path.name)
        return original(path)

    monkeypatch.setattr(artifact_file, "sha256_of", counted)
    run(SHIPPED_DIR / PVT)
    assert sorted(hashed) == ["conformance.npz", "model.onnx", "preprocessor_config.json"]


@pytest.mark.parametrize("name", ["conformance.npz", MODEL, "preprocessor_config.json"])
def test_an_altered_file_is_named_before_anything_runs(copy: Path, name: str) -> None:
    data = bytearray((copy / name).read_bytes())
    data[100] ^= 0xFF
    (copy / name).write_bytes(data)
    with pytest.raises(ArtifactError, match="was altered"):
        Validation(read_artifact(copy))


# What fails


@pytest.mark.parametrize(
    ("fault", "problem"),
    [
        (lambda _, out: {**out, "logits": out["logits"] * np.float32(1.01)}, "'logits' differs by up to"),
        (lambda _, out: {"logits": out["logits"]}, "output 'embedding' is missing"),
        (lambda _, out: {**out, "extra": out["logits"]}, "output 'extra' is not in the reference"),
        (lambda _, out: {**out, "logits": out["logits"][:, :-1]}, "'logits' has the shape (6, 9), expected (6, 10)"),
        (lambda _, out: {**out, "logits": out["logits"].astype(np.float64)}, "'logits' has the dtype float64"),
        (lambda _, out: {**out, "logits": out["logits"] * np.inf}, "'logits' holds NaN or infinity in rows"),
    ],
)
def test_every_kind_of_fault_fails_by_name(with_fault, fault, problem: str) -> None:
    with_fault(fault)
    checks = run(SHIPPED_DIR / PVT, engines=["onnxruntime"])
    against_paddle = [check for check in checks if check.reference == "conformance"]
    assert len(against_paddle) == 3
    assert not any(against_paddle)
    assert all(problem in check.comparison.problems[0] for check in against_paddle)


def test_nan_for_one_image_names_the_image(with_fault) -> None:
    zebra = Validation(read_artifact(SHIPPED_DIR / PVT)).inputs.images[1]

    def fault(batch: Array, outputs: Outputs) -> Outputs:
        bad = [np.array_equal(image, zebra) for image in batch]
        return {**outputs, "embedding": np.where(np.array(bad)[:, None], np.nan, outputs["embedding"])}

    with_fault(fault)
    checks = run(SHIPPED_DIR / PVT, engines=["onnxruntime"])
    assert not any(checks)
    assert "'embedding' holds NaN or infinity in rows [1] (coffee.jpg)" in problems(checks)
    assert all(check.comparison.failed_rows == (1,) for check in checks if check.reference == "conformance")
    assert "cannot serve as a reference" in problems([check for check in checks if check.reference == "order"])


def test_rows_that_depend_on_their_neighbours_fail_in_another_order_only(with_fault) -> None:
    recorded = Validation(read_artifact(SHIPPED_DIR / PVT)).inputs.images

    def fault(batch: Array, outputs: Outputs) -> Outputs:
        # Right for the batches in which the images come as recorded, whatever their size.
        first = [int(np.argmin(np.abs(recorded - image).sum(axis=(1, 2, 3)))) for image in batch]
        wrong = any((b - a) % len(recorded) != 1 for a, b in pairwise(first))
        return {name: values[::-1] if wrong else values for name, values in outputs.items()}

    with_fault(fault)
    checks = run(SHIPPED_DIR / PVT, engines=["onnxruntime"])
    assert [check.reference for check in checks if not check] == ["order"]
    assert "'logits' differs" in problems(checks)


def test_a_batch_that_is_baked_in_fails(copy: Path) -> None:
    alter(copy, bake_batch)
    checks = run(copy)
    assert {check.batch_size for check in checks if check} == {1}
    failed = [check for check in checks if not check]
    assert {(check.engine.name, check.batch_size) for check in failed} == {
        (engine, size) for engine in ("openvino", "onnxruntime") for size in (2, 3)
    }
    assert "at batch size 2: input 'image' must have shape (1, 3, 32, 32), got (2, 3, 32, 32)" in problems(failed)


def test_an_engine_that_computes_in_less_than_fp32_fails_whatever_the_numbers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Half(FakeEngine):
        info = EngineInfo("openvino", "CPU", "bf16", "0", "requested")

    real = create_engine("onnxruntime", read_artifact(SHIPPED_DIR / PVT).model_file())
    monkeypatch.setattr(engine_checks, "open_engine", lambda *_, **__: Half(lambda batch: real.run({"image": batch})))
    checks = run(SHIPPED_DIR / PVT, engines=["openvino"])
    assert not any(check for check in checks if check.reference == "conformance")
    assert "openvino computes in bf16, expected fp32" in problems(checks)


def test_outputs_that_change_their_names_fail(with_fault) -> None:
    first = Validation(read_artifact(SHIPPED_DIR / PVT)).inputs.images[0]
    with_fault(lambda batch, out: out if np.array_equal(batch[0], first) else {"logits": out["logits"]})
    checks = run(SHIPPED_DIR / PVT, engines=["onnxruntime"], batch_sizes=[1])
    assert "at batch size 1 the outputs differ in name or shape from batch to batch" in problems(checks)


def test_every_batch_size_is_what_the_engine_computes_with(monkeypatch: pytest.MonkeyPatch) -> None:
    pieces: list[int] = []
    right = openvino._Run

    def counted(compiled: object, feeds: object, piece: Piece) -> object:
        pieces.append(piece.size)
        return right(compiled, feeds, piece)

    monkeypatch.setattr(openvino, "_Run", counted)
    assert all(run(SHIPPED_DIR / PVT, engines=["openvino"], batch_sizes=[1, 2, 5]))
    # Six images: in order, in another order at the largest size.
    assert pieces == [5, 5, 5, 5, 2, 2, 2, 1, 1, 1, 1, 1, 1]


def test_what_is_built_for_a_range_of_batch_sizes_is_built_once(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[tuple[int, bool]] = []
    real = create_engine("onnxruntime", read_artifact(SHIPPED_DIR / PVT).model_file())

    class Plan(FakeEngine):
        def warm(self) -> tuple[()]:
            return ()

    def build(_name: str, _file: Path, _precision: str, size: int, *, build: bool) -> Plan:
        opened.append((size, build))
        return Plan(lambda batch: real.run({"image": batch}), max_batch=size)

    monkeypatch.setattr(engine_checks, "open_engine", build)
    monkeypatch.setattr(validate, "ENGINES", {"openvino": ""})
    assert all(run(SHIPPED_DIR / PVT, engines=["openvino"]))
    assert all(run(SHIPPED_DIR / PVT))
    assert opened == [(3, True), (3, False)], "and unasked only what was built before"


def test_the_order_is_exact_whatever_the_tolerance(with_fault) -> None:
    def fault(batch: Array, outputs: Outputs) -> Outputs:
        # A little of the neighbour: within a wide tolerance.
        leak = np.float32(1e-3) * outputs["logits"][:1]
        return {**outputs, "logits": outputs["logits"] + leak}

    with_fault(fault)
    checks = run(SHIPPED_DIR / PVT, engines=["onnxruntime"], tolerance=0.1)
    assert [check.reference for check in checks if not check] == ["order"]
    assert checks[-1].tolerance == TOLERANCES["fp32"]


def test_a_validation_that_was_not_carried_out_to_its_end_has_not_passed() -> None:
    validation = Validation(read_artifact(SHIPPED_DIR / PVT), engines=["onnxruntime"])
    steps = validation.run()
    assert all([next(steps), next(steps)])
    assert not validation
    assert len([*steps]) == 2
    assert validation
    next(validation.run())
    assert not validation


def test_the_device_that_was_asked_for_is_kept() -> None:
    validation = Validation(read_artifact(SHIPPED_DIR / PVT), engines=["openvino:CPU", "openvino", "auto"])
    checks = list(validation.run())
    assert [check.requested for check in checks[::4]] == ["openvino:CPU", "openvino", "openvino"]
    assert {check.engine.name for check in checks} == {"openvino"}


# Another artifact as the reference


def test_another_revision_agrees_on_noise_and_plain_inputs_and_images(revision: Artifact, tmp_path: Path) -> None:
    pictures = []
    for number in range(7):
        pictures.append(tmp_path / f"{number}.png")
        Image.effect_noise((40 + number, 50), 60).convert("RGB").save(pictures[-1])
    validation = Validation(
        read_artifact(SHIPPED_DIR / PVT), against=revision, images=pictures, samples=4, seed=5, engines=["openvino"]
    )
    checks = list(validation.run())
    assert validation.inputs.names[6:14] == (
        *(f"noise 5.{i}" for i in range(4)), "zero", "lowest", "highest", "one hot pixel",
    )  # fmt: skip
    assert [Path(name).name for name in validation.inputs.names[14:]] == ["0.png", "1.png", "3.png", "5.png"]
    assert {check.reference: check.samples for check in checks} == {"conformance": 6, "against": 18, "order": 18}
    assert all(checks)


def test_another_revision_with_other_weights_fails(copy: Path) -> None:
    alter(copy, scale_initializer([96, 10], 1.01))
    checks = run(SHIPPED_DIR / PVT, against=read_artifact(copy), engines=["onnxruntime"])
    assert {check.reference for check in checks if not check} == {"against"}
    checks = run(copy, against=read_artifact(SHIPPED_DIR / PVT), engines=["onnxruntime"])
    assert {check.reference for check in checks if not check} == {"against", "conformance"}


def test_a_model_is_not_compared_with_itself(copy: Path) -> None:
    with pytest.raises(ValidationError, match="a model always agrees with itself"):
        Validation(read_artifact(copy), against=read_artifact(SHIPPED_DIR / PVT))


def test_artifacts_of_different_models_cannot_be_compared(copy: Path) -> None:
    mine = read_artifact(SHIPPED_DIR / PVT)
    with pytest.raises(InputError, match=r"has 32 pixels a side, .* has 48: they cannot be compared"):
        Validation(mine, against=read_artifact(SHIPPED_DIR / SWIN))
    configure(copy, id2label={str(i): f"c{i}" for i in range(7)})
    alter(copy, rename_producer)
    with pytest.raises(InputError, match=r"has 10 classes, .* has 7: they cannot be compared"):
        Validation(mine, against=read_artifact(copy))


def test_a_reference_that_an_engine_rejects_fails_its_checks(revision: Artifact, monkeypatch) -> None:
    def reject(_name: str, _file: Path, *_: object, **__: object) -> object:
        raise EngineError("openvino cannot compile it")

    monkeypatch.setattr(references, "open_engine", reject)
    checks = run(SHIPPED_DIR / PVT, against=revision, engines=["openvino"])
    assert {check.reference for check in checks if not check} == {"against"}
    assert "the reference 'against' failed: openvino cannot compile it" in problems(checks)


def test_inputs_need_a_reference_that_runs(photos: Path) -> None:
    artifact = read_artifact(SHIPPED_DIR / PVT)
    for options in ({"images": [photos / "red.png"]}, {"samples": 3}, {"seed": 0}):
        with pytest.raises(InputError, match=r"nothing to compare such inputs with.*--weights.*--against"):
            Validation(artifact, **options)


def test_a_reference_that_cannot_be_run_in_an_engine_fails_its_own_checks_only(revision: Artifact, monkeypatch) -> None:
    def without(name: str, *_: object, **__: object) -> object:
        if name == "openvino":
            raise EngineUnavailableError("this CPU has no fp16")
        raise InputError("onnxruntime has no precision 'fp16'")

    monkeypatch.setattr(references, "open_engine", without)
    checks = run(SHIPPED_DIR / PVT, against=revision)
    assert {check.engine.name for check in checks if check} == {"openvino", "onnxruntime"}
    assert {check.reference for check in checks if not check} == {"against"}
    assert "the reference 'against' failed: this CPU has no fp16" in problems(checks)
    assert "the reference 'against' failed: onnxruntime has no precision" in problems(checks)


# Precisions


@pytest.fixture(scope="module")
def quantised(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shipped model with an int8 file beside fp32, made as users make one."""
    quantization = pytest.importorskip("onnxruntime.quantization")
    folder = copy_shipped(tmp_path_factory.mktemp("int8") / "artifact", SWIN)
    images = Validation(read_artifact(folder)).inputs.images

    class Images(quantization.CalibrationDataReader):
        def __init__(self) -> None:
            self.left = [{"image": image[None]} for image in images]

        def get_next(self) -> dict[str, np.ndarray] | None:
            return self.left.pop() if self.left else None

    quantization.quantize_static(
        str(folder / MODEL),
        str(folder / "onnx" / "model_int8.onnx"),
        Images(),
        op_types_to_quantize=["MatMul", "Gemm", "Conv"],
        per_channel=True,
        activation_type=quantization.QuantType.QUInt8,
        weight_type=quantization.QuantType.QInt8,
        extra_options={"WeightSymmetric": True, "MatMulConstBOnly": True},
    )
    announce(folder, "onnx/model_int8.onnx", precision="int8")
    return folder


def test_every_precision_is_checked_with_its_own_tolerance(quantised: Path) -> None:
    checks = run(quantised)
    assert {check.precision for check in checks} == {"fp32", "int8"}
    assert all(checks), problems(checks)
    assert [(check.reference, check.precision, check.note) for check in checks[:1]] == [
        ("parameters", "int8", "125 equal")
    ]
    int8 = [check for check in checks if check.precision == "int8" and check.reference == "conformance"]
    assert all(check.tolerance == TOLERANCES["int8"] for check in int8)
    assert all(0.01 < check.comparison.max_abs < 1 for check in int8)
    assert not all(run(quantised, precisions=["int8"], tolerance=1e-4)), "named, and with fp32's tolerance"
    assert all(run(quantised, tolerance=1e-4)), "a tolerance is for fp32 unless the precision is named"
    with pytest.raises(InputError, match="has no 'fp16' model; it has fp32, int8"):
        run(quantised, precisions=["fp16"])


def test_another_precision_of_the_same_artifact_is_a_reference(quantised: Path) -> None:
    artifact = read_artifact(quantised)
    for options in ({"precisions": ["int8"]}, {"precisions": ["fp32"], "against_precision": "int8"}):
        checks = run(quantised, against=artifact, engines=["onnxruntime"], **options)
        against = [check for check in checks if check.reference == "against"]
        assert len(against) == 3
        assert all(checks), problems(checks)
        assert all(check.tolerance == TOLERANCES["int8"] for check in against)


@pytest.mark.parametrize("shape", [[10], [128, 10], [32, 96], [64, 192], [128, 384]])
def test_a_broken_int8_model_fails(quantised: Path, tmp_path: Path, shape: list[int]) -> None:
    import onnx
    from onnx import numpy_helper

    folder = Path(shutil.copytree(quantised, tmp_path / "broken"))
    path = folder / "onnx" / "model_int8.onnx"
    model = onnx.load(path)
    tensor = next(t for t in model.graph.initializer if list(t.dims) == shape)
    values = numpy_helper.to_array(tensor)
    broken = values + 3 if shape == [10] else np.ascontiguousarray(values[::-1])
    tensor.CopyFrom(numpy_helper.from_array(broken.astype(values.dtype), tensor.name))
    onnx.save(model, path)
    announce(folder, "onnx/model_int8.onnx")
    checks = run(folder, precisions=["int8"], engines=["onnxruntime"])
    assert not any(check for check in checks if check.reference == "conformance")


def zeros(values: Array) -> Array:
    return np.zeros_like(values)


def next_step(values: Array) -> Array:
    values = values.copy()
    values.flat[7] += 1 if values.flat[7] < 0 else -1
    return values


INT8_FAULTS: Mapping[str, tuple[str, Callable[[Array], Array], str]] = {
    "the shift mask zeroed": ("layers.0.blocks.1.attn.shift_mask", zeros, "values differ from what float32 makes"),
    "the position bias zeroed": ("layers.2.blocks.0.attn.position_bias", zeros, "100 of 100 values differ"),
    "an index rolled": ("layers.0.downsample.merging_order", lambda index: np.roll(index, 1), "144 of 144"),
    "a bias zeroed": ("layers.1.blocks.1.mlp.fc2.bias", zeros, "64 of 64 values differ"),
    "one step": ("layers.1.blocks.0.attn.qkv.weight_quantized", next_step, "1 of 12288 values differ by more than"),
    "transposed": ("layers.0.blocks.0.attn.proj.weight_quantized", np.transpose, "differ by more than half a step"),
    "a scale": (
        "layers.0.blocks.0.mlp.fc1.weight_scale", lambda scale: scale * np.float32(1.1), "more than half a step",
    ),
    "all within a step": (
        "layers.2.blocks.1.mlp.fc1.weight_scale", lambda scale: scale * np.float32(1e4), "is too wide",
    ),
    "a zero point": ("head.weight_zero_point", lambda zero: zero + np.int8(1), "1279 of 1280 values differ"),
    "a norm's weights": ("norm.weight", lambda values: values[::-1], "values differ from what float32 makes"),
    "another shape": ("norm.bias", lambda values: values[:, None], "the shape is [128, 1], expected [128]"),
}  # fmt: skip


@pytest.mark.parametrize("case", INT8_FAULTS)
def test_the_constants_of_an_int8_model_are_the_fp32_models(case: str, quantised: Path, tmp_path: Path) -> None:
    import onnx
    from onnx import numpy_helper

    name, change, expected = INT8_FAULTS[case]
    folder = Path(shutil.copytree(quantised, tmp_path / "faulty"))
    path = folder / "onnx" / "model_int8.onnx"
    model = onnx.load(path)
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == name)
    tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(change(numpy_helper.to_array(tensor))), name))
    onnx.save(model, path)
    announce(folder, "onnx/model_int8.onnx")
    check = next(Validation(read_artifact(folder), precisions=["int8"]).run())
    assert (check.reference, check.precision) == ("parameters", "int8")
    (problem,) = check.comparison.problems
    assert problem.startswith(name.removesuffix("_quantized").removesuffix("_scale").removesuffix("_zero_point"))
    assert expected in problem


def test_a_bias_that_nothing_uses_any_more_is_missed(quantised: Path, tmp_path: Path) -> None:
    import onnx

    folder = Path(shutil.copytree(quantised, tmp_path / "faulty"))
    path = folder / "onnx" / "model_int8.onnx"
    model = onnx.load(path)
    (node,) = (node for node in model.graph.node if "layers.1.blocks.1.mlp.fc2.bias" in node.input)
    node.input[:] = ["scalar.0.5" if name.endswith(".bias") else name for name in node.input]
    onnx.save(model, path)
    announce(folder, "onnx/model_int8.onnx")
    check = next(Validation(read_artifact(folder), precisions=["int8"]).run())
    assert check.comparison.problems == (
        "layers.1.blocks.1.mlp.fc2.bias is not in model_int8.onnx, or nothing uses it",
    )


def test_the_constants_of_an_fp16_model_are_rounded_and_no_more(tmp_path: Path) -> None:
    import onnx
    from onnx import numpy_helper

    folder = copy_shipped(tmp_path / "half", SWIN)

    def problems_of(factor: float) -> tuple[str, ...]:
        model = onnx.load(folder / MODEL)
        for tensor in model.graph.initializer:
            values = numpy_helper.to_array(tensor)
            if values.dtype == np.float32:
                scale = np.where(np.arange(values.size) == 3, factor, 1).reshape(values.shape)
                values = values * (scale if tensor.name == "norm.weight" else 1)
                tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), tensor.name))
        onnx.save(model, folder / "onnx" / "model_fp16.onnx")
        return check_low_precision(folder / "onnx" / "model_fp16.onnx", folder / MODEL).problems

    assert problems_of(1) == ()
    (problem,) = problems_of(1.01)
    assert problem.startswith(
        "norm.weight: 1 of 128 values differ from what float16 makes of the fp32 file's, most at [3]"
    )


def test_constants_that_cannot_be_compared_are_said_to_be(
    quantised: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    choices = {"precisions": ["int8"], "engines": ["onnxruntime"], "batch_sizes": [1]}
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "onnx", None)
        validation = Validation(read_artifact(quantised), **choices)
        assert [check.reference for check in validation.run()] == ["conformance"]
        assert "needs the package onnx" in validation.unavailable["parameters in int8"]
        assert validation
    folder = Path(shutil.copytree(quantised, tmp_path / "only"))
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    configure(folder, files={path: file for path, file in config["files"].items() if path != MODEL})
    validation = Validation(read_artifact(folder), **choices)
    assert [check.reference for check in validation.run()] == ["conformance"]
    assert "there is no fp32 file" in validation.unavailable["parameters in int8"]


@pytest.fixture
def three(quantised: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """fp32, fp16 and int8, on a machine where no engine has fp16."""

    def lacking(name: str, model_file: Path, precision: str, *rest: object, **options: object) -> object:
        if (name, precision) == ("openvino", "fp16"):
            raise EngineUnavailableError("this CPU has no fp16")
        if (name, precision) == ("onnxruntime", "fp16"):
            raise InputError("the engine 'onnxruntime' has no precision 'fp16'")
        return running.open_engine(name, model_file, precision, *rest, **options)  # type: ignore[arg-type]

    folder = Path(shutil.copytree(quantised, tmp_path / "three"))
    shutil.copyfile(folder / MODEL, folder / "onnx" / "model_fp16.onnx")
    announce(folder, "onnx/model_fp16.onnx", precision="fp16")
    monkeypatch.setattr(engine_checks, "open_engine", lacking)
    monkeypatch.setattr(validate, "ENGINES", {"openvino": "", "onnxruntime": ""})
    return folder


@pytest.mark.parametrize("engines", [None, ["openvino"], ["onnxruntime"]])
def test_an_engine_that_lacks_one_precision_is_checked_in_the_others(three: Path, engines: list[str] | None) -> None:
    validation = Validation(read_artifact(three), engines=engines, batch_sizes=[1])
    checks = list(validation.run())
    names = engines or ["openvino", "onnxruntime"]
    assert {(check.requested, check.precision) for check in checks if check.reference == "conformance"} == {
        (name, precision) for name in names for precision in ("fp32", "int8")
    }
    assert set(validation.unavailable) == {f"{name} in fp16" for name in names}
    assert validation, problems(checks)


def test_a_precision_and_an_engine_that_are_both_named_must_be_there(three: Path) -> None:
    for precisions in (["fp16"], ["fp32", "fp16"]):
        with pytest.raises(EngineUnavailableError, match="this CPU has no fp16"):
            run(three, engines=["openvino"], precisions=precisions)
    with pytest.raises(EngineUnavailableError, match="no engine can be used here: this CPU has no fp16; the engine"):
        run(three, precisions=["fp16"])


def test_a_tolerance_that_is_named_stays_even_if_it_is_the_default(quantised: Path) -> None:
    artifact = read_artifact(quantised)
    options = {"against": artifact, "against_precision": "int8", "precisions": ["fp32"], "engines": ["onnxruntime"]}
    checks = run(quantised, tolerance=1e-4, **options)
    assert {check.reference for check in checks if not check} == {"against"}
    assert all(check.tolerance == TOLERANCES["fp32"] for check in checks)


def test_the_precision_that_is_the_reference_itself_is_left_out(quantised: Path) -> None:
    artifact = read_artifact(quantised)
    validation = Validation(artifact, against=artifact, engines=["onnxruntime"])
    checks = list(validation.run())
    assert {check.precision for check in checks if check.reference == "against"} == {"int8"}
    assert "a model always agrees with itself" in validation.unavailable["against in fp32"]
    with pytest.raises(ValidationError, match="a model always agrees with itself"):
        Validation(artifact, against=artifact, precisions=["fp32"])


def test_the_order_of_an_int8_model_is_exact(quantised: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = create_engine("onnxruntime", read_artifact(quantised).model_file("int8"))

    def leaky(batch: Array) -> Outputs:
        outputs = real.run({"image": batch})
        return {**outputs, "logits": outputs["logits"] + np.float32(0.01) * outputs["logits"][:1]}

    monkeypatch.setattr(engine_checks, "open_engine", lambda *_, **__: FakeEngine(leaky))
    checks = run(quantised, precisions=["int8"], engines=["onnxruntime"])
    assert [check.reference for check in checks if not check] == ["order"]


# Inputs


def test_noise_is_fixed_by_its_seed_and_fresh_with_another() -> None:
    first, again, other = noise_inputs(32, 5, 1), noise_inputs(32, 5, 1), noise_inputs(32, 5, 2)
    assert np.array_equal(first.images, again.images)
    assert not np.array_equal(first.images, other.images)
    assert first.images.dtype == np.float32
    assert abs(first.images.std() - 1) < 0.02
    assert np.array_equal(noise_inputs(32, 3, 1).images, first.images[:3])


def test_plain_inputs_are_what_they_are_called() -> None:
    spec = read_artifact(SHIPPED_DIR / PVT).preprocess
    inputs = plain_inputs(spec)
    levels = inputs.images * np.array(spec.std)[:, None, None] + np.array(spec.mean)[:, None, None]
    by_name = dict(zip(inputs.names, levels, strict=True))
    assert not inputs.images[0].any()
    assert np.allclose(by_name["lowest"], 0, atol=1e-6)
    assert np.allclose(by_name["highest"], 1, atol=1e-6)
    assert np.isclose(by_name["one hot pixel"], 1, atol=1e-6).sum() == 3
    assert np.isclose(by_name["one hot pixel"], 0, atol=1e-6).sum() == 3 * 32 * 32 - 3


def test_an_unreadable_image_is_named(tmp_path: Path) -> None:
    spec = read_artifact(SHIPPED_DIR / PVT).preprocess
    (tmp_path / "bad.png").write_bytes(b"no image")
    with pytest.raises(ImageError, match=r"bad\.png is not an image"):
        image_inputs([tmp_path / "bad.png"], spec)
    with pytest.raises(InputError, match="no image to validate with"):
        image_inputs([], spec)
