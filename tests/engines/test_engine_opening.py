"""Opening an engine: what it says about its outputs, and that nothing stays open where it fails."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import tempfile
import weakref
from pathlib import Path

import pytest
from fake_onnxruntime import CPU, PROVIDERS, FakeSession
from specs import SPECS, seeded_engine
from tiny import tiny_graph, tiny_outputs

from onnxzoo.engines import create_engine, openvino
from onnxzoo.engines.fake import FakeEngine
from onnxzoo.engines.openvino_compile import Compiler
from onnxzoo.engines.options import EngineOptions
from onnxzoo.errors import EngineError, EngineUnavailableError, InputError, OnnxzooError
from onnxzoo.results import TensorSpec
from onnxzoo.temporary import abandoned_scratch

GPU_ENGINES = list(PROVIDERS)
OUTPUTS = {"logits": TensorSpec((None, 4), "float32"), "embedding": TensorSpec((None, 3), "float32")}


@pytest.mark.parametrize("name", ["openvino", "onnxruntime"])
def test_outputs_are_described_as_the_library_has_them(name, model_file, tmp_path):
    engine = create_engine(name, model_file)
    assert engine.outputs == OUTPUTS
    assert list(engine.outputs) == ["logits", "embedding"]
    fixed = tmp_path / "fixed.onnx"
    fixed.write_bytes(tiny_graph(batch=1).SerializeToString())
    assert create_engine(name, fixed).outputs["logits"] == TensorSpec((1, 4), "float32")


@pytest.mark.parametrize("name", GPU_ENGINES)
def test_outputs_of_engines_on_a_gpu(ort, model_file, name):
    assert create_engine(name, model_file).outputs == OUTPUTS


def test_outputs_of_the_references_follow_from_the_model():
    spec = SPECS["pvt_v2"]
    outputs = seeded_engine(spec).outputs
    assert outputs["logits"] == TensorSpec((None, spec.num_classes), "float32")
    assert outputs["embedding"] == TensorSpec((None, spec.architecture.num_features), "float32")


def test_the_fake_reports_the_outputs_it_was_given():
    assert FakeEngine(tiny_outputs).outputs["logits"] == TensorSpec((None, None), "float32")
    assert FakeEngine(tiny_outputs, outputs=OUTPUTS).outputs == OUTPUTS


@pytest.fixture
def open_sessions(monkeypatch: pytest.MonkeyPatch) -> weakref.WeakSet[FakeSession]:
    """The sessions of the fake onnxruntime that something still holds."""
    alive: weakref.WeakSet[FakeSession] = weakref.WeakSet()
    original = FakeSession.__init__

    def counted(self: FakeSession, *arguments: object) -> None:
        alive.add(self)
        original(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(FakeSession, "__init__", counted)
    return alive


# What goes wrong after a session was opened, and the error.
FAILURES = {
    "it came up on the CPU": (lambda ort: setattr(ort, "falls_back", True), EngineUnavailableError),
    "it takes no node": (lambda ort: setattr(ort, "nodes", {CPU: 10}), EngineUnavailableError),
    "it leaves nodes to the CPU": (lambda ort: setattr(ort, "nodes", {CPU: 1, None: 9}), EngineUnavailableError),
    "its first run fails": (lambda ort: setattr(ort, "fails_at", {1: "Non-zero status code"}), EngineError),
}


@pytest.mark.parametrize("name", GPU_ENGINES)
@pytest.mark.parametrize("failure", FAILURES)
def test_no_session_stays_open_where_opening_fails(ort, model_file, open_sessions, name, failure):
    change, kind = FAILURES[failure]
    change(ort)
    if ort.nodes and None in ort.nodes:
        ort.nodes[PROVIDERS[name]] = ort.nodes.pop(None)
    # `caught` holds the frames that the error passed through.
    with pytest.raises(kind) as caught:
        create_engine(name, model_file, EngineOptions(strict=True))
    assert ort.sessions, "one was opened"
    assert not open_sessions, caught.value
    assert not list(Path(tempfile.gettempdir()).glob("onnxzoo-*"))


@pytest.mark.parametrize("name", ["tensorrt", "tensorrt-rtx"])
def test_no_session_stays_open_where_what_was_built_cannot_be_kept(ort, model_file, open_sessions, monkeypatch, name):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("onnxzoo.engines.compiled_models._write_manifest", full)
    folder = model_file.parent / "named"
    with pytest.raises(InputError, match="No space left on device") as caught:
        create_engine(name, model_file, EngineOptions(cache=folder))
    assert not open_sessions, caught.value
    assert not list(Path(tempfile.gettempdir()).glob("onnxzoo-*"))


def test_what_auto_tried_in_vain_is_gone_while_it_tries_the_next(ort, model_file, open_sessions, monkeypatch):
    seen: list[int] = []
    original = openvino.import_openvino

    def watched() -> object:
        seen.append(len(open_sessions))
        return original()

    monkeypatch.setattr(openvino, "import_openvino", watched)
    ort.fails_at = {1: "CUDNN_STATUS_EXECUTION_FAILED"}
    assert create_engine("auto", model_file).info.name == "openvino"
    assert ort.sessions
    assert seen == [0]


def test_an_engine_of_openvino_that_cannot_be_compiled_is_closed(model_file, monkeypatch):
    closed: list[Compiler] = []
    original = Compiler.close

    def recorded(self: Compiler) -> None:
        closed.append(self)
        original(self)

    def rejected(*_: object) -> None:
        raise EngineError("openvino cannot compile it")

    monkeypatch.setattr(Compiler, "close", recorded)
    monkeypatch.setattr(Compiler, "compile", rejected)
    with pytest.raises(EngineError, match="cannot compile it"):
        create_engine("openvino", model_file)
    assert len(closed) == 1


@pytest.mark.skipif(not hasattr(os, "fork") or sys.platform != "linux", reason="forks, and locks files")
def test_what_a_killed_process_left_of_tensorrt_rtx_is_removed_by_the_next(ort, model_file):
    held = create_engine("tensorrt-rtx", model_file)
    (mine,) = Path(tempfile.gettempdir()).glob("onnxzoo-rtx-*")
    child = os.fork()
    if not child:
        with contextlib.suppress(OnnxzooError):
            held = create_engine("tensorrt-rtx", model_file), held
        os.kill(os.getpid(), signal.SIGKILL)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    (left,) = set(Path(tempfile.gettempdir()).glob("onnxzoo-rtx-*")) - {mine}
    assert abandoned_scratch() == [left]
    assert (left / "cache").is_dir()
    create_engine("tensorrt-rtx", model_file).close()
    assert list(Path(tempfile.gettempdir()).glob("onnxzoo-*")) == [mine]
    held.close()
    assert not mine.exists()
