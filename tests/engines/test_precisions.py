"""A validation of files in low precision: tolerances, engines that lack them, and the constants in them."""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from artifacts import (
    MODEL,
    SWIN,
    announce,
    configure,
    copy_shipped,
)
from int8 import int8_matrices, product_without_vnni, quantise
from onnxzoo.validators import engine_checks, running, validate
from onnxzoo.validators.engine_checks import Check
from onnxzoo.validators.low_precision import check_low_precision
from onnxzoo.validators.validate import Validation

from onnxzoo.artifact.folder import INPUT_NAME, read_artifact
from onnxzoo.comparison.tolerances import TOLERANCES
from onnxzoo.cpu import cpu
from onnxzoo.engines import create_engine
from onnxzoo.engines.fake import FakeEngine
from onnxzoo.errors import EngineUnavailableError, InputError, ValidationError
from onnxzoo.results import Array

pytest.importorskip("onnxruntime", reason="needs the cpu extra")

Outputs = dict[str, Array]
INT8_MODEL = "onnx/model_int8.onnx"


def run(folder: Path, **options: object) -> list[Check]:
    return list(Validation(read_artifact(folder), **options).run())  # type: ignore[arg-type]


def problems(checks: list[Check]) -> str:
    return " | ".join(problem for check in checks for problem in check.comparison.problems)


def quantised_copy(folder: Path, name: str = SWIN, *, reduce_range: bool = True) -> Path:
    """A shipped model with an int8 file beside fp32, calibrated on its recorded inputs.

    SwinV2's first convolution is in fp32, as in the file that ships: it is the noisiest layer.
    """
    copy_shipped(folder, name)
    images = Validation(read_artifact(folder)).inputs.images
    stem = ["patch_embed.proj/Conv"] if name == SWIN else []
    quantise(folder / MODEL, folder / INT8_MODEL, images, reduce_range=reduce_range, fp32_layers=stem)
    announce(folder, INT8_MODEL, precision="int8")
    return folder


@pytest.fixture(scope="module")
def quantised(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The SwinV2 model that ships, with an int8 file whose weights have 7 bits."""
    return quantised_copy(tmp_path_factory.mktemp("int8") / "artifact")


@pytest.fixture(scope="module")
def full_range(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with weights of all 8 bits, which are right on some processors only."""
    return quantised_copy(tmp_path_factory.mktemp("full") / "artifact", reduce_range=False)


@pytest.mark.slow
def test_weights_of_7_bits_cannot_saturate_and_those_of_8_do(quantised: Path, full_range: Path) -> None:
    random = np.random.default_rng(0)
    names = int8_matrices(quantised / INT8_MODEL).keys()
    assert len(names) >= 20
    wrong = []
    for name in names:
        narrow, full = (int8_matrices(folder / INT8_MODEL)[name] for folder in (quantised, full_range))
        activations = random.integers(128, 256, (4, len(narrow)), dtype=np.uint8)
        activations[0] = 255
        exact = activations.astype(np.int32) @ narrow.astype(np.int32)
        assert (product_without_vnni(activations, narrow) == exact).all(), name
        exact = activations.astype(np.int32) @ full.astype(np.int32)
        wrong.append((product_without_vnni(activations, full) != exact).any())
    assert all(wrong)
    # The worst pair that 7 bits allow, and what 8 bits allow.
    both = np.full((1, 2), 255, np.uint8)
    for weight, expected in ((-64, -32640), (64, 32640), (-128, -32768), (127, 32767)):
        assert product_without_vnni(both, np.full((2, 1), weight, np.int8)).item() == expected


def test_weights_that_saturate_elsewhere_are_named_on_every_processor(quantised: Path, full_range: Path) -> None:
    notes = [
        next(Validation(read_artifact(folder), precisions=["int8"]).run()).note for folder in (quantised, full_range)
    ]
    assert notes[0] == "125 equal"
    count = len(int8_matrices(full_range / INT8_MODEL))
    assert notes[1].startswith(f"125 equal; {count} use all 8 bits, and their products saturate on CPUs without VNNI")


# Artifacts -> whether their int8 files pass in OpenVINO, and the lower SNR of the two outputs in dB.
MEASURE = """
import sys
from pathlib import Path
from onnxzoo.artifact.folder import read_artifact
from onnxzoo.validators.validate import Validation

for folder in sys.argv[1:]:
    validation = Validation(read_artifact(Path(folder)), precisions=["int8"], engines=["openvino"], batch_sizes=[3])
    check = next(check for check in validation.run() if check.reference == "conformance")
    print(bool(check), min(figures.snr_db for figures in check.comparison.outputs.values()))
"""


@pytest.mark.slow
@pytest.mark.skipif(
    "avx2" not in (cpu().instruction_sets or ()) or platform.machine().lower() not in ("x86_64", "amd64"),
    reason="the switch is of x86",
)
def test_a_processor_with_avx2_only_is_right_with_7_bits_and_fails_with_8(quantised: Path, full_range: Path) -> None:
    if importlib.util.find_spec("openvino") is None:
        pytest.skip("needs openvino")
    done = subprocess.run(
        [sys.executable, "-P", "-c", MEASURE, str(quantised), str(full_range)],
        capture_output=True, text=True, check=True, env={**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"},
    )  # fmt: skip
    (right, snr_db), (wrong, saturated_db) = (line.split() for line in done.stdout.splitlines())
    limit = TOLERANCES["int8"].snr_db
    assert limit is not None
    assert (right, wrong) == ("True", "False")
    assert float(saturated_db) < limit - 1 < limit + 3 < float(snr_db)


@pytest.mark.slow
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
    with pytest.raises(InputError, match="has no 'fp16' model; available precisions: fp32, int8"):
        run(quantised, precisions=["fp16"])


def test_another_precision_of_the_same_artifact_is_a_reference(quantised: Path) -> None:
    artifact = read_artifact(quantised)
    for options in ({"precisions": ["int8"]}, {"precisions": ["fp32"], "against_precision": "int8"}):
        checks = run(quantised, against=artifact, engines=["onnxruntime"], **options)
        against = [check for check in checks if check.reference == "against"]
        assert len(against) == 3
        assert all(checks), problems(checks)
        assert all(check.tolerance == TOLERANCES["int8"] for check in against)


@pytest.mark.parametrize("shape", [[128, 10], [32, 96], [64, 192], [128, 384]])
def test_a_broken_int8_model_fails(quantised: Path, tmp_path: Path, shape: list[int]) -> None:
    import onnx
    from onnx import numpy_helper

    folder = Path(shutil.copytree(quantised, tmp_path / "broken"))
    path = folder / INT8_MODEL
    model = onnx.load(path)
    tensor = next(t for t in model.graph.initializer if list(t.dims) == shape)
    values = numpy_helper.to_array(tensor)
    tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(values[::-1]), tensor.name))
    onnx.save(model, path)
    announce(folder, INT8_MODEL)
    checks = run(folder, precisions=["int8"], engines=["onnxruntime"])
    assert not any(check for check in checks if check.reference == "conformance")


