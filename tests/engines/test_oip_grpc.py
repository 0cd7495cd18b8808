"""The engine `oip` by gRPC, against a server of the protocol's own messages."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from tiny import FEATURES, LABELS, SIZE, tiny_outputs

from onnxzoo.artifact.folder import INPUT_NAME
from onnxzoo.engines import create_engine, oip_grpc
from onnxzoo.errors import EngineError, EngineUnavailableError

grpc = pytest.importorskip("grpc")
pb2 = pytest.importorskip("tritonclient.grpc.service_pb2")
pb2_grpc = pytest.importorskip("tritonclient.grpc.service_pb2_grpc")


@dataclass
class Double:
    """What the server answers. `raw`: whether tensors come as bytes. `change`: alters an answer, or aborts the call."""

    raw: bool = True
    change: Callable[[Any, Any], None] = lambda _answer, _context: None
    described: Callable[[Any, Any], None] = lambda _answer, _context: None
    metadata: list[dict[str, str]] = field(default_factory=list)
    address: str = ""


@pytest.fixture
def double() -> Iterator[Double]:
    one = Double()

    class Servicer(pb2_grpc.GRPCInferenceServiceServicer):
        def ServerMetadata(self, _request: Any, _context: Any) -> Any:  # noqa: N802
            return pb2.ServerMetadataResponse(name="double", version="3")

        def ModelMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802
            one.metadata.append(dict(context.invocation_metadata()))
            if request.name != "tiny":
                context.abort(grpc.StatusCode.NOT_FOUND, f"no model {request.name}")
            answer = pb2.ModelMetadataResponse(name="tiny")
            answer.inputs.add(name="pixel_values", datatype="FP32", shape=[-1, 3, SIZE, SIZE])
            answer.outputs.add(name="logits", datatype="FP32", shape=[-1, len(LABELS)])
            answer.outputs.add(name="embedding", datatype="FP32", shape=[-1, FEATURES])
            one.described(answer, context)
            return answer

        def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: N802
            (tensor,) = request.inputs
            images = np.frombuffer(request.raw_input_contents[0], "<f4").reshape(tensor.shape)
            answer = pb2.ModelInferResponse(model_name="tiny")
            # In another order than asked for.
            for name, values in reversed(tiny_outputs(images).items()):
                output = answer.outputs.add(name=name, datatype="FP32", shape=values.shape)
                if one.raw:
                    answer.raw_output_contents.append(values.astype("<f4").tobytes())
                else:
                    output.contents.fp32_contents.extend(values.ravel().tolist())
            one.change(answer, context)
            return answer

    server = grpc.server(ThreadPoolExecutor(4))
    pb2_grpc.add_GRPCInferenceServiceServicer_to_server(Servicer(), server)
    one.address = f"grpc://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}/tiny"
    server.start()
    yield one
    server.stop(None).wait()


@pytest.mark.parametrize("raw", [True, False])
def test_the_numbers_are_those_of_the_model_to_the_last_bit(double, model_file, batch, raw, monkeypatch):
    monkeypatch.setenv("ONNXZOO_OIP_TOKEN", "s3cret")
    double.raw = raw
    engine = create_engine(f"oip:{double.address}", model_file)
    assert (engine.info.name, engine.info.version) == ("oip", "double 3")
    outputs = engine.run({INPUT_NAME: batch})
    for name, values in tiny_outputs(batch).items():
        np.testing.assert_array_equal(outputs[name], values)
    assert double.metadata[0]["authorization"] == "Bearer s3cret"
    engine.close()


def _drop(answer: Any, _context: Any) -> None:
    del answer.raw_output_contents[0]


def _resize(answer: Any, _context: Any) -> None:
    answer.outputs[1].shape[1] = 5


def _shorten(answer: Any, _context: Any) -> None:
    answer.raw_output_contents[1] = answer.raw_output_contents[1][:-4]


def _rename(answer: Any, _context: Any) -> None:
    answer.outputs[1].name = "embedding"


def _refuse(_answer: Any, context: Any) -> None:
    context.abort(grpc.StatusCode.INVALID_ARGUMENT, "batch too\nlarge")


def _forbid(_answer: Any, context: Any) -> None:
    context.abort(grpc.StatusCode.UNAUTHENTICATED, "who are you")


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (_drop, EngineError, "has the bytes of 1 outputs and describes 2"),
        (_resize, EngineError, r"has shape \(3, 5\), its metadata says \(None, 4\)"),
        (_shorten, EngineError, "has 44 bytes, expected 48"),
        (_rename, EngineError, "has the output 'embedding' twice"),
        (_refuse, EngineError, r"refuses the request \(INVALID_ARGUMENT\): batch too large"),
        (_forbid, EngineUnavailableError, "refuses access: who are you; set ONNXZOO_OIP_TOKEN"),
    ],
)
def test_answers_that_are_none(double, model_file, batch, change, error, message):
    double.change = change
    with pytest.raises(error, match=message):
        create_engine(f"oip:{double.address}", model_file).run({INPUT_NAME: batch})


def test_an_answer_that_is_too_large(double, model_file, batch, monkeypatch):
    monkeypatch.setattr(oip_grpc, "MAX_UNKNOWN_BYTES", 40)
    with pytest.raises((EngineError, EngineUnavailableError), match="larger than max"):
        create_engine(f"oip:{double.address}", model_file).run({INPUT_NAME: batch})


def test_a_server_that_stalls(double, model_file, batch, monkeypatch):
    monkeypatch.setattr(oip_grpc, "INFER_TIMEOUT_S", 0.2)
    double.change = lambda _answer, _context: time.sleep(0.6)
    with pytest.raises(EngineUnavailableError, match=r"no whole answer within 0\.2 s"):
        create_engine(f"oip:{double.address}", model_file).run({INPUT_NAME: batch})


def test_another_model_and_another_kind_of_model(double, model_file):
    with pytest.raises(EngineUnavailableError, match=r"has no model 'other' \(NOT_FOUND\): no model other"):
        create_engine(f"oip:{double.address.replace('/tiny', '/other')}", model_file)
    double.described = lambda answer, _context: answer.inputs.pop()
    with pytest.raises(EngineError, match="expected an input pixel_values float32 of 4 dimensions, it has none"):
        create_engine(f"oip:{double.address}", model_file)


def test_nobody_listens(model_file):
    with pytest.raises(EngineUnavailableError, match="cannot be reached"):
        create_engine("oip:grpc://127.0.0.1:1/tiny", model_file)


def test_without_tritons_client_the_error_says_what_to_install(model_file, monkeypatch):
    monkeypatch.setitem(sys.modules, "tritonclient.grpc", None)
    with pytest.raises(
        EngineUnavailableError, match=r"pip install 'tritonclient\[grpc\]', or use the server's HTTP port"
    ):
        create_engine("oip:grpc://127.0.0.1:1/tiny", model_file)
