"""The ensemble for encoded images: Triton parses it, its tensors fit, and its step gives the pixels of `predict`."""

from __future__ import annotations

import importlib.util
import io
import json
import subprocess
import sys
import types
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from artifacts import PVT
from command_line import run
from PIL import Image
from tiny import COLOURS, write_artifact

from onnxzoo.artifact.folder import read_artifact
from onnxzoo.image import preprocess_batch

text_format = pytest.importorskip("google.protobuf.text_format")
json_format = pytest.importorskip("google.protobuf.json_format")
model_config_pb2 = pytest.importorskip("tritonclient.grpc.model_config_pb2")


@dataclass
class Tensor:
    """Of the backend's module: an array with a name."""

    name: str
    array: Any

    def as_numpy(self) -> Any:
        return self.array


class TritonError(Exception):
    """Of the backend's module: a message with a code."""

    INVALID_ARG = "INVALID_ARG"


@dataclass
class InferenceResponse:
    """Of the backend's module."""

    output_tensors: list[Tensor]
    error: TritonError | None = None


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """The part of Triton's module that the step uses; it exists only within Triton."""
    module = types.ModuleType("triton_python_backend_utils")
    module.Tensor, module.TritonError, module.InferenceResponse = Tensor, TritonError, InferenceResponse
    module.get_input_tensor_by_name = lambda request, name: request.get(name)
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", module)
    return module


def parsed(file: Path) -> Any:
    return text_format.Parse(file.read_text(), model_config_pb2.ModelConfig())


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("triton")
    done = run(
        "deploy", "triton", write_artifact(folder / "a"), "--out", folder / "repo", "--images", "--max-batch", "4"
    )
    assert done.exit_code == 0, done.output
    assert "note: the python backend of Triton needs onnxzoo: pip install" in done.stdout
    return folder / "repo"


def encoded(colour: tuple[int, int, int], size: tuple[int, int] = (50, 40)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, "JPEG")
    return buffer.getvalue()


def step(repo: Path) -> Any:
    """The step as Triton starts it: from its file, with its configuration as JSON."""
    spec = importlib.util.spec_from_file_location("model", repo / "tiny_preprocess" / "1" / "model.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config = json_format.MessageToJson(
        parsed(repo / "tiny_preprocess" / "config.pbtxt"), preserving_proto_field_name=True
    )
    model = module.TritonPythonModel()
    model.initialize({"model_config": config})
    return model


def test_the_tensors_of_the_steps_fit_together(repo):
    """As Triton checks them: equal types, and equal sizes with the batch that a batching model's sizes leave out."""
    ensemble = parsed(repo / "tiny_images" / "config.pbtxt")
    assert (ensemble.platform, ensemble.max_batch_size) == ("ensemble", 0)
    known = {one.name: (one.data_type, [*one.dims]) for one in ensemble.input}
    assert known == {"image_bytes": (model_config_pb2.TYPE_STRING, [-1])}
    for one in ensemble.ensemble_scheduling.step:
        config = parsed(repo / one.model_name / "config.pbtxt")
        assert config.name == one.model_name
        assert one.model_version == -1
        batch = [-1] if config.max_batch_size else []
        inputs = {tensor.name: (tensor.data_type, [*batch, *tensor.dims]) for tensor in config.input}
        outputs = {tensor.name: (tensor.data_type, [*batch, *tensor.dims]) for tensor in config.output}
        assert {known[outer] == inputs[inner] for inner, outer in one.input_map.items()} == {True}
        assert inputs.keys() == one.input_map.keys()
        known |= {outer: outputs[inner] for inner, outer in one.output_map.items()}
    assert {one.name: (one.data_type, [*one.dims]) for one in ensemble.output} == {
        name: known[name] for name in ("logits", "embedding")
    }
    assert (repo / "tiny_images" / "1").is_dir()


def test_the_step_gives_the_pixels_of_predict(repo, backend):
    images = [encoded(colour) for colour in COLOURS.values()]
    requests = [
        {"image_bytes": Tensor("image_bytes", np.array(some, object))} for some in (images[:1], images[1:], images)
    ]
    responses = step(repo).execute(requests)
    preprocess = read_artifact(repo / "tiny" / "1").preprocess
    for some, response in zip((images[:1], images[1:], images), responses, strict=True):
        assert response.error is None
        (tensor,) = response.output_tensors
        assert tensor.name == "pixel_values"
        np.testing.assert_array_equal(tensor.array, preprocess_batch(some, preprocess))


def test_bad_images_are_errors_of_their_own_request(repo, backend):
    good = np.array([encoded((255, 0, 0))], object)
    batches = [np.array([b"no image"], object), good, np.array([], object), np.repeat(good, 5), np.array([b""], object)]
    responses = step(repo).execute([{"image_bytes": Tensor("image_bytes", one)} for one in batches])
    messages = [response.error and response.error.args for response in responses]
    assert messages[1] is None
    assert messages[2] == ("expected 1 to 4 images in a request, got 0", "INVALID_ARG")
    assert messages[3] == ("expected 1 to 4 images in a request, got 5", "INVALID_ARG")
    for index in (0, 4):
        message, code = messages[index]
        assert code == "INVALID_ARG"
        assert "\n" not in message


def test_the_step_imports_no_engine(repo):
    code = (
        "import sys, onnxzoo.deploy.triton_preprocess; "
        "print(sorted({'openvino', 'onnxruntime', 'huggingface_hub', 'click', 'onnx'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "[]\n"


def test_names_that_are_taken(tmp_path):
    repo, folder = tmp_path / "repo", write_artifact(tmp_path / "a")
    assert run("deploy", "triton", f"tiny_images={folder}", "--out", repo).exit_code == 0
    before = (repo / "tiny_images" / "config.pbtxt").read_bytes()
    done = run("deploy", "triton", folder, "--out", repo, "--images")
    assert done.exit_code == 1
    assert "tiny_images is a name of tiny's ensemble" in done.stderr
    assert (repo / "tiny_images" / "config.pbtxt").read_bytes() == before
    assert not (repo / "tiny").exists()


def test_the_preprocessing_is_written_as_the_artifact_has_it(tmp_path):
    assert run("deploy", "triton", PVT, "--out", tmp_path, "--images").exit_code == 0
    written = parsed(tmp_path / f"{PVT}_preprocess" / "config.pbtxt").parameters["onnxzoo_preprocess"].string_value
    artifact = read_artifact(tmp_path / PVT / "1")
    assert json.loads(written)["crop_size"] == artifact.image_size
