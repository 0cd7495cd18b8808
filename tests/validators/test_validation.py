"""A validation as a whole, on the models that ship: engines, references, inputs, order, precisions; without Paddle."""

from __future__ import annotations

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
    bake_batch,
    configure,
    copy_shipped,
    exported,
    rename_producer,
    scale_initializer,
)
from onnxzoo.validators import engine_checks, references, validate
from onnxzoo.validators.engine_checks import Check
from onnxzoo.validators.inputs import image_inputs, noise_inputs, plain_inputs
from onnxzoo.validators.validate import Validation
from PIL import Image

from onnxzoo.artifact import file as artifact_file
from onnxzoo.artifact.folder import INPUT_NAME, Artifact, read_artifact
from onnxzoo.comparison.tolerances import TOLERANCES
from onnxzoo.engines import create_engine, openvino
from onnxzoo.engines.batches import Piece
from onnxzoo.engines.fake import FakeEngine
from onnxzoo.errors import ArtifactError, EngineError, EngineUnavailableError, ImageError, InputError, ValidationError
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
            return FakeEngine(lambda batch: fault(batch, real.run({INPUT_NAME: batch})))

        monkeypatch.setattr(engine_checks, "open_engine", faulty)

    return install


# What is checked


@pytest.mark.slow
@pytest.mark.parametrize("name", [PVT, SWIN])
def test_every_engine_at_every_batch_size_and_in_another_order(name: str) -> None:
    checks = run(exported(name))
    assert {(c.engine.name, c.reference, c.batch_size) for c in checks} == {
        (engine, reference, size)
        for engine in ("openvino", "onnxruntime")
        for reference, size in (("conformance", 1), ("conformance", 2), ("conformance", 3), ("order", 3))
    }
    assert all(checks)
    assert all(check.comparison.max_abs < 1e-5 for check in checks)


def test_batch_sizes_and_engines_can_be_chosen() -> None:
    checks = run(exported(PVT), engines=["onnxruntime"], batch_sizes=[5, 1, 5])
    assert [(c.reference, c.batch_size) for c in checks] == [("conformance", 5), ("conformance", 1), ("order", 5)]
    assert all(checks)
    with pytest.raises(InputError, match="batch sizes must be whole numbers from 1"):
        run(exported(PVT), batch_sizes=[0])
    with pytest.raises(InputError, match="is not an engine"):
        run(exported(PVT), engines=["nonsense"])


def test_engines_that_cannot_be_used_are_listed_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str, model_file: Path, *_: object, **__: object) -> object:
        if name == "openvino":
            raise EngineUnavailableError("openvino is not installed: pip install openvino")
        return create_engine(name, model_file)

    monkeypatch.setattr(engine_checks, "open_engine", absent)
    monkeypatch.setattr(validate, "ENGINES", {"openvino": "", "onnxruntime": ""})
    validation = Validation(read_artifact(exported(PVT)))
    checks = list(validation.run())
    assert {check.engine.name for check in checks} == {"onnxruntime"}
    assert validation.unavailable == {"openvino in fp32": "openvino is not installed: pip install openvino"}
    with pytest.raises(EngineUnavailableError, match="openvino is not installed"):
        run(exported(PVT), engines=["openvino"])
    monkeypatch.setattr(validate, "ENGINES", {"openvino": ""})
    with pytest.raises(EngineUnavailableError, match="no engine can be used here: openvino is not installed"):
        run(exported(PVT))


def test_a_model_that_an_engine_rejects_is_a_failed_check_and_the_others_go_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def reject(name: str, model_file: Path, *_: object, **__: object) -> object:
        if name == "openvino":
            raise EngineError("openvino cannot compile model.onnx: no such operator")
        return create_engine(name, model_file)

    monkeypatch.setattr(engine_checks, "open_engine", reject)
    checks = run(exported(PVT))
    assert [(c.engine.name, c.reference) for c in checks if not c] == [("openvino", "loading")]
    assert "no such operator" in problems(checks)
    assert sum(check.engine.name == "onnxruntime" for check in checks) == 4


