"""Servers in processes of their own: ours, and MLServer with the same model."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

START_S = 120.0

MLSERVER_RUNTIME = """
from mlserver import MLModel
from mlserver.codecs import Base64Codec, NumpyCodec
from mlserver.types import InferenceResponse
import onnxzoo
from onnxzoo.image import preprocess_batch

class Runtime(MLModel):
    async def load(self):
        self._model = onnxzoo.load(self.settings.parameters.uri)
        return True

    async def predict(self, payload):
        given = payload.inputs[0]
        if given.name == "pixel_values":
            batch = NumpyCodec.decode_input(given)
        else:
            as_text = given.parameters is not None
            encoded = Base64Codec.decode_input(given) if as_text else [bytes(one) for one in given.data]
            batch = preprocess_batch(encoded, self._model.artifact.preprocess)
        outputs = self._model.outputs(batch)
        return InferenceResponse(
            model_name=self.name, outputs=[NumpyCodec.encode_output(name, value) for name, value in outputs.items()]
        )
"""


@dataclass
class Running:
    """A server that is ready. `http`: its URL; `grpc`: host and port; `log`: the file of what it wrote to stderr."""

    process: subprocess.Popen[str]
    http: str
    grpc: str
    log: Path

    def rss_mib(self) -> float:
        """Resident memory of the process and its children."""
        return sum(_rss_mib(pid) for pid in (self.process.pid, *_children(self.process.pid)))

    def peak_mib(self) -> float:
        """The largest resident memory that the process had."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) / 2**10

    def files(self) -> int:
        """Open files and sockets."""
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    def threads(self) -> int:
        """Threads."""
        return len(list(Path(f"/proc/{self.process.pid}/task").iterdir()))


@contextlib.contextmanager
def onnxzoo_serve(models: Sequence[str], *options: str) -> Iterator[Running]:
    """`onnxzoo serve` of these models on free ports."""
    ports = [] if "--http-port" in options else ["--http-port", "0", "--grpc-port", "0"]
    command = [sys.executable, "-P", "-m", "onnxzoo", "serve", *models, *ports, *options]
    with tempfile.NamedTemporaryFile(suffix=".log") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        try:
            words = process.stdout.readline().split() if process.stdout is not None else []
            if len(words) < 6:
                raise SystemExit(f"the server did not start: {Path(log.name).read_text()}")
            yield Running(process, words[2], words[-1], Path(log.name))
        finally:
            _end(process)


@contextlib.contextmanager
def mlserver(python: str, name: str, folder: str) -> Iterator[Running]:
    """MLServer, of the environment of this Python, with the model in `folder` and its own default settings."""
    http_port, grpc_port, metrics_port = _free_ports(3)
    with tempfile.TemporaryDirectory() as work:
        Path(work, "runtime.py").write_text(MLSERVER_RUNTIME)
        ports = {"http_port": http_port, "grpc_port": grpc_port, "metrics_port": metrics_port, "host": "127.0.0.1"}
        Path(work, "settings.json").write_text(json.dumps({**ports, "debug": False}))
        model = {"name": name, "implementation": "runtime.Runtime", "parameters": {"uri": folder}}
        Path(work, "model-settings.json").write_text(json.dumps(model))
        with Path(work, "log").open("w") as log:
            command = [str(Path(python).parent / "mlserver"), "start", work]
            environment = {**os.environ, "PYTHONPATH": work}
            process = subprocess.Popen(command, stdout=log, stderr=log, text=True, env=environment, cwd=work)
            try:
                url = f"http://127.0.0.1:{http_port}"
                _wait_until_ready(url, name, process, Path(work, "log"))
                yield Running(process, url, f"127.0.0.1:{grpc_port}", Path(work, "log"))
            finally:
                _end(process)


def _wait_until_ready(url: str, name: str, process: subprocess.Popen[str], log: Path) -> None:
    end = time.monotonic() + START_S
    while time.monotonic() < end and process.poll() is None:
        connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=5)
        with contextlib.suppress(OSError, http.client.HTTPException), contextlib.closing(connection):
            connection.request("GET", f"/v2/models/{name}/ready")
            if connection.getresponse().status == 200:
                return
        time.sleep(0.2)
    raise SystemExit(f"MLServer did not start: {log.read_text()[-2000:]}")


def _end(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(40)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        listeners = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [listener.getsockname()[1] for listener in listeners]


def _rss_mib(pid: int) -> float:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    except FileNotFoundError:  # it has ended
        return 0.0


def _children(pid: int) -> list[int]:
    try:
        direct = [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []
    return [*direct, *(below for one in direct for below in _children(one))]
