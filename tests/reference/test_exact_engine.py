"""The exact reference as an engine: its interface, its errors, its memory, and that it needs nothing but NumPy."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from specs import SPECS, seeded_engine

from onnxzoo.artifact.folder import INPUT_NAME
from onnxzoo.errors import CheckpointError, EngineError, InputError
from onnxzoo.families import ModelSpec
from onnxzoo.families.pvt_v2.architecture import PvtV2Architecture
from onnxzoo.families.swinv2.architecture import SwinV2Architecture
from onnxzoo.reference.exact import layers, pvt_v2
from onnxzoo.reference.exact.engine import ExactEngine, exact_model
from onnxzoo.weights.seeded import seeded_images, seeded_state

SWIN, PVT, LINEAR = SPECS["swinv2 pre-trained windows"], SPECS["pvt_v2"], SPECS["pvt_v2 linear, overlapping bins"]


@pytest.mark.slow
@pytest.mark.parametrize("spec", [SWIN, PVT, LINEAR], ids=["swinv2", "pvt_v2", "linear"])
def test_an_engine_like_the_others(spec: ModelSpec) -> None:
    engine = seeded_engine(spec)
    assert (engine.info.name, engine.info.device, engine.info.precision) == ("exact", "CPU", "fp64")
    assert engine.max_batch is None
    images = seeded_images(spec.image_size, 3, 1)
    outputs, exact = engine.run({INPUT_NAME: images}), engine.run_float64({INPUT_NAME: images})
    assert {name: (value.dtype.name, value.shape) for name, value in outputs.items()} == {
        "logits": ("float32", (3, 5)),
        "embedding": ("float32", (3, spec.architecture.num_features)),
    }
    for name, value in outputs.items():
        assert exact[name].dtype == np.float64
        np.testing.assert_array_equal(value, exact[name].astype(np.float32))
        assert not np.array_equal(value, exact[name]), "float64 has more digits"
        np.testing.assert_array_equal(value, engine.run_each(images)[name])
        np.testing.assert_array_equal(value[1:2], engine.run({INPUT_NAME: images[1:2]})[name])
    assert [value.shape for value in engine.run({INPUT_NAME: images[:0]}).values()] == [
        (0, 5),
        (0, spec.architecture.num_features),
    ]
    assert engine.run_layers(images[:0], ["head"]) == {}


def test_wrong_inputs_and_use_after_close() -> None:
    engine = seeded_engine(PVT)
    with pytest.raises(InputError, match=r"named \['pixel_values'\], got \['x'\]"):
        engine.run({"x": np.zeros((1, 3, 64, 64), np.float32)})
    for wrong in (np.zeros((1, 3, 32, 64), np.float32), np.zeros((1, 3, 64, 64)), np.zeros((3, 64, 64), np.float32)):
        with pytest.raises(InputError, match=r"float32 \[N, 3, 64, 64\], got float"):
            engine.run_layers(wrong, ["head"])
    engine.close()
    engine.close()
    assert engine.epsilons == {}
    for run in (engine.run, engine.run_float64):
        with pytest.raises(EngineError, match="closed; load the model again"):
            run({INPUT_NAME: np.zeros((1, 3, 64, 64), np.float32)})
    with pytest.raises(EngineError, match="closed"):
        engine.run_layers(np.zeros((1, 3, 64, 64), np.float32), ["head"])


def test_memory_that_is_short_is_an_engine_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(*_: Any) -> None:
        raise MemoryError("Unable to allocate 9.00 GiB")

    engine = seeded_engine(PVT)
    monkeypatch.setattr(pvt_v2, "gelu", no_memory)
    with pytest.raises(EngineError, match=r"ran out of memory: Unable to allocate 9\.00 GiB"):
        engine.run({INPUT_NAME: np.zeros((1, 3, 64, 64), np.float32)})


def change_nan(state: dict[str, Any]) -> None:
    state["norm2.weight"][3] = np.nan


def change_shape(state: dict[str, Any]) -> None:
    state["head.weight"] = state["head.weight"].T


def change_many(state: dict[str, Any]) -> None:
    del state["norm1.bias"]
    state["extra"] = np.zeros(3, np.float32)
    state["head.bias"] = np.zeros(7, np.float32)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (change_nan, r"norm2\.weight' holds NaN or infinite numbers"),
        (change_shape, r"wrongly shaped: head\.weight \(expected \[32, 5\], got \[5, 32\]\)"),
        (
            change_many,
            r"missing: norm1\.bias; unexpected: extra; wrongly shaped: head\.bias \(expected \[5\], got \[7\]\)",
        ),
        (lambda state: state.clear(), r"missing: (\S+, ){5}\.\.\. and \d+ more$"),
        (
            lambda state: state.update({"head.bias": np.zeros(5, np.int64)}),
            r"head\.bias' is of type int64, expected floating-point",
        ),
    ],
)
def test_weights_that_do_not_fit_are_named(change: Callable[[dict[str, Any]], None], message: str) -> None:
    state = dict(seeded_state(exact_model(PVT).shapes, 5))
    change(state)
    with pytest.raises(CheckpointError, match=message):
        ExactEngine.open(PVT, state)


@pytest.mark.slow
def test_an_image_of_nan_or_infinity_spoils_its_own_outputs_only() -> None:
    for spec in (SWIN, PVT):
        engine = seeded_engine(spec)
        images = seeded_images(spec.image_size, 3, 1)
        expected = engine.run({INPUT_NAME: images})["logits"]
        images[1] = np.nan
        images[2, 0, 0, 0] = np.inf
        with np.errstate(all="raise"):
            logits = engine.run({INPUT_NAME: images})["logits"]
        np.testing.assert_array_equal(logits[0], expected[0])
        assert np.isnan(logits[1:]).all()


@pytest.mark.slow
def test_many_threads_get_the_same_numbers() -> None:
    engine, images = seeded_engine(SWIN), seeded_images(SWIN.image_size, 4, 1)
    expected = engine.run_float64({INPUT_NAME: images})["logits"]
    results: dict[int, np.ndarray] = {}

    def run(index: int) -> None:
        results[index] = engine.run_float64({INPUT_NAME: images[index : index + 1]})["logits"]

    threads = [threading.Thread(target=run, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for index in range(4):
        np.testing.assert_array_equal(results[index], expected[index : index + 1])


ALONE = """
import os, sys
for name in ("paddle", "paddle2onnx", "onnx", "onnxruntime", "openvino", "torch", "scipy", "safetensors"):
    sys.modules[name] = None
