"""What `onnxzoo validate` is for: fourteen faults, each built for real, caught, and named where it is.

The faults are put into graphs of small seeded models, as mistaken converters would have written them (`faults.py` has
them), or into the engines and the image pipeline. Models are validated against the recorded and the live reference, on
ONNX Runtime and on OpenVINO, with nothing replaced but what is at fault.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from click.testing import CliRunner

pytest.importorskip("paddle", reason="needs the export extra")
pytest.importorskip("onnx", reason="needs the export extra")
import faults
from onnxzoo.validators.engine_checks import ORDER, PARAMETERS
from onnxzoo.validators.engine_settings import cpu_flags
from onnxzoo.validators.locate import locate
from onnxzoo.validators.parameters import ParameterCheck, check_parameters
from onnxzoo.validators.preprocess import check_preprocess
from onnxzoo.validators.validate import Validation

from onnxzoo import image
from onnxzoo.artifact.folder import INPUT_NAME, Artifact, read_artifact
from onnxzoo.cli import main
from onnxzoo.engines import onnxruntime, openvino, openvino_device
from onnxzoo.reference.paddle.swinv2 import MAX_LOGIT_SCALE
from onnxzoo.registry import find
from onnxzoo.results import Array
from onnxzoo.weights.checkpoint import read_checkpoint

pytestmark = pytest.mark.paddle

SWIN, PVT = faults.NAMES
ENGINES = ("openvino", "onnxruntime")
Zoos = Callable[[str], faults.Zoo]
Fault = Callable[[Any], None]


def validated(artifact: Artifact, weights: Path, **choices: Any) -> Validation:
    validation = Validation(artifact, weights=weights, **choices)
    for _ in validation.run():
        pass
    return validation


def problems(validation: Validation, *references: str) -> list[str]:
    return [line for check in validation.checks if check.reference in references for line in check.comparison.problems]


def assert_caught(zoo: faults.Zoo, artifact: Artifact, part: str) -> Validation:
    """Every comparison with a reference fails, at every batch size on both engines, and bisecting names the part."""
    validation = validated(artifact, zoo.weights)
    compared = [check for check in validation.checks if check.reference in ("conformance", "paddle")]
    assert len(compared) == len(ENGINES) * 2 * 3
    assert not any(compared), part
    assert all(re.search(r"'(logits|embedding)' differs by up to", c.comparison.problems[0]) for c in compared)
    found = list(locate(validation))
    assert {bisection.engine.name: bisection.part for bisection in found} == dict.fromkeys(ENGINES, part)
    assert all("does the same: the fault is in the model file" in bisection.message for bisection in found)
    return validation


GRAPH_FAULTS: Mapping[str, tuple[str, str, Fault]] = {
    "one weight changed by 1 %": (SWIN, "layers.1.blocks.1.mlp", faults.one_percent("layers.1.blocks.1.mlp.fc1")),
    "one weight changed by 1 %: of a norm": (PVT, "patch_embed3", faults.one_percent("patch_embed3.norm")),
    "a bias missing: product": (SWIN, "layers.0.blocks.1.attn", faults.no_bias("layers.0.blocks.1.attn.proj")),
    "a bias missing: convolution": (PVT, "patch_embed2", faults.no_bias("patch_embed2.proj")),
    "a transposed square Linear": (SWIN, "layers.0.blocks.0.attn", faults.transposed("layers.0.blocks.0.attn.proj")),
    "q and k exchanged": (SWIN, "layers.1.blocks.1.attn", faults.q_for_k("layers.1.blocks.1")),
    "q and k exchanged: two layers": (PVT, "block3.1.attn", faults.q_for_k("block3.1")),
    "the shift mask left out": (SWIN, "layers.0.blocks.1.attn", faults.no_mask("layers.0.blocks.1")),
    "the relative bias index transposed": (
        SWIN, "layers.2.blocks.1.attn", faults.transposed_bias_index("layers.2.blocks.1"),
    ),
    "LayerNorm eps 1e-6 for 1e-5": (SWIN, faults.SMALL_INPUTS[SWIN], faults.epsilon(faults.SMALL_INPUTS[SWIN], 1e-6)),
    "LayerNorm eps 1e-5 for 1e-6": (PVT, faults.SMALL_INPUTS[PVT], faults.epsilon(faults.SMALL_INPUTS[PVT], 1e-5)),
    "BGR for RGB in the model": (PVT, "patch_embed1", faults.bgr),
}  # fmt: skip


@pytest.mark.parametrize("case", GRAPH_FAULTS)
def test_a_fault_in_the_graph(case: str, zoo: Zoos, tmp_path: Path) -> None:
    name, part, fault = GRAPH_FAULTS[case]
    assert_caught(zoo(name), zoo(name).with_fault(tmp_path / "faulty", fault), part)


def test_the_right_models_pass(zoo: Zoos) -> None:
    for name in faults.NAMES:
        validation = validated(read_artifact(zoo(name).artifact), zoo(name).weights)
        assert validation
        assert not list(locate(validation))


def test_logit_scale_not_clipped(zoo: Zoos, tmp_path: Path) -> None:
    block = "layers.2.blocks.0"
    scale = read_checkpoint(zoo(SWIN).weights, find(SWIN)).state[f"{block}.attn.logit_scale"]
    assert scale.max() > MAX_LOGIT_SCALE == np.log(100.0)
    artifact = zoo(SWIN).with_fault(tmp_path / "faulty", faults.unclipped(block, scale))
    assert_caught(zoo(SWIN), artifact, f"{block}.attn")


def test_the_best_class_agrees_but_the_logits_do_not(zoo: Zoos, tmp_path: Path) -> None:
    artifact = zoo(PVT).with_fault(tmp_path / "faulty", faults.scaled_head(1.001))
    validation = assert_caught(zoo(PVT), artifact, "head")
    assert {c.comparison.top1_agreement for c in validation.checks if c.reference == "paddle"} == {1.0}


# What the parameters themselves show: faults that hardly move the outputs, and the name of the tensor at once.


def parameter_problems(zoo: faults.Zoo, artifact: Artifact) -> tuple[str, ...]:
    state = read_checkpoint(zoo.weights, find(zoo.name)).state
    # Loaded knowingly: a parameter of another shape is refused before it is compared.
    file = dataclasses.replace(artifact, trust="any").model_file()
    return check_parameters(file, state, artifact.architecture, zoo.reference.epsilons).problems


@pytest.mark.parametrize(("name", "layer"), [(SWIN, "layers.1.blocks.0.mlp.fc2"), (PVT, "block2.1.mlp.fc1")])
def test_a_single_value_changed_by_one_percent_is_seen_in_the_parameters(
    name: str, layer: str, zoo: Zoos, tmp_path: Path
) -> None:
    place = []

    def change(values: Any) -> Any:
        # One of middling size. In models of this size the outputs may show even that, in larger ones they do not.
        index = np.unravel_index(np.argsort(np.abs(values), axis=None)[values.size // 2], values.shape)
        place.append([int(i) for i in index])
        values[index] *= 1.01
        return values

    artifact = zoo(name).with_fault(tmp_path / "faulty", faults.edit(f"{layer}.weight", change))
    (problem,) = parameter_problems(zoo(name), artifact)
    assert f"{layer}.weight: 1 of " in problem
    assert f"most at {place[0]}: " in problem
    validation = validated(artifact, zoo(name).weights, engines=["onnxruntime"])
    assert problem in problems(validation, PARAMETERS)
    assert not validation


def test_what_the_parameters_show(zoo: Zoos, tmp_path: Path) -> None:
    def found(name: str, fault: Fault) -> str:
        artifact = zoo(name).with_fault(tmp_path / f"{len(list(tmp_path.iterdir()))}", fault)
        (problem,) = parameter_problems(zoo(name), artifact)
        return problem

    # Behind this product is a norm: no output can show the fault, and none needs to.
    reduction = "layers.0.downsample.reduction"
    assert re.search("all of them by a factor of 1.01$", found(SWIN, faults.one_percent(reduction)))
    square = "layers.1.blocks.1.attn.proj"
    assert f"{square}.weight: " in found(SWIN, faults.transposed(square))
    assert "by a factor of" in found(PVT, faults.one_percent("block1.1.attn.q")), "also beside the folded scale"
    assert found(SWIN, faults.epsilon("norm", 1e-6)) == "norm has the epsilon 1e-06, expected 1e-05"
    assert found(PVT, faults.epsilon("norm2", 1e-5)) == "norm2 has the epsilon 1e-05, expected 1e-06"
    bad = found(PVT, faults.edit("norm3.bias", lambda values: np.where(values == values.max(), np.nan, values)))
    assert bad.startswith("norm3.bias: 1 of 96 values differ from the checkpoint's, most at [")
    assert ": nan, expected " in bad
    shape = found(PVT, faults.edit("head.weight", lambda values: values[:, :9]))
    assert shape == "head.weight has the shape [96, 9] in the ONNX file, expected [96, 10]"


def test_of_right_models_all_parameters_are_equal_or_folded(zoo: Zoos) -> None:
    for name in faults.NAMES:
        artifact = read_artifact(zoo(name).artifact)
        state = read_checkpoint(zoo(name).weights, find(name)).state
        checked = check_parameters(artifact.model_file(), state, artifact.architecture, zoo(name).reference.epsilons)
        assert checked, checked.problems
        assert checked.equal + len(checked.absent) == len(state)
        assert not checked.elsewhere
        folded = {n for n in state if re.search(r"logit_scale|[qv]_bias|cpb_mlp", n)}
        assert set(checked.absent) == folded


@pytest.mark.parametrize("name", faults.NAMES)
def test_parameters_under_other_names_are_found_by_their_values_or_missed(name: str, zoo: Zoos, tmp_path: Path) -> None:
    def rename(graph: Any) -> None:
        for tensor in graph.initializer:
            for node in graph.node:
                node.input[:] = [f"_{tensor.name}" if each == tensor.name else each for each in node.input]
            tensor.name = f"_{tensor.name}"

    state = read_checkpoint(zoo(name).weights, find(name)).state

    def checked(fault: Fault) -> ParameterCheck:
        artifact = zoo(name).with_fault(tmp_path / f"{len(list(tmp_path.iterdir()))}", fault)
        return check_parameters(artifact.model_file(), state, artifact.architecture, zoo(name).reference.epsilons)

    right = checked(rename)
    assert right, right.problems
    assert right.equal == 0
    assert len(right.elsewhere) + len(right.absent) == len(state)
    assert f"{len(right.elsewhere)} equal under another name: " in right.summary

    def one_value(values: Any) -> Any:
        values.flat[7] *= 1.01
        return values

    def one_value_and_rename(graph: Any) -> None:
        faults.edit("head.weight", one_value)(graph)
        rename(graph)

    assert checked(one_value_and_rename).problems == (
        "head.weight is not in the ONNX file, neither its name nor its values",
    )
    layer = "layers.0.blocks.1.attn.proj" if name == SWIN else "patch_embed2.proj"
    (problem,) = checked(faults.no_bias(layer)).problems
    assert problem.startswith(f"{layer}.bias is not in the ONNX file")


def test_a_checkpoint_that_is_not_the_artifacts_is_said_to_be_another(zoo: Zoos, tmp_path: Path) -> None:
    right = zoo(PVT)
    validation = Validation(read_artifact(right.artifact), weights=right.weights)
    assert validation.references["paddle"].remark == ""
    config = json.loads((right.artifact / "config.json").read_text(encoding="utf-8"))
    sha256 = config["source"]["sha256"]
    assert validation.references["paddle"].origin == {"path": str(right.weights), "sha256": sha256}
    folder = right.with_fault(tmp_path / "a", lambda _: None).folder
    config["source"]["sha256"] = "0" * 64
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    options = ["--weights", str(right.weights), "--engine", "onnxruntime", "--batch-size", "1"]
    page = tmp_path / "report.html"
    result = CliRunner().invoke(main, ["validate", str(folder), *options, "--report", str(page)])
    remark = f"{right.weights} (sha256 {sha256}) is not the checkpoint that the artifact says it was exported from"
    assert f"paddle: {remark}" in result.output
    assert remark in page.read_text(encoding="utf-8")
    document = json.loads(CliRunner().invoke(main, ["validate", str(folder), *options, "--json"]).stdout)
    assert document["references"]["paddle"]["sha256"] == sha256
    assert document["references"]["paddle"]["remark"].startswith(remark)
    assert document["seed"] == 7


def test_what_was_found_of_the_parameters_is_said(zoo: Zoos) -> None:
    arguments = ["validate", str(zoo(SWIN).artifact), "--weights", str(zoo(SWIN).weights), "--engine", "onnxruntime"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    assert re.search(
        r"^  \d+ equal; \d+ not in the file, as others are computed with them: layers", result.output, re.M
    )


# Faults of the batch, of engines and of the image pipeline.


@pytest.mark.parametrize(
    ("fault", "problem"),
    [
        (
            faults.baked_batch,
            "at batch size 2: input 'pixel_values' must have shape (1, 3, 48, 48), got (2, 3, 48, 48)",
        ),
        (faults.baked_reshapes, "patch_embed/Reshape"),
    ],
)
def test_batch_baked_in(fault: Fault, problem: str, zoo: Zoos, tmp_path: Path) -> None:
    artifact = zoo(SWIN).with_fault(tmp_path / "faulty", fault)
    validation = validated(artifact, zoo(SWIN).weights)
    for engine in ENGINES:
        checks = [check for check in validation.checks if check.engine.name == engine]
        assert len(checks) == 2 * 3 + 1
        assert [bool(check) for check in checks] == [check.batch_size == 1 for check in checks]
        assert problem in " ".join(checks[2].comparison.problems)
        assert checks[-1].reference == ORDER
    messages = [found.message for found in locate(validation)]
    assert len(messages) == 2
    assert all("layers cannot be compared: the model does not run on these 2 images" in text for text in messages)


@pytest.mark.skipif(
    not cpu_flags() & {"avx512_bf16", "amx_bf16"}, reason="OpenVINO chooses bf16 only on CPUs with AVX512-BF16 or AMX"
)
@pytest.mark.parametrize("admitted", [True, False])
@pytest.mark.parametrize(("name", "part"), [(SWIN, "patch_embed"), (PVT, "patch_embed1")])
def test_openvino_left_in_bf16(
    name: str, part: str, admitted: bool, zoo: Zoos, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Without the hint OpenVINO chooses.
    monkeypatch.setattr(openvino_device.Device, "settings", lambda *_: {"PERFORMANCE_HINT": "LATENCY"})
    if not admitted:
        # An engine that does not notice: the numbers have to tell.
        monkeypatch.setattr(openvino, "PRECISIONS", {"bf16": "fp32"})
    validation = validated(read_artifact(zoo(name).artifact), zoo(name).weights)
    failed = [check for check in validation.checks if not check]
    assert {check.engine.name for check in failed} == {"openvino"}
    text = " ".join(problems(validation, "paddle"))
    assert ("openvino computes in bf16, expected fp32" in text) == admitted
    assert "'logits' differs by up to" in text
    (found,) = locate(validation)
    assert found.part == part, found.message
    assert "right on onnxruntime: the fault is in this engine or its settings" in found.message
    expected = "says that it computes in bf16" if admitted else "INFERENCE_PRECISION_HINT"
    assert expected in " ".join(found.settings)
    assert expected in found.message


@pytest.mark.parametrize(
    ("engine", "module"), [("openvino", openvino.OpenVINOEngine), ("onnxruntime", onnxruntime.OnnxRuntimeEngine)]
)
def test_an_engine_returning_nan_for_one_image(
    engine: str, module: Any, zoo: Zoos, monkeypatch: pytest.MonkeyPatch
) -> None:
    victim = "one hot pixel"
    right = module.run

    def run(self: Any, feeds: Mapping[str, Array]) -> dict[str, Array]:
        outputs: dict[str, Array] = right(self, feeds)
        # The victim has one pixel unlike all others.
        hot = [len(np.unique(picture)) == 6 for picture in feeds[INPUT_NAME]]
        outputs["logits"][hot] = np.nan
        return outputs

    monkeypatch.setattr(module, "run", run)
    validation = validated(read_artifact(zoo(PVT).artifact), zoo(PVT).weights)
    failed = [check for check in validation.checks if not check]
    assert {check.engine.name for check in failed} == {engine}
    assert all(
        f"'logits' holds NaN or infinity in rows [12] ({victim})" in c.comparison.problems[0]
        for c in failed
        if c.reference == "paddle"
    )
    (found,) = locate(validation)
    assert found.part == "the output 'logits'"
    assert "holds NaN or infinity for 1 of " in found.message


def test_wrong_resize_filter(monkeypatch: pytest.MonkeyPatch) -> None:
    right = PIL.Image.Image.resize

    def bilinear(self: Any, size: Any, _resample: Any = None, **more: Any) -> Any:
        return right(self, size, PIL.Image.Resampling.BILINEAR, **more)

    assert all(check_preprocess())
    monkeypatch.setattr(PIL.Image.Image, "resize", bilinear)
    failed = [check for check in check_preprocess() if not check]
    assert len(failed) >= 2
    assert all("values moved, by up to " in check.problem for check in failed)


def test_bgr_for_rgb(monkeypatch: pytest.MonkeyPatch) -> None:
    right = image._resize_and_crop
    monkeypatch.setattr(image, "_resize_and_crop", lambda *arguments: right(*arguments)[:, :, ::-1])
    failed = [check for check in check_preprocess() if not check]
    assert len(failed) >= 2
    result = CliRunner().invoke(main, ["validate", "--preprocess"])
    assert result.exit_code == 1
    assert f"FAILED: {failed[0].case}: {failed[0].problem}" in result.output
    assert "preprocessing FAILED" in result.output


def test_the_command_says_what_where_and_exits_1(zoo: Zoos, tmp_path: Path) -> None:
    artifact = zoo(SWIN).with_fault(tmp_path / "faulty", faults.no_mask("layers.1.blocks.1"))
    arguments = ["validate", str(artifact.folder), "--weights", str(zoo(SWIN).weights), "--engine", "onnxruntime"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 1
    assert (
        "onnxruntime: first wrong in layers.1.blocks.1.attn: at layers.1.blocks.1.attn.proj the error jumps from "
        in (result.output)
    )
    assert "FAILED: " in result.output
