"""Nothing that onnxzoo imports calls home, starts helper processes or leaves files: seen by a proxy on loopback."""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from onnxzoo.engines.openvino_module import import_openvino
from onnxzoo.engines.telemetry import ONNXRUNTIME_SWITCH, without_telemetry
from onnxzoo.engines.telemetry import OPENVINO_TELEMETRY as TELEMETRY
from onnxzoo.errors import EngineUnavailableError

MODEL = "pvt_v2_nano_fashion"
needs_openvino = pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="needs openvino")

PREDICT = """
import sys
from pathlib import Path
with Path("runs.txt").open("a") as file:
    file.write("run\\n")
import logging, multiprocessing, os
multiprocessing.set_start_method(sys.argv[1], force=True)
import numpy as np
import onnxzoo
with onnxzoo.load("pvt_v2_nano_fashion", engine=sys.argv[2], offline=True) as model:
    model.predict(np.zeros((40, 40, 3), np.uint8))
assert not logging.getLogger().handlers
assert "openvino_telemetry" not in sys.modules
assert "ORT_DISABLE_TELEMETRY" not in os.environ
print("done")
"""

IN_A_CHILD = """
import multiprocessing, sys
import numpy as np
import onnxzoo

def best(_):
    with onnxzoo.load("pvt_v2_nano_fashion", engine="openvino", offline=True) as model:
        return model.predict(np.zeros((40, 40, 3), np.uint8)).class_id

if __name__ == "__main__":
    with multiprocessing.get_context(sys.argv[1]).Pool(1) as pool:
        print(len(pool.map(best, [0])))
"""


class Proxy:
    """Takes every connection, notes what it asks for, and hangs up."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(5)
                try:
                    self.asked.append(connection.recv(4096).decode("latin-1").partition("\r\n")[0])
                except OSError:
                    self.asked.append("nothing")

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join()


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    served = Proxy()
    yield served
    served.close()


def run(proxy: Proxy, folder: Path, *command: str, home: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run Python as a user outside of any CI would, all of its requests going to the proxy."""
    home = home or folder / "home"
    kept = {name: os.environ[name] for name in ("PATH", "ONNXZOO_CACHE", "SYSTEMROOT", "TMPDIR") if name in os.environ}
    proxies = {
        name: proxy.url for scheme in ("http", "https", "all") for name in (f"{scheme}_proxy", f"{scheme}_PROXY")
    }
    environment = {**kept, **proxies, "HOME": str(home), "USERPROFILE": str(home), "HF_HOME": str(folder / "hf")}
    environment |= {name.upper(): value for name, value in proxies.items()}
    if not home.exists():
        home.mkdir()
    return subprocess.run(
        [sys.executable, "-P", *command], cwd=folder, capture_output=True, text=True, timeout=120, check=False,
        env=environment,
    )  # fmt: skip


@pytest.mark.skipif(not any(Path(p, TELEMETRY).is_dir() for p in sys.path), reason="needs openvino_telemetry")
def test_the_proxy_sees_what_openvino_sends_by_itself(proxy: Proxy, tmp_path: Path) -> None:
    """Without this, the tests below could pass because nothing can be seen."""
    run(proxy, tmp_path, "-c", "import openvino")
    assert any("google-analytics" in line for line in proxy.asked), proxy.asked
    assert [path.name for path in (tmp_path / "home").iterdir()] == ["intel"]


def test_what_onnxruntime_leaves_by_itself_shows_in_the_home_folder(proxy: Proxy, tmp_path: Path) -> None:
    """It sends later than a test wants to wait; the persistent id and the events are there at once."""
    onnxruntime = pytest.importorskip("onnxruntime")
    if tuple(map(int, onnxruntime.__version__.split(".")[:2])) < (1, 29) or sys.platform != "linux":
        pytest.skip("this onnxruntime has no telemetry here")
    run(proxy, tmp_path, "-c", "import onnxruntime")
    assert [path.name for path in (tmp_path / "home" / ".cache").iterdir()] == ["Microsoft"]