@pytest.mark.slow
def test_every_file_is_hashed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[str] = []
    original = artifact_file.sha256_of

    def counted(path: Path) -> str:
        hashed.append(path.name)
        return original(path)

    monkeypatch.setattr(artifact_file, "sha256_of", counted)
    run(exported(PVT))
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
    checks = run(exported(PVT), engines=["onnxruntime"])
    against_paddle = [check for check in checks if check.reference == "conformance"]
    assert len(against_paddle) == 3
    assert not any(against_paddle)
    assert all(problem in check.comparison.problems[0] for check in against_paddle)


def test_nan_for_one_image_names_the_image(with_fault) -> None:
    zebra = Validation(read_artifact(exported(PVT))).inputs.images[1]

    def fault(batch: Array, outputs: Outputs) -> Outputs:
        bad = [np.array_equal(image, zebra) for image in batch]
        return {**outputs, "embedding": np.where(np.array(bad)[:, None], np.nan, outputs["embedding"])}

    with_fault(fault)
    checks = run(exported(PVT), engines=["onnxruntime"])
    assert not any(checks)
    assert "'embedding' holds NaN or infinity in rows [1] (coffee.jpg)" in problems(checks)
    assert all(check.comparison.failed_rows == (1,) for check in checks if check.reference == "conformance")
    assert "cannot serve as a reference" in problems([check for check in checks if check.reference == "order"])


def test_rows_that_depend_on_their_neighbours_fail_in_another_order_only(with_fault) -> None:
    recorded = Validation(read_artifact(exported(PVT))).inputs.images

    def fault(batch: Array, outputs: Outputs) -> Outputs:
        # Right for the batches in which the images come as recorded, whatever their size.
        first = [int(np.argmin(np.abs(recorded - image).sum(axis=(1, 2, 3)))) for image in batch]
        wrong = any((b - a) % len(recorded) != 1 for a, b in pairwise(first))
        return {name: values[::-1] if wrong else values for name, values in outputs.items()}

    with_fault(fault)
    checks = run(exported(PVT), engines=["onnxruntime"])
    assert [check.reference for check in checks if not check] == ["order"]
    assert "'logits' differs" in problems(checks)


@pytest.mark.slow
def test_a_batch_that_is_baked_in_fails(copy: Path) -> None:
    alter(copy, bake_batch)
    checks = run(copy)
    assert {check.batch_size for check in checks if check} == {1}
    failed = [check for check in checks if not check]
    assert {(check.engine.name, check.batch_size) for check in failed} == {
        (engine, size) for engine in ("openvino", "onnxruntime") for size in (2, 3)
    }
    assert "at batch size 2: input 'pixel_values' must have shape (1, 3, 32, 32), got (2, 3, 32, 32)" in problems(
        failed
    )


def test_an_engine_that_computes_in_less_than_fp32_fails_whatever_the_numbers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Half(FakeEngine):
        info = EngineInfo("openvino", "CPU", "bf16", "0", "requested")

    real = create_engine("onnxruntime", read_artifact(exported(PVT)).model_file())
    monkeypatch.setattr(
        engine_checks, "open_engine", lambda *_, **__: Half(lambda batch: real.run({INPUT_NAME: batch}))
    )
    checks = run(exported(PVT), engines=["openvino"])
    assert not any(check for check in checks if check.reference == "conformance")
    assert "openvino computes in bf16, expected fp32" in problems(checks)


def test_outputs_that_change_their_names_fail(with_fault) -> None:
    first = Validation(read_artifact(exported(PVT))).inputs.images[0]
    with_fault(lambda batch, out: out if np.array_equal(batch[0], first) else {"logits": out["logits"]})
    checks = run(exported(PVT), engines=["onnxruntime"], batch_sizes=[1])
    assert "at batch size 1 the outputs differ in name or shape from batch to batch" in problems(checks)