def test_an_int8_model_with_another_bias_fails(quantised: Path, tmp_path: Path) -> None:
    import onnx
    from onnx import numpy_helper

    folder = Path(shutil.copytree(quantised, tmp_path / "broken"))
    path = folder / INT8_MODEL
    model = onnx.load(path)
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    bias, scale = (numpy_helper.to_array(tensors[f"head.bias_quantized{end}"]) for end in ("", "_scale"))
    other = (bias + 3 / scale).round().astype(bias.dtype)
    tensors["head.bias_quantized"].CopyFrom(numpy_helper.from_array(other, "head.bias_quantized"))
    onnx.save(model, path)
    announce(folder, INT8_MODEL)
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
        "layers.0.blocks.0.mlp.fc1.weight_scale", lambda scale: scale * np.float32(0.9), "more than half a step",
    ),
    "all within a step": (
        "layers.2.blocks.1.mlp.fc1.weight_scale", lambda scale: scale * np.float32(1e4), "is too wide",
    ),
    "a zero point": ("head.weight_zero_point", lambda zero: zero + np.int8(1), "1277 of 1280 values differ"),
    "a norm's weights": ("norm.weight", lambda values: values[::-1], "values differ from what float32 makes"),
    "another shape": ("norm.bias", lambda values: values[:, None], "the shape is [128, 1], expected [128]"),
}  # fmt: skip


@pytest.mark.parametrize("case", INT8_FAULTS)
def test_the_constants_of_an_int8_model_are_the_fp32_models(case: str, quantised: Path, tmp_path: Path) -> None:
    import onnx
    from onnx import numpy_helper

    name, change, expected = INT8_FAULTS[case]
    folder = Path(shutil.copytree(quantised, tmp_path / "faulty"))
    path = folder / INT8_MODEL
    model = onnx.load(path)
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == name)
    tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(change(numpy_helper.to_array(tensor))), name))
    onnx.save(model, path)
    announce(folder, INT8_MODEL)
    # Loaded knowingly: a file with another shape is refused before anything is compared.
    check = next(Validation(read_artifact(folder, "any"), precisions=["int8"]).run())
    assert (check.reference, check.precision) == ("parameters", "int8")
    (problem,) = check.comparison.problems
    assert problem.startswith(name.removesuffix("_quantized").removesuffix("_scale").removesuffix("_zero_point"))
    assert expected in problem


def test_a_bias_that_nothing_uses_any_more_is_missed(quantised: Path, tmp_path: Path) -> None:
    import onnx

    folder = Path(shutil.copytree(quantised, tmp_path / "faulty"))
    path = folder / INT8_MODEL
    model = onnx.load(path)
    (node,) = (node for node in model.graph.node if "layers.1.blocks.1.mlp.fc2.bias" in node.input)
    node.input[:] = ["scalar.0.5" if name.endswith(".bias") else name for name in node.input]
    onnx.save(model, path)
    announce(folder, INT8_MODEL)
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


@pytest.mark.slow
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


@pytest.mark.slow
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
        outputs = real.run({INPUT_NAME: batch})
        return {**outputs, "logits": outputs["logits"] + np.float32(0.01) * outputs["logits"][:1]}

    monkeypatch.setattr(engine_checks, "open_engine", lambda *_, **__: FakeEngine(leaky))
    checks = run(quantised, precisions=["int8"], engines=["onnxruntime"])
    assert [check.reference for check in checks if not check] == ["order"]
