"""The engine `oip`: a served model gives its numbers, and a server that errs, lies or stalls gives one clear error."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler

import numpy as np
import pytest
from oip_double import HEADER_LENGTH, OipDouble, send, send_json, served
from tiny import FEATURES, LABELS, SIZE, tiny_outputs

from onnxzoo.artifact.folder import INPUT_NAME
from onnxzoo.engines import EngineOptions, create_engine, is_remote, oip_http
from onnxzoo.engines.oip_address import parse_address
from onnxzoo.errors import EngineError, EngineUnavailableError, InputError, OnnxzooError

INFER, MODEL = "/v2/models/tiny/infer", "/v2/models/tiny"


@pytest.fixture
def double() -> Iterator[OipDouble]:
    shapes = {"logits": [-1, len(LABELS)], "embedding": [-1, FEATURES]}
    with served(OipDouble(tiny_outputs, shapes, [-1, 3, SIZE, SIZE])) as one:
        yield one


def opened(double: OipDouble, model_file, **options):
    return create_engine(f"oip:{double.url}", model_file, EngineOptions(**options))


def ended(double: OipDouble, model_file, batch) -> str:
    """The message of the error that ends a run."""
    with pytest.raises((EngineError, EngineUnavailableError)) as caught:
        opened(double, model_file).run({INPUT_NAME: batch})
    return str(caught.value)


@pytest.mark.parametrize("binary", [True, False])
def test_the_numbers_are_those_of_the_model_to_the_last_bit(double, model_file, batch, binary):
    double.binary = binary
    engine = opened(double, model_file)
    for size in (1, 2, 3):
        outputs = engine.run({INPUT_NAME: batch[:size]})
        expected = tiny_outputs(batch[:size])
        assert outputs.keys() == expected.keys()
        for name, values in expected.items():
            assert outputs[name].dtype == np.float32
            np.testing.assert_array_equal(outputs[name], values)
            outputs[name][:] = 0  # it is the caller's to write to


def test_it_describes_the_server(double, model_file):
    engine = opened(double, model_file, precision="bf16")
    info = engine.info
    assert (info.name, info.version, info.precision) == ("oip", "double 1.2", "bf16")
    assert info.device == double.url.replace("/tiny", MODEL)
    assert engine.inputs[INPUT_NAME].shape == (None, 3, SIZE, SIZE)
    assert [*engine.outputs] == ["logits", "embedding"]
    assert is_remote(f"oip:{double.url}")
    assert not is_remote("openvino:CPU")


def test_a_server_that_knows_no_binary_data_is_asked_once(double, model_file, batch):
    double.binary = False
    engine = opened(double, model_file)
    engine.run({INPUT_NAME: batch})
    engine.run({INPUT_NAME: batch})
    assert [HEADER_LENGTH in headers for path, headers, _ in double.requests if path == INFER] == [True, False, False]


def test_more_inputs_and_outputs_are_left_alone_and_no_embedding_is_needed(double, model_file, batch):
    described = double.described()
    double.metadata = {
        "inputs": [*described["inputs"], {"name": "image_bytes", "datatype": "BYTES", "shape": [-1]}],
        "outputs": [described["outputs"][0], {"name": "label", "datatype": "BYTES", "shape": [-1]}],
    }
    engine = opened(double, model_file)
    assert [*engine.inputs] == [INPUT_NAME]
    assert [*engine.run({INPUT_NAME: batch})] == ["logits"]


def test_shapes_that_a_server_does_not_tell(double, model_file, batch):
    described = double.described()
    double.metadata = {key: [{**one, "shape": []} for one in described[key]] for key in ("inputs", "outputs")}
    np.testing.assert_array_equal(
        opened(double, model_file).run({INPUT_NAME: batch})["logits"], tiny_outputs(batch)["logits"]
    )


def test_eight_threads_get_their_own_answers(double, model_file):
    engine = opened(double, model_file)
    rng = np.random.default_rng(1)
    inputs = [rng.standard_normal((1 + i % 3, 3, SIZE, SIZE)).astype(np.float32) for i in range(40)]
    with ThreadPoolExecutor(8) as pool:
        for images, outputs in zip(inputs, pool.map(lambda one: engine.run({INPUT_NAME: one}), inputs), strict=True):
            np.testing.assert_array_equal(outputs["logits"], tiny_outputs(images)["logits"])


def test_a_closed_engine_and_inputs_that_do_not_fit(double, model_file, batch):
    engine = opened(double, model_file)
    with pytest.raises(InputError, match=r"takes other inputs: .* must have shape \(any, 3, 32, 32\)"):
        engine.run({INPUT_NAME: batch[:, :, :8]})
    engine.close()
    engine.close()
    with pytest.raises(EngineError, match="the oip engine is closed"):
        engine.run({INPUT_NAME: batch})


@pytest.mark.parametrize(
    ("address", "parsed"),
    [
        ("http://h:8080/m", "http://h:8080/v2/models/m"),
        ("https://h/m", "https://h:443/v2/models/m"),
        ("http://h/m/versions/2", "http://h:80/v2/models/m/versions/2"),
        ("http://h/v2/models/m", "http://h:80/v2/models/m"),
        ("http://h/a/b/v2/models/m/versions/3/", "http://h:80/a/b/v2/models/m/versions/3"),
        ("http://h/serving/m", "http://h:80/serving/v2/models/m"),
        ("http://[::1]:9/m", "http://[::1]:9/v2/models/m"),
        ("grpc://h:9000/m", "grpc://h:9000/v2/models/m"),
        ("grpcs://h/m/versions/1", "grpcs://h:443/v2/models/m/versions/1"),
        ("http://h/a%20b", "http://h:80/v2/models/a%20b"),
    ],
)
def test_addresses(address, parsed):
    assert str(parse_address(address)) == parsed


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("", "needs the address of a model on a server"),
        ("localhost:8080/tiny", "no such scheme"),
        ("ftp://h/m", "no such scheme"),
        ("http://h:8080", "the model is missing"),
        ("http://h:8080/", "the model is missing"),
        ("http:///m", "the host or the port is missing"),
        ("http://h:99999/m", "Port out of range"),
        ("http://h:x/m", "not the address of a model"),
        ("http://u:secret@h/m", "logins do not belong there"),
        ("http://h/m?x=1", "a query or a fragment"),
        ("http://h/m#x", "a query or a fragment"),
        ("http://h /m", "it has spaces"),
        ("http://h/m\r\nX: y", "not the address of a model|it has"),
        ("grpc://h/m", "the host or the port is missing"),
        ("grpc://h:9/a/m", "gRPC has no paths"),
        ("http://[::1/m", "not the address of a model"),
    ],
)
def test_addresses_that_are_none(model_file, address, message):
    with pytest.raises(InputError, match=message) as caught:
        create_engine(f"oip:{address}", model_file)
    assert "secret" not in str(caught.value)


def test_a_token_is_sent_and_never_shown(double, model_file, batch, monkeypatch, tmp_path):
    monkeypatch.setenv("ONNXZOO_OIP_TOKEN", "s3cret")
    opened(double, model_file).run({INPUT_NAME: batch})
    assert {headers.get("Authorization") for _, headers, _ in double.requests} == {"Bearer s3cret"}
    double.answers[MODEL] = lambda handler: send_json(handler, {"error": "no"}, 401)
    assert "s3cret" not in ended(double, model_file, batch)
    monkeypatch.delenv("ONNXZOO_OIP_TOKEN")
    (tmp_path / "token").write_text("from-a-file\n")
    monkeypatch.setenv("ONNXZOO_OIP_TOKEN_FILE", str(tmp_path / "token"))
    double.answers.clear()
    double.requests.clear()
    opened(double, model_file)
    assert {headers.get("Authorization") for _, headers, _ in double.requests} == {"Bearer from-a-file"}


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"ONNXZOO_OIP_TOKEN": "a\r\nHost: evil"}, "characters that a header cannot have"),
        ({"ONNXZOO_OIP_TOKEN": "é"}, "characters that a header cannot have"),
        ({"ONNXZOO_OIP_TOKEN": "a", "ONNXZOO_OIP_TOKEN_FILE": "b"}, "are both set"),
        ({"ONNXZOO_OIP_TOKEN_FILE": "./nowhere"}, "nowhere cannot be read"),
    ],
)
def test_tokens_that_cannot_be_sent(double, model_file, monkeypatch, variables, message):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=message) as caught:
        opened(double, model_file)
    assert "evil" not in str(caught.value)
    assert not double.requests


def test_a_token_over_an_open_line_is_warned_about(model_file, monkeypatch, caplog):
    monkeypatch.setenv("ONNXZOO_OIP_TOKEN", "s3cret")
    monkeypatch.setattr(oip_http.HttpTransport, "describe", lambda _: (_ for _ in ()).throw(EngineError("stop")))
    with pytest.raises(EngineError, match="stop"):
        create_engine("oip:http://models.example/tiny", model_file)
    assert "goes to models.example unencrypted" in caplog.text
    assert "s3cret" not in caplog.text


def test_nobody_listens(model_file):
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    with pytest.raises(EngineUnavailableError, match=rf"http://127.0.0.1:{port}/.* cannot be reached: Connection refu"):
        create_engine(f"oip:http://127.0.0.1:{port}/tiny", model_file)


def test_a_port_that_speaks_something_else(model_file):
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            connected, _ = listener.accept()
            with connected:
                connected.recv(1000)
                connected.sendall(b"220 mail.example ESMTP\r\n")

        threading.Thread(target=answer, daemon=True).start()
        with pytest.raises(EngineUnavailableError, match="does not speak HTTP"):
            create_engine(f"oip:http://127.0.0.1:{listener.getsockname()[1]}/tiny", model_file)


def test_another_model_name_and_a_redirect(double, model_file, batch):
    with pytest.raises(EngineUnavailableError, match=r"has no model 'other' \(status 404\): nothing at /v2/models/oth"):
        create_engine(f"oip:{double.url.replace('/tiny', '/other')}", model_file)
    double.answers[MODEL] = lambda handler: send(handler, 307, b"", Location="http://127.0.0.1:1/v2/models/tiny")
    assert "redirects to http://127.0.0.1:1/v2/models/tiny, and redirects are not followed" in ended(
        double, model_file, batch
    )


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 3, 8, 8]}]}, "expected an input pixel_values"),
        ({"inputs": [{"name": "pixel_values", "datatype": "UINT8", "shape": [-1, 3, 8, 8]}]}, "expected an input"),
        ({"inputs": [{"name": "pixel_values", "datatype": "FP32", "shape": [-1, 3]}]}, "of 4 dimensions"),
        ({"inputs": []}, "expected an input pixel_values float32 of 4 dimensions, it has none"),
        ({"outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 4]}]}, "expected an output logits"),
        ({"outputs": [{"name": "logits", "datatype": "BYTES", "shape": [-1, 4]}]}, "expected an output logits"),
        ({"outputs": None}, "no list of outputs"),
        ({"inputs": "pixel_values"}, "no list of inputs"),
        ({"inputs": [{"name": "pixel_values", "datatype": "FP32", "shape": [-1, 3, "8", 8]}]}, "not whole numbers"),
        ({"inputs": [{"name": "pixel_values", "datatype": "FP32", "shape": [-2, 3, 8, 8]}]}, "not whole numbers"),
        ({"inputs": [{"name": "pixel_values", "datatype": "FP32", "shape": [1] * 99}]}, "not a short list"),
        ({"inputs": [{"datatype": "FP32", "shape": [1]}]}, "has no name"),
        ({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1]}] * 1000}, "no list of inputs"),
    ],
)
def test_metadata_of_another_model_or_of_none(double, model_file, metadata, message):
    double.metadata = metadata
    with pytest.raises(EngineError, match=message):
        opened(double, model_file)


def infer_answer(**changes):
    """An answer to a batch of three, with changes to its output `logits`, in JSON."""
    logits = {"name": "logits", "datatype": "FP32", "shape": [3, 4], "data": [0.5] * 12}
    embedding = {"name": "embedding", "datatype": "FP32", "shape": [3, 3], "data": [0.5] * 9}
    return {"outputs": [{**logits, **changes}, embedding]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shape": [3, 5], "data": [0.5] * 15}, "has shape (3, 5), its metadata says (None, 4)"),
        ({"shape": [2, 4], "data": [0.5] * 8}, "gave logits of another batch size than 3"),
        ({"shape": [12]}, "has shape (12,), its metadata says (None, 4)"),
        ({"shape": [-1, 4]}, "has shape (-1, 4)"),
        ({"shape": [3, 4], "data": [0.5] * 11}, "has 11 numbers, expected 12"),
        ({"data": [[0.5, 1], [1]]}, "are not numbers of one shape"),
        ({"data": ["a"] * 12}, "are not numbers of one shape"),
        ({"data": [None] * 12}, "has NaN"),
        ({"data": {"a": 1}}, "has no data"),
        ({"datatype": "FP64"}, "is float64, expected float32"),
        ({"datatype": "BYTES"}, "is BYTES, expected float32"),
        ({"parameters": {"binary_data_size": 48}}, "has 48 bytes, and 0 are left"),
        ({"parameters": {"binary_data_size": -1}}, "has -1 bytes"),
        ({"name": "embedding"}, "has shape (3, 4), its metadata says (None, 3)"),
        ({"name": "other"}, "without logits"),
    ],
)
def test_answers_that_contradict_the_metadata(double, model_file, batch, changes, message):
    double.answers[INFER] = lambda handler: send_json(handler, infer_answer(**changes))
    if message == "has NaN":  # numpy reads null as NaN, and it is for the comparison to fail
        assert np.isnan(opened(double, model_file).run({INPUT_NAME: batch})["logits"]).all()
    else:
        assert message in ended(double, model_file, batch)


HEAD = json.dumps(
    {"outputs": [{"name": "logits", "datatype": "FP32", "shape": [3, 4], "parameters": {"binary_data_size": 48}}]}
).encode()


@pytest.mark.parametrize(
    ("status", "body", "headers", "message"),
    [
        (200, b"{", {}, "the JSON cannot be read"),
        (200, b"[1]", {}, "the JSON is not an object"),
        (200, b'{"outputs": [{"name": "logits", "name": "x"}]}', {}, "occurs twice"),
        (200, b'{"outputs": ' + b"[" * 200 + b"]" * 200 + b"}", {}, "nested more than"),
        (200, b"\xff\xfe", {}, "is not UTF-8"),
        (200, json.dumps(infer_answer()).encode().replace(b"0.5", b"NaN", 1), {}, "NaN is not JSON"),
        (200, HEAD + b"\0" * 47, {HEADER_LENGTH: str(len(HEAD))}, "has 48 bytes, and 47 are left"),
        (200, HEAD + b"\0" * 49, {HEADER_LENGTH: str(len(HEAD))}, "1 bytes belong to no output"),
        (200, HEAD, {HEADER_LENGTH: "99999"}, "inference-header-content-length is '99999'"),
        (200, HEAD, {HEADER_LENGTH: "-1"}, "inference-header-content-length is '-1'"),
        (200, b"{}", {"Content-Encoding": "gzip"}, "it is compressed"),
        (200, b" " * 2**20, {}, "it has more than the"),
        (200, b"{}", {"Content-Length": "500"}, "does not speak HTTP"),
        (503, b'{"error": "busy\\n\\u001b[2J"}', {}, r"refuses the request (status 503): busy \x1b[2J"),
        (400, b'{"error": "batch too large"}', {}, "refuses the request (status 400): batch too large"),
        (500, b"<html>oops</html>", {}, "refuses the request (status 500): <html>oops</html>"),
        (403, b"", {}, "refuses access (status 403); set ONNXZOO_OIP_TOKEN"),
        (204, b"", {}, "(status 204)"),
    ],
)
def test_answers_that_are_none(double, model_file, batch, status, body, headers, message):
    changed = {name.replace("-", "_"): value for name, value in headers.items()}

    def answer(handler: BaseHTTPRequestHandler) -> None:
        send(handler, status, body, **changed)
        handler.close_connection = True

    double.answers[INFER] = answer
    assert message in ended(double, model_file, batch)


@pytest.mark.parametrize("part", ["nothing", "headers", "body"])
def test_a_server_that_stalls_or_drips_is_left_in_time(double, model_file, batch, monkeypatch, part):
    monkeypatch.setattr(oip_http, "INFER_TIMEOUT_S", 0.3)
    gone, heard_out = threading.Event(), threading.Event()

    def drip(handler: BaseHTTPRequestHandler) -> None:
        pieces = {
            "nothing": b"",
            "headers": b"HTTP/1.1 200 OK\r\nX: " + b"y" * 1000,
            "body": b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + b" " * 1000,
        }[part]
        try:
            for _ in range(300):
                if gone.wait(0.02):
                    break
                handler.wfile.write(pieces[:60])
                pieces = pieces[60:] or pieces[-1:]
            else:
                heard_out.set()
        except OSError:
            pass
        handler.close_connection = True

    double.answers[INFER] = drip
    engine = opened(double, model_file)
    try:
        with pytest.raises(EngineUnavailableError, match=r"gave no whole answer within 0\.3 s"):
            engine.run({INPUT_NAME: batch})
    finally:
        gone.set()
    assert not heard_out.is_set()


def test_a_server_that_goes_away(double, model_file, batch):
    def hang_up(handler: BaseHTTPRequestHandler) -> None:
        handler.connection.shutdown(socket.SHUT_RDWR)
        handler.close_connection = True

    double.answers[INFER] = hang_up
    assert "cannot be reached" in ended(double, model_file, batch)


def test_random_answers_are_errors_of_ours(double, model_file, batch):
    """Bytes of a valid answer, changed at random: each gives numbers or one of our errors."""
    valid = json.dumps(infer_answer()).encode()
    rng = np.random.default_rng(0)
    current = b""
    double.answers[INFER] = lambda handler: send(handler, 200, current)
    engine = opened(double, model_file)
    outcomes = set()
    for _ in range(200):
        changed = bytearray(valid)
        for place in rng.integers(0, len(valid), 2):
            changed[place] = rng.choice([*b'0123456789.,"[]{}e-nul '])
        current = bytes(changed)
        try:
            outcomes.add(type(engine.run({INPUT_NAME: batch})))
        except OnnxzooError as error:
            outcomes.add(type(error))
    assert outcomes == {dict, EngineError}