@pytest.mark.slow
def test_every_batch_size_is_what_the_engine_computes_with(monkeypatch: pytest.MonkeyPatch) -> None:
    pieces: list[int] = []
    right = openvino._Run

    def counted(compiled: object, feeds: object, piece: Piece) -> object:
        pieces.append(piece.size)
        return right(compiled, feeds, piece)

    monkeypatch.setattr(openvino, "_Run", counted)
    assert all(run(exported(PVT), engines=["openvino"], batch_sizes=[1, 2, 5]))
    # Six images: in order, in another order at the largest size.
    assert pieces == [5, 5, 5, 5, 2, 2, 2, 1, 1, 1, 1, 1, 1]


def test_what_is_built_for_a_range_of_batch_sizes_is_built_once(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[tuple[int, bool]] = []
    real = create_engine("onnxruntime", read_artifact(exported(PVT)).model_file())

    class Plan(FakeEngine):
        def warm(self) -> tuple[()]:
            return ()

    def build(_name: str, _file: Path, _precision: str, size: int, *, build: bool) -> Plan:
        opened.append((size, build))
        return Plan(lambda batch: real.run({INPUT_NAME: batch}), max_batch=size)

    monkeypatch.setattr(engine_checks, "open_engine", build)
    monkeypatch.setattr(validate, "ENGINES", {"openvino": ""})
    assert all(run(exported(PVT), engines=["openvino"]))
    assert all(run(exported(PVT)))
    assert opened == [(3, True), (3, False)], "and unasked only what was built before"


def test_the_order_is_exact_whatever_the_tolerance(with_fault) -> None:
    def fault(batch: Array, outputs: Outputs) -> Outputs:
        # A little of the neighbour: within a wide tolerance.
        leak = np.float32(1e-3) * outputs["logits"][:1]
        return {**outputs, "logits": outputs["logits"] + leak}

    with_fault(fault)
    checks = run(exported(PVT), engines=["onnxruntime"], tolerance=0.1)
    assert [check.reference for check in checks if not check] == ["order"]
    assert checks[-1].tolerance == TOLERANCES["fp32"]


def test_a_validation_that_was_not_carried_out_to_its_end_has_not_passed() -> None:
    validation = Validation(read_artifact(exported(PVT)), engines=["onnxruntime"])
    steps = validation.run()
    assert all([next(steps), next(steps)])
    assert not validation
    assert len([*steps]) == 2
    assert validation
    next(validation.run())
    assert not validation


@pytest.mark.slow
def test_the_device_that_was_asked_for_is_kept() -> None:
    validation = Validation(read_artifact(exported(PVT)), engines=["openvino:CPU", "openvino", "auto"])
    checks = list(validation.run())
    assert [check.requested for check in checks[::4]] == ["openvino:CPU", "openvino", "openvino"]
    assert {check.engine.name for check in checks} == {"openvino"}


# Another artifact as the reference


@pytest.mark.slow
def test_another_revision_agrees_on_noise_and_plain_inputs_and_images(revision: Artifact, tmp_path: Path) -> None:
    pictures = []
    for number in range(7):
        pictures.append(tmp_path / f"{number}.png")
        Image.effect_noise((40 + number, 50), 60).convert("RGB").save(pictures[-1])
    validation = Validation(
        read_artifact(exported(PVT)), against=revision, images=pictures, samples=4, seed=5, engines=["openvino"]
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
    checks = run(exported(PVT), against=read_artifact(copy), engines=["onnxruntime"])
    assert {check.reference for check in checks if not check} == {"against"}
    checks = run(copy, against=read_artifact(exported(PVT)), engines=["onnxruntime"])
    assert {check.reference for check in checks if not check} == {"against", "conformance"}


def test_a_model_is_not_compared_with_itself(copy: Path) -> None:
    with pytest.raises(ValidationError, match="a model always agrees with itself"):
        Validation(read_artifact(copy), against=read_artifact(exported(PVT)))


def test_artifacts_of_different_models_cannot_be_compared(copy: Path) -> None:
    mine = read_artifact(exported(PVT))
    with pytest.raises(InputError, match=r"has 32 pixels a side, .* has 48: they cannot be compared"):
        Validation(mine, against=read_artifact(exported(SWIN)))
    configure(copy, num_classes=7, id2label={str(i): f"c{i}" for i in range(7)})
    alter(copy, rename_producer)
    with pytest.raises(InputError, match=r"has 10 classes, .* has 7: they cannot be compared"):
        Validation(mine, against=read_artifact(copy))


@pytest.mark.slow
def test_a_reference_that_an_engine_rejects_fails_its_checks(revision: Artifact, monkeypatch) -> None:
    def reject(_name: str, _file: Path, *_: object, **__: object) -> object:
        raise EngineError("openvino cannot compile it")

    monkeypatch.setattr(references, "open_engine", reject)
    checks = run(exported(PVT), against=revision, engines=["openvino"])
    assert {check.reference for check in checks if not check} == {"against"}
    assert "the reference 'against' failed: openvino cannot compile it" in problems(checks)


def test_inputs_need_a_reference_that_runs(photos: Path) -> None:
    artifact = read_artifact(exported(PVT))
    for options in ({"images": [photos / "red.png"]}, {"samples": 3}, {"seed": 0}):
        with pytest.raises(InputError, match=r"nothing to compare such inputs with.*--weights.*--against"):
            Validation(artifact, **options)


@pytest.mark.slow
def test_a_reference_that_cannot_be_run_in_an_engine_fails_its_own_checks_only(revision: Artifact, monkeypatch) -> None:
    def without(name: str, *_: object, **__: object) -> object:
        if name == "openvino":
            raise EngineUnavailableError("this CPU has no fp16")
        raise InputError("onnxruntime has no precision 'fp16'")

    monkeypatch.setattr(references, "open_engine", without)
    checks = run(exported(PVT), against=revision)
    assert {check.engine.name for check in checks if check} == {"openvino", "onnxruntime"}
    assert {check.reference for check in checks if not check} == {"against"}
    assert "the reference 'against' failed: this CPU has no fp16" in problems(checks)
    assert "the reference 'against' failed: onnxruntime has no precision" in problems(checks)


# Inputs


def test_noise_is_fixed_by_its_seed_and_fresh_with_another() -> None:
    first, again, other = noise_inputs(32, 5, 1), noise_inputs(32, 5, 1), noise_inputs(32, 5, 2)
    assert np.array_equal(first.images, again.images)
    assert not np.array_equal(first.images, other.images)
    assert first.images.dtype == np.float32
    assert abs(first.images.std() - 1) < 0.02
    assert np.array_equal(noise_inputs(32, 3, 1).images, first.images[:3])


def test_plain_inputs_are_what_they_are_called() -> None:
    spec = read_artifact(exported(PVT)).preprocess
    inputs = plain_inputs(spec)
    levels = inputs.images * np.array(spec.std)[:, None, None] + np.array(spec.mean)[:, None, None]
    by_name = dict(zip(inputs.names, levels, strict=True))
    assert not inputs.images[0].any()
    assert np.allclose(by_name["lowest"], 0, atol=1e-6)
    assert np.allclose(by_name["highest"], 1, atol=1e-6)
    assert np.isclose(by_name["one hot pixel"], 1, atol=1e-6).sum() == 3
    assert np.isclose(by_name["one hot pixel"], 0, atol=1e-6).sum() == 3 * 32 * 32 - 3


def test_an_unreadable_image_is_named(tmp_path: Path) -> None:
    spec = read_artifact(exported(PVT)).preprocess
    (tmp_path / "bad.png").write_bytes(b"no image")
    with pytest.raises(ImageError, match=r"bad\.png is not an image"):
        image_inputs([tmp_path / "bad.png"], spec)
    with pytest.raises(InputError, match="there are no images to validate with"):
        image_inputs([], spec)
