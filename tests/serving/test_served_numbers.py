"""What a client gets is what `predict` and `logits` give, to the last bit, over every way of sending it."""

from __future__ import annotations

from urllib.parse import quote, unquote

import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http
from oip import ask, binary_images, binary_pixels, infer, pixels

from onnxzoo.inference_protocol import (
    BYTES,
    EMBEDDING,
    FP32,
    IMAGES,
    LABEL,
    LOGITS,
    PIXELS,
    SCORE,
    served_inputs,
    served_outputs,
)

CLIENTS = {"http": tritonclient.http, "grpc": tritonclient.grpc}


@pytest.fixture(params=sorted(CLIENTS))
def client(served, request):
    """Triton's client of either protocol, and its module."""
    module = CLIENTS[request.param]
    address = served.grpc if request.param == "grpc" else served.http.removeprefix("http://")
    with module.InferenceServerClient(address) as found:
        yield found, module


def test_both_servers_are_live_and_ready_and_describe_the_models(client, served):
    found, _ = client
    assert found.is_server_live()
    assert found.is_server_ready()
    assert found.is_model_ready("tiny")
    assert found.is_model_ready("other", "1")
    metadata = found.get_model_metadata("tiny")
    described = (
        metadata
        if isinstance(metadata, dict)
        else {
            "name": metadata.name,
            "versions": list(metadata.versions),
            "inputs": [{"name": t.name, "datatype": t.datatype, "shape": list(t.shape)} for t in metadata.inputs],
            "outputs": [{"name": t.name, "datatype": t.datatype, "shape": list(t.shape)} for t in metadata.outputs],
        }
    )
    assert described["name"] == "tiny"
    assert described["versions"] == ["1"]
    assert described["inputs"] == [one.as_dict() for one in served_inputs(32)]
    assert described["outputs"] == [one.as_dict() for one in served_outputs(4, 3)]


def test_tensors_give_the_logits_and_the_embedding_exactly(client, served, tensors):
    found, module = client
    tensor = module.InferInput(PIXELS, list(tensors.shape), FP32)
    tensor.set_data_from_numpy(tensors)
    answer = found.infer("tiny", [tensor])
    expected = served.model.outputs(tensors)
    assert np.array_equal(answer.as_numpy(LOGITS), expected[LOGITS])
    assert np.array_equal(answer.as_numpy(EMBEDDING), expected[EMBEDDING])
    assert answer.as_numpy(LABEL) is None


def test_images_give_the_classes_of_predict_exactly(client, served, jpegs):
    found, module = client
    tensor = module.InferInput(IMAGES, [len(jpegs)], BYTES)
    tensor.set_data_from_numpy(np.array(list(jpegs.values()), dtype=object))
    answer = found.infer("tiny", [tensor], parameters={"top_k": 2})
    expected = served.model.predict(list(jpegs.values()), top_k=2)
    assert [[name.decode() for name in row] for row in answer.as_numpy(LABEL)] == [
        [one.label for one in best.top] for best in expected
    ]
    assert answer.as_numpy(SCORE).tolist() == [[one.score for one in best.top] for best in expected]
    assert answer.as_numpy(LABEL)[1][0] == b"red"


def test_only_requested_outputs_are_returned(client, tensors):
    found, module = client
    tensor = module.InferInput(PIXELS, list(tensors.shape), FP32)
    tensor.set_data_from_numpy(tensors)
    answer = found.infer("tiny", [tensor], outputs=[module.InferRequestedOutput(SCORE)])
    assert answer.as_numpy(SCORE).shape == (3, 4)  # of five that are returned unless told otherwise, four exist
    assert answer.as_numpy(LOGITS) is None


def test_every_model_answers_for_itself(client, jpegs):
    found, module = client
    tensor = module.InferInput(IMAGES, [1], BYTES)
    tensor.set_data_from_numpy(np.array([jpegs["red"]], dtype=object))
    for name, label in (("tiny", b"red"), ("other", b"green")):
        assert found.infer(name, [tensor], parameters={"top_k": 1}).as_numpy(LABEL)[0][0] == label


def test_plain_json_gives_the_same_numbers(served, tensors):
    answer = infer(served.http, "tiny", pixels(tensors, id="seven"))
    assert answer.status == 200
    assert answer.json["id"] == "seven" == answer.headers["x-request-id"]
    assert answer.json["model_name"] == "tiny"
    assert answer.json["model_version"] == "1"
    assert np.array_equal(answer.array(LOGITS).astype(np.float32), served.model.logits(tensors))
    nested = pixels(tensors)
    nested["inputs"][0]["data"] = tensors.tolist()
    assert infer(served.http, "tiny", nested).json["outputs"] == answer.json["outputs"]


@pytest.mark.parametrize(
    "given", ["a\r\nSet-Cookie: x=1", "\x00", "é", " ", "%41", "\u202e\U0001f600", "a b:c/d", "\x7f"]
)
def test_any_text_may_be_an_id(served, tensors, given):
    answer = infer(served.http, "tiny", pixels(tensors, id=given))
    assert answer.json["id"] == given
    assert unquote(answer.headers["x-request-id"]) == given
    assert "set-cookie" not in answer.headers
    again = infer(served.http, "tiny", pixels(tensors), **{"X-Request-Id": quote(given, safe="")})
    assert unquote(again.headers["x-request-id"]) == quote(given, safe="")


def test_binary_input_and_json_output_go_together(served, tensors, jpegs):
    body, length = binary_pixels(tensors)
    answer = infer(served.http, "tiny", body, json_length=length)
    assert np.array_equal(answer.array(LOGITS).astype(np.float32), served.model.logits(tensors))
    body, length = binary_images(jpegs["blue"], parameters={"top_k": 1})
    assert infer(served.http, "tiny", body, json_length=length).array(LABEL).tolist() == [["blue"]]


def test_a_body_may_be_nothing_but_an_image(served, jpegs):
    headers = {"Inference-Header-Content-Length": "0"}
    answer = ask(served.http, "/v2/models/tiny/infer?top_k=1", jpegs["green"], headers=headers)
    assert answer.array(LABEL).tolist() == [["green"]]
    assert answer.array(SCORE)[0][0] == served.model.predict(jpegs["green"]).score


def test_the_metadata_over_http_has_labels_and_preprocessing(served):
    found = ask(served.http, "/v2/models/tiny/versions/1").json["parameters"]
    assert found["labels"] == list(served.model.labels)
    assert found["preprocess"]["resize_size"] == 36
    assert found["image_size"] == 32
    assert found["precision"] == "fp32"
    assert ask(served.http, "/v2/models").json == {"models": ["tiny", "other"]}
    assert ask(served.http, "/v2").json["name"] == "onnxzoo"


def test_metrics_count_images_and_time_stages(served, tensors):
    def value(name: str) -> float:
        lines = ask(served.http, "/metrics").body.decode().splitlines()
        return next((float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name + " ")), 0.0)

    images, errors = 'onnxzoo_images_total{model="tiny"}', 'onnxzoo_errors_total{kind="invalid",protocol="http"}'
    before = value(images), value(errors), value('onnxzoo_stage_seconds_count{model="tiny",stage="engine"}')
    assert infer(served.http, "tiny", pixels(tensors)).status == 200
    assert infer(served.http, "tiny", {}).status == 400
    after = value(images), value(errors), value('onnxzoo_stage_seconds_count{model="tiny",stage="engine"}')
    assert [new - old for new, old in zip(after, before, strict=True)] == [3, 1, 1]
    assert value("onnxzoo_requests_in_progress") == 1  # the one that reads it