import numpy as np
from onnxzoo.artifact.folder import INPUT_NAME
from onnxzoo.families import ModelSpec
from onnxzoo.reference.exact.engine import ExactEngine, exact_model
from onnxzoo.weights.seeded import seeded_images, seeded_state
from onnxzoo.registry import find
for name in ("swinv2_nano_fashion", "pvt_v2_nano_fashion"):
    spec = ModelSpec(find(name).architecture, find(name).image_size, 10)
    engine = ExactEngine.open(spec, seeded_state(exact_model(spec).shapes, 1))
    images = {INPUT_NAME: seeded_images(spec.image_size, 1, 1)}
    logits = engine.run(images)["logits"]
    child = os.fork() if hasattr(os, "fork") else 0
    same = np.array_equal(engine.run(images)["logits"], logits)
    if hasattr(os, "fork") and child == 0:
        os._exit(0 if same else 7)
    if child and os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
        sys.exit("the child's numbers are others")
    print(logits.shape)
"""


def test_it_runs_with_numpy_alone_and_after_a_fork() -> None:
    done = subprocess.run([sys.executable, "-P", "-c", ALONE], capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stdout) == (0, "(1, 10)\n(1, 10)\n"), done.stderr


# All of onnxzoo that the exact reference may know: what a model is and how errors and inputs look, no formula.
MAY_IMPORT = {
    "onnxzoo.artifact.folder", "onnxzoo.errors", "onnxzoo.families", "onnxzoo.families.pvt_v2.architecture",
    "onnxzoo.families.swinv2.architecture", "onnxzoo.results",
    "onnxzoo.reference.interface", "onnxzoo.weights.state",
}  # fmt: skip


def imports_of(package: str) -> set[str]:
    """The modules that the files of `package` import, wherever in them, by their full names."""
    folder = Path(importlib.import_module(package).__file__ or "").parent
    found = set()
    for file in folder.glob("**/*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                found.add(importlib.util.resolve_name("." * node.level + (node.module or ""), package))
    return found


def test_it_shares_no_formula() -> None:
    imported = imports_of("onnxzoo.reference.exact")
    assert "onnxzoo.reference.exact.layers" in imported, "imports are found"
    others = {name for name in imported if name.partition(".")[0] not in sys.stdlib_module_names}
    ours = {name for name in others if name.startswith("onnxzoo.") and not name.startswith("onnxzoo.reference.exact.")}
    assert ours <= MAY_IMPORT
    assert {name.partition(".")[0] for name in others} == {"numpy", "onnxzoo"}


def traced_peak(run: Callable[[], Any]) -> int:
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        run()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


@pytest.mark.slow
def test_weights_are_not_copied_and_converted_layer_by_layer() -> None:
    architecture = SwinV2Architecture(4, 96, (1, 1, 2, 2), (3, 6, 12, 24), 4, (0, 0, 0, 0), 4.0, 0.0)
    spec = ModelSpec(architecture, 32, 5)
    state = seeded_state(exact_model(spec).shapes, 5)
    total = sum(value.nbytes for value in state.values())
    held: list[ExactEngine] = []
    assert traced_peak(lambda: held.append(ExactEngine.open(spec, state))) < total / 4
    largest = max(value.nbytes for value in state.values())
    image = {INPUT_NAME: seeded_images(32, 1, 1)}
    # The largest in float64, and an image of 32 pixels that needs little.
    assert 2 * largest < traced_peak(lambda: held[0].run(image)) < 2 * largest + 2e7 < total


@pytest.mark.slow
@pytest.mark.parametrize("family", ["swinv2", "pvt_v2"])
def test_scores_of_large_windows_and_maps_are_held_a_part_at_a_time(family: str) -> None:
    if family == "swinv2":
        architecture: Any = SwinV2Architecture(4, 8, (2, 1, 1, 1), (2, 2, 2, 2), 24, (12, 12, 12, 6), 1.0, 0.0)
        spec, scores = ModelSpec(architecture, 384, 5), 2 * 16 * 576**2 * 8
    else:
        architecture = PvtV2Architecture(
            (8, 8, 8, 8), (1, 1, 1, 1), (2, 2, 2, 2), (4, 4, 2, 1), (1, 1, 1, 1), False, 0.0
        )
        spec, scores = ModelSpec(architecture, 384, 5), 2 * 96**2 * 24**2 * 8
    engine, image = seeded_engine(spec), {INPUT_NAME: seeded_images(384, 1, 1)}
    assert scores > 80e6
    # Scores, the mask, and one head's position bias; the rest is 96 x 96 tokens of 8 to 48 channels.
    assert traced_peak(lambda: engine.run(image)) < 3 * layers.SCORES_BYTES + 2.5e7


@pytest.mark.slow
def test_the_parts_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    for spec in (SWIN, SPECS["swinv2 shifts in three stages"], PVT):
        engine, images = seeded_engine(spec), {INPUT_NAME: seeded_images(spec.image_size, 1, 1)}
        whole = engine.run_float64(images)["logits"]
        with monkeypatch.context() as patch:
            patch.setattr(layers, "SCORES_BYTES", 1)
            np.testing.assert_allclose(engine.run_float64(images)["logits"], whole, rtol=0, atol=1e-13)
