"""Bisecting: the place of a fault is found by its numbers, wherever it is, in both families and on both engines."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("paddle", reason="needs the export extra")
onnx = pytest.importorskip("onnx", reason="needs the export extra")
import faults
from onnx import helper, numpy_helper
from onnxzoo.validators import engine_settings, graph_probes, running
from onnxzoo.validators.bisect import _first_jump, bisect
from onnxzoo.validators.graph_probes import GraphProbes
from onnxzoo.validators.layer_errors import LIMIT, LayerError, onnx_layers
from onnxzoo.validators.layer_values import relative_error, token_orders
from onnxzoo.validators.locate import locate
from onnxzoo.validators.parameters import check_parameters
from onnxzoo.validators.probe_points import probe_points_of
from onnxzoo.validators.validate import Validation

from onnxzoo import cpu as cpu_module
from onnxzoo.artifact.folder import INPUT_NAME, read_artifact
from onnxzoo.engines import ENGINES
from onnxzoo.engines.onnxruntime import OnnxRuntimeEngine
from onnxzoo.errors import EngineError, InputError, ValidationError
from onnxzoo.reference.exact.engine import ExactEngine
from onnxzoo.reference.paddle.build import ModelSpec
from onnxzoo.registry import find
from onnxzoo.results import Array, EngineInfo
from onnxzoo.weights.checkpoint import read_checkpoint
from onnxzoo.weights.seeded import seeded_images

pytestmark = pytest.mark.paddle

SWIN, PVT = faults.NAMES
BOTH_ENGINES = pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
BOTH_FAMILIES = pytest.mark.parametrize("name", faults.NAMES)

Zoos = Callable[[str], faults.Zoo]

# A fault in every block of both models, and in all that is not a block: the part to be named, the fault.
PLACES: Mapping[str, list[tuple[str, Callable[[Any], None]]]] = {
    SWIN: [
        ("patch_embed", faults.one_percent("patch_embed.proj")),
        ("layers.0.blocks.0.attn", faults.one_percent("layers.0.blocks.0.attn.qkv")),
        ("layers.0.blocks.1", faults.wrong_order("layers.0.blocks.1")),
        ("layers.0.downsample", faults.edit("layers.0.downsample.merging_order", lambda index: np.roll(index, 1))),
        ("layers.1.blocks.0", faults.no_residual("layers.1.blocks.0")),
        ("layers.1.blocks.1.norm1", faults.one_percent("layers.1.blocks.1.norm1")),
        ("layers.2.blocks.0.attn", faults.transposed("layers.2.blocks.0.attn.proj")),
        ("layers.2.blocks.1.mlp", faults.no_bias("layers.2.blocks.1.mlp.fc2")),
        ("norm", faults.one_percent("norm")),
        ("head", faults.no_bias("head")),
    ],
    PVT: [
        ("patch_embed1", faults.no_bias("patch_embed1.proj")),
        ("block1.0.norm1", faults.one_percent("block1.0.norm1")),
        ("block1.1.attn", faults.one_percent("block1.1.attn.q")),
        ("patch_embed2", faults.one_percent("patch_embed2.norm")),
        ("block2.0", faults.no_residual("block2.0")),
        ("block2.1.mlp", faults.one_percent("block2.1.mlp.dwconv.dwconv")),
        ("block3.0.attn", faults.transposed("block3.0.attn.proj")),
        ("block3.1.mlp", faults.no_bias("block3.1.mlp.fc2")),
        ("norm3", faults.one_percent("norm3")),
        ("head", faults.one_percent("head")),
    ],
}


def images_for(name: str, count: int = 2) -> Array:
    return seeded_images(find(name).image_size, count, seed=0)


@BOTH_ENGINES
@BOTH_FAMILIES
def test_a_fault_is_named_wherever_it_is(name: str, engine: str, zoo: Zoos, tmp_path: Path) -> None:
    images = images_for(name)
    # Compiling takes OpenVINO its time: every second place. The others are compared on it as the other engine.
    for number, (part, fault) in enumerate(PLACES[name][:: 2 if engine == "openvino" else 1]):
        artifact = zoo(name).with_fault(tmp_path / str(number), fault)
        found = bisect(artifact, engine, images, zoo(name).reference)
        assert found.part == part, found.message
        assert found.after is not None
        assert found.after.error > 1e-3
        if found.after.name in ("patch_embed.proj", "patch_embed1.proj"):
            assert found.before is None
        else:
            assert found.before is not None
            assert found.before.error < 5e-6
        (other,) = found.elsewhere
        assert found.message.startswith(f"{engine}: first wrong in {part}: ")
        assert f"{other} does the same: the fault is in the model file" in found.message
        assert found.settings == (), "a fault of the file is not blamed on the engine"


@BOTH_ENGINES
@BOTH_FAMILIES
def test_in_a_right_model_every_layer_is_compared_and_none_is_named(name: str, engine: str, zoo: Zoos) -> None:
    entry = find(name)
    images = images_for(name, 4)
    images[2], images[3] = 0, 2.2  # nothing but biases, and saturated
    artifact = read_artifact(zoo(name).artifact)
    found = bisect(artifact, engine, images, zoo(name).reference, every_layer=True)
    names = [point.name for point in probe_points_of(entry.architecture, faults.CLASSES)]
    assert [layer.name for layer in found.layers] == [*names, "embedding", "logits"]
    assert found.part is None
    assert all(0 < layer.in_noise < LIMIT / 2 for layer in found.layers), "no layer comes near a jump"
    assert "no layer differs from the reference by more than rounding" in found.message


@BOTH_FAMILIES
def test_the_exact_reference_finds_the_same_places(name: str, zoo: Zoos, tmp_path: Path) -> None:
    entry, images = find(name), images_for(name)
    spec = ModelSpec(entry.architecture, entry.image_size, faults.CLASSES)
    exact = ExactEngine.open(spec, read_checkpoint(zoo(name).weights, entry).state)
    for number, (part, fault) in enumerate(PLACES[name][::3]):
        found = bisect(zoo(name).with_fault(tmp_path / str(number), fault), "onnxruntime", images, exact)
        assert found.part == part, found.message
    right = bisect(read_artifact(zoo(name).artifact), "onnxruntime", images, exact, every_layer=True)
    names = [point.name for point in probe_points_of(entry.architecture, faults.CLASSES)]
    assert [layer.name for layer in right.layers] == [*names, "embedding", "logits"]
    assert right.part is None, right.message


def test_the_linear_variant_and_a_shared_parameter(tmp_path: Path) -> None:
    """Two norms with equal parameters share one tensor in the file: the layers that it hides are said to be unseen."""

    def equal_norms(state: dict[str, Any]) -> None:
        for kind in ("weight", "bias"):
            state[f"block2.0.norm1.{kind}"] = state[f"block2.0.norm2.{kind}"].copy()

    zoo = faults.make_zoo(PVT, tmp_path, equal_norms, linear=True)
    points = {point.name for point in probe_points_of(read_artifact(zoo.artifact).architecture, faults.CLASSES)}
    source = onnx_layers(read_artifact(zoo.artifact), "onnxruntime")
    artifact = read_artifact(zoo.artifact)
    state = read_checkpoint(zoo.weights, find(PVT)).state
    parameters = check_parameters(artifact.model_file(), state, artifact.architecture, zoo.reference.epsilons)
    assert parameters, parameters.problems
    assert parameters.elsewhere == ("block2.0.norm2.weight", "block2.0.norm2.bias")
    assert points - set(source.found) == {"block2.0.norm1", "block2.0.norm2", "block2.0.norm2:input"}
    artifact = zoo.with_fault(tmp_path / "sr", faults.one_percent("block2.1.attn.sr"))
    assert bisect(artifact, "onnxruntime", images_for(PVT), zoo.reference).part == "block2.1.attn"
    artifact = zoo.with_fault(tmp_path / "norm", faults.one_percent("block2.0.mlp.fc1"))
    found = bisect(artifact, "onnxruntime", images_for(PVT), zoo.reference)
    assert found.part == "block2.0.mlp"
    assert "or before it in block2.0, block2.0.norm2, which the file lacks" in found.message


def test_the_first_of_two_faults_is_named(zoo: Zoos, tmp_path: Path) -> None:
    def both(graph: Any) -> None:
        faults.transposed("layers.2.blocks.0.attn.proj")(graph)
        faults.one_percent("layers.0.blocks.1.mlp.fc1")(graph)

    found = bisect(zoo(SWIN).with_fault(tmp_path / "a", both), "onnxruntime", images_for(SWIN), zoo(SWIN).reference)
    assert found.part == "layers.0.blocks.1.mlp"
    assert max(layer.error for layer in found.layers) > 10 * found.layers[3].error


@BOTH_ENGINES
def test_nan_is_named_where_it_arises(engine: str, zoo: Zoos, tmp_path: Path) -> None:
    fault = faults.edit("block2.1.attn.proj.bias", lambda values: np.where(np.arange(len(values)) == 3, np.nan, values))
    found = bisect(zoo(PVT).with_fault(tmp_path / "a", fault), engine, images_for(PVT), zoo(PVT).reference)
    assert found.part == "block2.1.attn"
    assert "at block2.1.attn.proj holds NaN or infinity for 2 of 2 images" in found.message


@pytest.mark.parametrize(("name", "part"), [(SWIN, "layers.1.blocks.1.mlp"), (PVT, "block3.0.mlp")])
def test_another_artifact_is_a_reference_too(name: str, part: str, zoo: Zoos, tmp_path: Path) -> None:
    right = onnx_layers(read_artifact(zoo(name).artifact), "onnxruntime")
    artifact = zoo(name).with_fault(tmp_path / "a", faults.one_percent(f"{part}.fc1"))
    assert bisect(artifact, "openvino", images_for(name), right).part == part
    assert bisect(read_artifact(zoo(name).artifact), "openvino", images_for(name), right).part is None


def renamed(graph: Any, chosen: Callable[[str], bool]) -> None:
    """Other names for parameters."""
    found = {tensor.name for tensor in graph.initializer if chosen(tensor.name)}
    for node in graph.node:
        node.input[:] = [f"onnx::{name}" if name in found else name for name in node.input]
    for tensor in graph.initializer:
        tensor.name = f"onnx::{tensor.name}" if tensor.name in found else tensor.name


def test_layers_of_a_file_without_the_checkpoints_names_cannot_be_compared(zoo: Zoos, tmp_path: Path) -> None:
    artifact = zoo(PVT).with_fault(
        tmp_path / "a", lambda graph: renamed(graph, lambda name: name.endswith((".weight", ".bias")))
    )
    found = bisect(artifact, "onnxruntime", images_for(PVT), zoo(PVT).reference)
    assert found.part is None
    assert found.layers == ()
    assert (
        "model.onnx has no parameters under the checkpoint's names, such as patch_embed1.proj.weight" in found.message
    )
    right = read_artifact(zoo(PVT).artifact)
    found = bisect(right, "onnxruntime", images_for(PVT), onnx_layers(artifact, "onnxruntime"))
    assert "the reference has no layers under the checkpoint's names" in found.message


def test_parts_that_could_not_be_seen_are_named_as_well(zoo: Zoos, tmp_path: Path) -> None:
    def fault(graph: Any) -> None:
        faults.one_percent("block1.1.mlp.fc1")(graph)
        renamed(graph, lambda name: name.startswith(("block1.1.", "norm1.")))

    found = bisect(zoo(PVT).with_fault(tmp_path / "a", fault), "onnxruntime", images_for(PVT), zoo(PVT).reference)
    assert found.part == "patch_embed2"
    assert "or before it in block1.0, block1.1.norm1, block1.1.attn and " in found.message
    assert "which the file lacks under the checkpoint's names" in found.message


class FusesWrongly(OnnxRuntimeEngine):
    """Right while a tensor is marked; otherwise its logits are 1 % too large, as from a faulty fusion."""

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        outputs = super().run(feeds)
        if not any(name.startswith("onnxzoo_probe_") for name in outputs):
            outputs["logits"] = outputs["logits"] * np.float32(1.01)
        return outputs


class HandsOverWrongly(OnnxRuntimeEngine):
    """One row of the logits is NaN, whatever is marked."""

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        outputs = super().run(feeds)
        outputs["logits"][-1] = np.nan
        return outputs


def use(monkeypatch: pytest.MonkeyPatch, engine: type[OnnxRuntimeEngine]) -> None:
    monkeypatch.setattr(f"onnxzoo.engines.onnxruntime.{OnnxRuntimeEngine.__name__}", engine)


def test_layers_are_compared_on_the_device_that_was_asked_for_and_nothing_is_built_unasked(
    zoo: Zoos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[tuple[str, bool]] = []

    def watched(name: str, file: Path, *rest: Any, cache: Path, build: bool) -> Any:
        assert cache.parent == file.parent, "what is compiled from a temporary file goes with it"
        opened.append((name, build))
        return running.open_engine(name, file, *rest, cache=cache, build=build)

    monkeypatch.setattr(graph_probes, "open_engine", watched)
    artifact = zoo(PVT).with_fault(tmp_path / "a", faults.one_percent("head"))
    validation = Validation(artifact, weights=zoo(PVT).weights, engines=["openvino:CPU"], batch_sizes=[1])
    assert not all([*validation.run()])
    (found,) = locate(validation)
    assert found.message.startswith("openvino:CPU: first wrong in head")
    assert set(found.elsewhere) == {"onnxruntime"}
    assert set(opened) == {("openvino:CPU", True)} | {(name, False) for name in ENGINES if name != "openvino"}


def test_an_error_that_marking_heals_is_one_of_fusion(zoo: Zoos, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, FusesWrongly)
    found = bisect(read_artifact(zoo(PVT).artifact), "onnxruntime", images_for(PVT), zoo(PVT).reference)
    assert found.part == "the output 'logits'"
    assert found.after is not None
    assert found.after.error == pytest.approx(0.01, rel=1e-3)
    assert "marked as outputs, so a fusion there causes it" in found.message


def test_an_output_that_is_not_its_layer_is_named(zoo: Zoos, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, HandsOverWrongly)
    found = bisect(read_artifact(zoo(SWIN).artifact), "onnxruntime", images_for(SWIN), zoo(SWIN).reference)
    assert found.part == "the output 'logits'"
    assert "holds NaN or infinity for 1 of 2 images" in found.message


def test_a_model_that_does_not_run_is_said_not_to(zoo: Zoos, tmp_path: Path) -> None:
    artifact = zoo(PVT).with_fault(tmp_path / "a", faults.baked_batch)
    found = bisect(artifact, "onnxruntime", images_for(PVT), zoo(PVT).reference)
    assert found.part is None
    assert "layers cannot be compared: the model does not run on these 2 images" in found.message
    assert "such as" not in found.message


def test_nothing_to_compare_is_an_error(zoo: Zoos) -> None:
    class Empty:
        def run_layers(self, images: Array, names: Any) -> dict[str, Array]:
            return {name: np.full((len(images), 96), np.nan, np.float32) for name in names if name == "head:input"}

    artifact = read_artifact(zoo(PVT).artifact)
    with pytest.raises(InputError, match="no images"):
        bisect(artifact, "onnxruntime", images_for(PVT)[:0], zoo(PVT).reference)
    with pytest.raises(
        ValidationError, match="the reference's own values of embedding cannot be compared: it holds NaN"
    ):
        bisect(artifact, "onnxruntime", images_for(PVT), Empty())


def test_the_reference_gives_its_layers_and_is_left_as_it_was(zoo: Zoos) -> None:
    reference, images = zoo(SWIN).reference, images_for(SWIN)
    before = reference.run({INPUT_NAME: images})
    values = reference.run_layers(images, ["layers.1", "layers.1.blocks.0.attn:input", "head", "no.such.layer"])
    assert {name: value.shape for name, value in values.items()} == {
        "layers.1": (2, 9, 128), "layers.1.blocks.0.attn:input": (8, 9, 64), "head": (2, 10),
    }  # fmt: skip
    np.testing.assert_array_equal(values["head"], before["logits"])
    assert not any(layer._forward_pre_hooks or layer._forward_post_hooks for layer in reference._model.sublayers())
    assert reference.epsilons["norm"] == 1e-5
    assert zoo(PVT).reference.epsilons["norm3"] == 1e-6
    with pytest.raises(InputError, match="pixel_values must be float32"):
        reference.run_layers(images[:, :2], ["head"])
    closed = faults.PaddleEngine.open(
        reference_spec(SWIN), {n: p.numpy() for n, p in reference._model.named_parameters()}
    )
    closed.close()
    with pytest.raises(EngineError, match="closed"):
        closed.run_layers(images, ["head"])


def reference_spec(name: str) -> Any:
    entry = find(name)
    return faults.ModelSpec(entry.architecture, entry.image_size, faults.CLASSES)


def test_tokens_may_be_in_window_order_but_not_in_any_other() -> None:
    entry = find(SWIN)
    orders = token_orders(entry.architecture, entry.image_size)
    assert {tokens: len(found) for tokens, found in orders.items()} == {144: 7, 36: 7, 9: 1}
    assert all(found[0].tolist() == list(range(tokens)) for tokens, found in orders.items())
    rows = np.random.RandomState(0).standard_normal((2, 36, 5)).astype(np.float32)
    grid = rows.reshape(2, 6, 6, 5)
    windows = grid.reshape(2, 2, 3, 2, 3, 5).transpose(0, 1, 3, 2, 4, 5).reshape(2, 36, 5)
    rolled = np.roll(grid, (-1, -1), (1, 2)).reshape(2, 2, 3, 2, 3, 5).transpose(0, 1, 3, 2, 4, 5).reshape(2, 36, 5)
    for first in (rows, windows, rolled):
        for second in (rows, windows, rolled):
            assert relative_error(first, second, 2, 5, orders) == (0.0, "")
    assert relative_error(rows, np.roll(rows, 1, axis=1), 2, 5, orders)[0] > 0.5
    assert relative_error(rows, grid.transpose(0, 2, 1, 3).reshape(2, 36, 5), 2, 5, orders)[0] > 0.5
    assert token_orders(find(PVT).architecture, 32) == {}


def test_layouts_that_mean_the_same_are_equal_and_others_are_not() -> None:
    tokens = np.random.RandomState(0).standard_normal((2, 12, 4)).astype(np.float32)
    channels_first = tokens.transpose(0, 2, 1)
    for layout in (tokens.reshape(24, 4), tokens.reshape(8, 3, 4), channels_first, channels_first.reshape(2, 4, 3, 4)):
        assert relative_error(tokens, layout, 2, 4, {}) == (0.0, "")
        assert relative_error(layout, tokens, 2, 4, {}) == (0.0, "")
    scaled = tokens.copy()
    scaled[1] *= 1.5
    assert relative_error(tokens, scaled, 2, 4, {})[0] == pytest.approx(0.5), "the worst image counts, not the mean"
    for wrong in (tokens[:, :6], tokens.reshape(2, 4, 12)[:, :, :11], tokens.reshape(-1)):
        error, problem = relative_error(tokens, wrong, 2, 4, {})
        assert error == float("inf")
        assert problem.startswith(f"has the shape {list(wrong.shape)}, expected the values of [2, 12, 4]")
    tokens[1, 3, 2] = np.inf
    assert relative_error(np.ones_like(tokens), tokens, 2, 4, {}) == (
        float("inf"), "holds NaN or infinity for 1 of 2 images",
    )  # fmt: skip


def test_probe_points_are_found_whatever_operator_computes_the_layer() -> None:
    def graph_of(*nodes: Any, **constants: tuple[int, ...]) -> Any:
        tensors = [numpy_helper.from_array(np.ones(shape, np.float32), name) for name, shape in constants.items()]
        return helper.make_graph(list(nodes), "g", [], [], tensors)

    def node(op_type: str, inputs: str, output: str, **attributes: Any) -> Any:
        return helper.make_node(op_type, inputs.split(), [output], **attributes)

    points = [
        point
        for point in probe_points_of(find(PVT).architecture, 10)
        if point.anchor in ("head", "block1.0.mlp.fc1", "norm3")
    ]
    weight = {"head.weight": (3, 4)}

    def found(*nodes: Any, **constants: tuple[int, ...]) -> dict[str, str]:
        return GraphProbes(graph_of(*nodes, **{**weight, **constants}), points).tensors

    product = node("MatMul", "x head.weight", "p")
    assert found(product) == {"head:input": "x", "head": "p"}, "a bias left out"
    assert found(product, node("Add", "p y", "s")) == {"head:input": "x", "head": "p"}, "a sum of activations"
    assert found(product, node("Add", "other p", "s"), other=(4,)) == {"head:input": "x", "head": "s"}
    cast = node("Cast", "p", "c", to=1)
    assert found(product, cast, node("Add", "c head.bias", "s"), **{"head.bias": (4,)})["head"] == "s"
    assert found(node("Gemm", "x head.weight head.bias", "g"), **{"head.bias": (4,)})["head"] == "g"
    turned = node("Transpose", "head.weight", "t")
    assert found(turned, node("MatMul", "t x", "p")) == {"head:input": "x", "head": "p"}, "a product from the left"
    again = node("MatMul", "y head.weight", "q")
    assert found(product, again) == {}, "which of two layers is it?"
    assert found(product, again, node("Gemm", "z head.weight head.bias", "g"), **{"head.bias": (4,)})["head"] == "g"
    steps = [node("Mul", "n norm3.weight", "m"), node("Add", "m norm3.bias", "s")]
    assert found(*steps, **{"norm3.weight": (3,), "norm3.bias": (3,)}) == {"norm3": "s"}, "a norm in single steps"
    quantised = [node("DequantizeLinear", "head.weight_quantized scale", "d"), node("MatMul", "x d", "p")]
    constants = {"head.weight_quantized": (3, 4), "scale": ()}
    assert GraphProbes(graph_of(*quantised, **constants), points).tensors == {"head:input": "x", "head": "p"}


def layer(name: str, error: float, noise: float = 1e-6) -> LayerError:
    return LayerError(name, name, error, noise, "")


def test_a_jump_is_one_over_noise_and_over_all_that_came_before() -> None:
    assert _first_jump([]) is None
    assert _first_jump([layer("a", 1e-7), layer("b", 2.9e-6)]) is None, "noise"
    assert _first_jump([layer("a", 1e-7), layer("b", 2.9e-5, noise=1e-5)]) is None, "noise that the model amplifies"
    assert _first_jump([layer("a", 1e-7), layer("b", 3.1e-6), layer("c", 1)]) == 1, "the first, not the largest"
    assert _first_jump([layer("a", 2e-3)]) == 0
    assert _first_jump([layer("a", 1e-7), layer("b", float("inf")), layer("c", float("inf"))]) == 1
    slowly = [layer(str(step), 1e-6 * 2**step) for step in range(20)]
    assert _first_jump(slowly) is None, "an error that only grows has no place"


def test_settings_are_named_only_where_they_could_have_done_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def suspects(name: str, part: str, error: float, precision: str = "fp32", *, start: bool = True) -> str:
        info = EngineInfo(name, "CPU", precision, "1", "requested")
        return " | ".join(engine_settings.suspects(info, part, error, from_the_start=start))

    monkeypatch.setattr(engine_settings, "cpu_flags", lambda: frozenset({"avx512_bf16"}))
    assert "INFERENCE_PRECISION_HINT" in suspects("openvino", "patch_embed", 2e-3)
    assert suspects("openvino", "patch_embed", 1e-5) == "", "bf16 errs by more"
    assert suspects("openvino", "patch_embed", 2e-3, start=False) == "", "bf16 does not begin in the middle"
    assert suspects("onnxruntime", "patch_embed", 2e-3) == "", "not on this processor"
    assert "computes in bf16" in suspects("openvino", "block1.0.mlp", 0.5, "bf16", start=False)
    assert "fused attention" in suspects("onnxruntime", "block1.0.attn", 0.5, start=False)
    for name in ("cuda", "tensorrt", "tensorrt-rtx"):
        assert "use_tf32=0" in suspects(name, "patch_embed", 3e-4)
    assert set(engine_settings._ATTENTION) == set(ENGINES)
    monkeypatch.setattr(engine_settings, "cpu_flags", frozenset)
    assert suspects("openvino", "patch_embed", 2e-3) == ""


def test_processor_flags_are_those_of_the_system(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(cpu_module, "CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(sys, "platform", "linux")
    try:
        cpu_module._description.cache_clear()
        assert engine_settings.cpu_flags() == frozenset()
        (tmp_path / "cpuinfo").write_text("processor\t: 0\nFeatures\t: fp asimd bf16\n", encoding="utf-8")
        cpu_module._description.cache_clear()
        assert engine_settings.cpu_flags() == {"neon", "bf16"}
    finally:
        cpu_module._description.cache_clear()