@pytest.mark.slow
@needs_openvino
@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_a_script_without_a_guard_runs_once_and_nothing_is_sent(proxy: Proxy, tmp_path: Path, method: str) -> None:
    (tmp_path / "script.py").write_text(PREDICT, encoding="utf-8")
    done = run(proxy, tmp_path, "script.py", method, "openvino")
    assert (done.stdout, done.stderr) == ("done\n", "")
    assert (tmp_path / "runs.txt").read_text(encoding="utf-8") == "run\n"
    assert list((tmp_path / "home").iterdir()) == []
    assert proxy.asked == []


@pytest.mark.slow
@needs_openvino
def test_a_home_that_cannot_be_written(proxy: Proxy, tmp_path: Path) -> None:
    home = tmp_path / "file"
    home.write_text("", encoding="utf-8")
    (tmp_path / "script.py").write_text(PREDICT, encoding="utf-8")
    done = run(proxy, tmp_path, "script.py", "spawn", "openvino", home=home)
    assert (done.stdout, done.stderr) == ("done\n", "")
    assert proxy.asked == []


@pytest.mark.slow
@needs_openvino
@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_the_users_child_processes_send_nothing_either(proxy: Proxy, tmp_path: Path, method: str) -> None:
    (tmp_path / "script.py").write_text(IN_A_CHILD, encoding="utf-8")
    done = run(proxy, tmp_path, "script.py", method)
    assert (done.stdout, done.stderr) == ("1\n", "")
    assert list((tmp_path / "home").iterdir()) == []
    assert proxy.asked == []


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(["-c", PREDICT, "spawn", "onnxruntime"], id="onnxruntime"),
        pytest.param(["-c", "import onnxzoo, onnxzoo.hub, huggingface_hub.file_download"], id="hub"),
        pytest.param(["-c", "import paddle"], id="paddle", marks=pytest.mark.paddle),
        pytest.param(["-m", "onnxzoo", "doctor"], id="doctor", marks=pytest.mark.slow),
        pytest.param(["-m", "onnxzoo", "info", MODEL], id="info"),
    ],
)
def test_no_other_library_and_no_command_sends_anything(proxy: Proxy, tmp_path: Path, command: list[str]) -> None:
    for name in ("onnxruntime", "paddle"):
        if name in " ".join(command):
            pytest.importorskip(name)
    done = run(proxy, tmp_path, *command)
    assert done.returncode == 0, done.stderr
    # Paddle makes an empty folder for its data sets.
    assert not [path for path in (tmp_path / "home").rglob("*") if path.is_file()]
    assert proxy.asked == []


@pytest.mark.parametrize("users", [None, "0"])
def test_the_switch_of_onnxruntime_is_the_users_where_it_is_set(
    monkeypatch: pytest.MonkeyPatch, users: str | None
) -> None:
    if users is None:
        monkeypatch.delenv(ONNXRUNTIME_SWITCH)
    else:
        monkeypatch.setenv(ONNXRUNTIME_SWITCH, users)
    with without_telemetry():
        assert os.environ[ONNXRUNTIME_SWITCH] == (users or "1")
    assert os.environ.get(ONNXRUNTIME_SWITCH) == users


@needs_openvino
@pytest.mark.parametrize("before", [object(), None])
def test_the_table_of_modules_is_as_it_was(monkeypatch: pytest.MonkeyPatch, before: object) -> None:
    """The user may have imported the telemetry, or have hidden it for good."""
    monkeypatch.setitem(sys.modules, TELEMETRY, before)
    import_openvino()
    assert sys.modules[TELEMETRY] is before
    monkeypatch.delitem(sys.modules, TELEMETRY)
    import_openvino()
    assert TELEMETRY not in sys.modules


def test_the_table_is_put_back_when_the_import_fails_and_by_many_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, TELEMETRY, raising=False)
    monkeypatch.setitem(sys.modules, "openvino", None)
    refused: list[EngineUnavailableError] = []

    def ask() -> None:
        try:
            import_openvino()
        except EngineUnavailableError as error:
            refused.append(error)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == 8
    assert TELEMETRY not in sys.modules
