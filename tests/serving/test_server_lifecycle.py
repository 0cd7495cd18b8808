"""Start, readiness, stop."""

from __future__ import annotations

import contextlib
import http.client
import json
import signal
import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import grpc
import numpy as np
import pytest
from oip import ask, infer, pixels

from onnxzoo.errors import ArtifactError, InputError, UnknownModelError
from onnxzoo.inference_protocol import GRPC_SERVICE
from onnxzoo.serving import server
from onnxzoo.serving.sdk import messages

ONE = np.zeros((1, 3, 32, 32), dtype=np.float32)

# Whatever connects, in this process or below it, is written down: the server may only listen.
CHILD = """
import sys
def hook(event, arguments):
    if event in ("socket.connect", "socket.sendto"):
        print("connects to", arguments[1], file=sys.stderr)
sys.addaudithook(hook)
from onnxzoo.cli import main
main(sys.argv[1:])
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def test_it_is_live_at_once_and_ready_when_it_is_warm(start, served_folders, gate, aside):
    gate.shut()
    port, rpc = free_port(), free_port()
    url = f"http://127.0.0.1:{port}"

    def until_stopped() -> int:
        with start(served_folders[0], http_port=port, grpc_port=rpc) as address:
            assert address.http == url
            return ask(url, "/v2/health/ready").status

    ready = aside.submit(until_stopped)
    assert gate.begun.acquire(timeout=20)  # it warms up
    assert ask(url, "/v2/health/live").json == {"live": True}
    for path in ("/v2/health/ready", "/v2/models", "/v2/models/tiny", "/v2/models/tiny/ready"):
        answer = ask(url, path)
        assert (answer.status, answer.error) == (503, "the server is still loading its models; wait until it is ready")
    assert infer(url, "tiny", pixels(ONE)).status == 503
    with grpc.insecure_channel(f"127.0.0.1:{rpc}") as channel:
        content = channel.unary_unary(f"/{GRPC_SERVICE}/ServerReady")(b"", timeout=20)
        assert messages.ServerReadyResponse.FromString(content).ready is False
    gate.open()
    assert ready.result() == 200


def test_a_stop_lets_requests_end_and_takes_no_new_ones(start, served_folders, gate, aside):
    with grpc.insecure_channel(f"127.0.0.1:{(rpc := free_port())}") as channel:
        with start(served_folders[0], grpc_port=rpc) as address:
            gate.shut()
            over_http = aside.submit(infer, address.http, "tiny", pixels(ONE))
            tensor = {"name": "pixel_values", "datatype": "FP32", "shape": [1, 3, 32, 32]}
            request = messages.ModelInferRequest(model_name="tiny", inputs=[tensor], raw_input_contents=[ONE.tobytes()])
            call = channel.unary_unary(f"/{GRPC_SERVICE}/ModelInfer")
            over_grpc = call.future(request.SerializeToString(), timeout=20)
            while queue(address.http) < 2:
                pass
            refused = aside.submit(refusals, address.http, call, request.SerializeToString(), gate)
        # The block has ended, and with it the server, after what `refusals` saw.
        assert refused.result()
        assert over_http.result().status == 200
        assert over_grpc.result()


def queue(url: str) -> float:
    lines = ask(url, "/metrics").body.decode().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("onnxzoo_queue_length "))


def refusals(url: str, call: grpc.UnaryUnaryMultiCallable, request: bytes, gate: object) -> bool:
    """Ask until both protocols refuse, then let the waiting requests end."""
    try:
        while True:
            try:
                if ask(url, "/v2/health/ready").status == 503:
                    break
            except ConnectionError:
                break
        while True:
            try:
                call(request, timeout=0.2)
            except grpc.RpcError as error:
                if error.code() is grpc.StatusCode.UNAVAILABLE:
                    return True
    finally:
        gate.open()  # type: ignore[attr-defined]


def test_a_stop_answers_on_connections_that_are_open(start, served_folders, aside, monkeypatch):
    monkeypatch.setattr(server, "LINGER_S", 20.0)  # it ends with the answer
    with contextlib.ExitStack() as stack:
        address = stack.enter_context(start(served_folders[0]))
        where = urlsplit(address.http)
        idle = http.client.HTTPConnection(where.netloc, timeout=20)
        idle.request("GET", "/v2/health/ready")
        assert idle.getresponse().read() == b'{"ready":true}'
        stopped = aside.submit(stack.pop_all().close)
        while accepts(where.netloc):
            pass
        idle.request("POST", "/v2/models/tiny/infer", json.dumps(pixels(ONE)))
        answer = idle.getresponse()
        assert (answer.status, answer.headers["connection"]) == (503, "close")
        assert json.loads(answer.read()) == {"error": "the server is stopping; send the request to another one"}
        stopped.result()


def accepts(where: str) -> bool:
    """Whether anything listens there."""
    host, _, port = where.partition(":")
    try:
        socket.create_connection((host, int(port)), timeout=20).close()
    except ConnectionError:
        return False
    return True


def test_the_command_serves_until_sigterm_and_connects_to_nothing(served_folders, tmp_path):
    command = [sys.executable, "-P", "-c", CHILD, "serve", *map(str, served_folders)]
    options = ["--http-port", "0", "--grpc-port", "0", "--timeout", "5"]
    with subprocess.Popen([*command, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            line = process.stdout.readline()
            assert line.startswith("serving at http://127.0.0.1:")
            url = line.split()[2]
            assert infer(url, "other", pixels(ONE, id="a\u202eb")).status == 200
            assert infer(url, "other", {}).status == 400
            process.send_signal(signal.SIGTERM)
            rest, errors = process.communicate(timeout=20)
        finally:
            process.kill()
    assert process.returncode == 0
    assert rest == ""
    lines = [json.loads(one) for one in errors.splitlines()]  # every line is JSON, so nothing was connected to
    assert [one["message"] for one in lines if "models" in one] == ["ready"]
    served, refused = [one for one in lines if one["message"].startswith("request")]
    assert (served["id"], served["model"], served["images"]) == ("a\u202eb", "other", 1)
    assert served["engine_ms"] > 0
    assert (refused["kind"], refused["status"]) == ("invalid", 400)
    assert lines[-2]["message"] == "stopping: new requests are refused, those in progress have 5 s"
    assert lines[-1]["message"] == "stopped"


def test_a_port_that_is_taken_is_refused(start):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(InputError, match=f"cannot listen on 127.0.0.1, port {port}: .*--http-port"),
            start(http_port=port),
        ):
            pass
        with pytest.raises(InputError, match=f"cannot listen on 127.0.0.1:{port}.*--grpc-port"), start(grpc_port=port):
            pass


def test_a_host_that_is_not_ours_is_refused(start):
    with pytest.raises(InputError, match=r"cannot listen on 192\.0\.2\.1"), start(host="192.0.2.1"):
        pass


def test_models_that_cannot_be_loaded_end_the_server(start, served_folders, tmp_path):
    with pytest.raises(UnknownModelError), start(Path("no_such_model")):
        pass
    with (
        pytest.raises(InputError, match="two of the models are called 'tiny'"),
        start(served_folders[0], served_folders[0]),
    ):
        pass
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ArtifactError), start(served_folders[0], tmp_path):
        pass
