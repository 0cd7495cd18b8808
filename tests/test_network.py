"""Variables of proxies and certificates that are at fault: named, with what to do, and the cache serves meanwhile."""

from __future__ import annotations

import http.server
import os
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import huggingface_hub
import pytest
from found import find_artifact
from hub_server import LoopbackHub

from onnxzoo import doctor
from onnxzoo.errors import DownloadError, HubError
from onnxzoo.hub import SHIPPED_DIR
from onnxzoo.hub.publish import publish
from onnxzoo.network import environment_fault, through_proxy, without_login
from onnxzoo.weights import checkpoint_download as downloads
from onnxzoo.weights.checkpoint_download import download

REPO = "someone/tiny"
CERTIFICATE = Path(__file__).parent / "data" / "loopback_certificate.pem"
"""Of 127.0.0.1, signed by itself, with its key: openssl req -x509 ... -addext subjectAltName=IP:127.0.0.1"""
VARIABLES = [
    ("ALL_PROXY", "socks5://user:secret@127.0.0.1:9", "needs a package that is not installed; pip install socksio, or"),
    ("all_proxy", "socks4://127.0.0.1:9", "socks4 proxies are not supported; set it to one of http, https,"),
    ("https_proxy", "ftp://127.0.0.1:9", "ftp proxies are not supported"),
    ("http_proxy", "http://:::x", "which is not a valid URL; set it to one like http://HOST:PORT, or unset http_proxy"),
    ("HTTP_PROXY", "http://[::1", "which is not a valid URL; set it to one like http://HOST:PORT, or unset HTTP_PROXY"),
    ("SSL_CERT_FILE", "/nowhere/certificates.pem", "which is not a file; set it to a file of certificates, or"),
    ("SSL_CERT_FILE", __file__, "which holds no certificates; set it to a file that does, or unset it"),
]


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in os.environ:
        if variable.lower().endswith("_proxy") or variable in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
            monkeypatch.delenv(variable)


@pytest.fixture(params=VARIABLES, ids=lambda values: f"{values[0]}={values[1][:6]}")
def variable(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str, str]:
    name, value, _ = request.param
    monkeypatch.setenv(name, value)
    huggingface_hub.close_session()  # the client reads the variables when it is made
    found: tuple[str, str, str] = request.param
    return found


@pytest.fixture
def filled(loopback: LoopbackHub, tiny: Path) -> LoopbackHub:
    loopback.store.add_repo(REPO, tiny)
    return loopback


def test_the_variable_is_named_with_what_to_do(filled: LoopbackHub, variable: tuple[str, str, str]) -> None:
    name, _, cure = variable
    with pytest.raises(HubError, match="the Hub cannot be asked") as caught:
        find_artifact(REPO)
    assert f"{name} is '" in str(caught.value)
    assert cure in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_model_that_is_in_the_cache_loads_anyway(
    filled: LoopbackHub, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder = find_artifact(REPO)
    for name, value, _ in VARIABLES:
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            huggingface_hub.close_session()
            caplog.clear()
            assert find_artifact(REPO) == folder
            assert len(caplog.records) == 1
            assert f"{name} is '" in caplog.records[0].message
            assert caplog.records[0].message.endswith("; using the copy in the cache, which may be an old one")


def test_publishing_names_the_variable_too(loopback: LoopbackHub, variable: tuple[str, str, str]) -> None:
    with pytest.raises(HubError, match="the Hub cannot be asked") as caught:
        publish(SHIPPED_DIR / "pvt_v2_nano_fashion", REPO, dry_run=True, allow_unvalidated=True)
    assert f"{variable[0]} is '" in str(caught.value)


@pytest.mark.parametrize(
    ("url", "name", "value", "cure"),
    [
        (
            "http://127.0.0.1:9/x",
            "http_proxy",
            "socks5://127.0.0.1:9",
            "socks5 proxies are not supported for this; set it to one",
        ),
        ("http://127.0.0.1:9/x", "HTTP_PROXY", "http://h:::x", "which is not a valid URL"),
        ("https://127.0.0.1:9/x", "https_proxy", "socks4://127.0.0.1:9", "socks4 proxies are not supported for this"),
    ],
)
def test_the_download_of_a_checkpoint_names_the_variable_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str, name: str, value: str, cure: str
) -> None:
    monkeypatch.setattr(downloads.time, "sleep", lambda _: pytest.fail("it was tried again"))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv(name, value)
    with pytest.raises(DownloadError, match="cannot be downloaded") as caught:
        download(url, tmp_path / "x")
    assert f"{name} is '{value}'" in str(caught.value)
    assert cure in str(caught.value)


class Proxy(http.server.BaseHTTPRequestHandler):
    """A proxy that gives the bytes `weights` for an address, or refuses with a status; `asked`: what for."""

    status = 200
    asked: ClassVar[list[str]] = []

    def log_message(self, *arguments: object) -> None:
        pass

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_response(self.status)
        self.send_header("Content-Length", "7")
        self.end_headers()
        self.wfile.write(b"weights" if self.command == "GET" else b"")

    do_HEAD = do_CONNECT = do_GET  # noqa: N815 - http.server's names


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a `Proxy`."""
    monkeypatch.setattr(Proxy, "asked", [])
    monkeypatch.setattr(downloads, "FIRST_PAUSE_S", 0.0)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://user:secret@127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    huggingface_hub.close_session()


@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"])
def test_a_checkpoint_comes_through_the_proxy(
    proxy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, proxy)
    download("http://weights.invalid/x", tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == b"weights"
    assert Proxy.asked == ["http://weights.invalid/x"]


@pytest.mark.parametrize("variable", ["https_proxy", "ALL_PROXY"])
@pytest.mark.parametrize("status", [403, 407, 502])
def test_a_proxy_that_refuses_a_checkpoint_is_named(
    proxy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, status: int
) -> None:
    monkeypatch.setenv(variable, proxy)
    monkeypatch.setattr(Proxy, "status", status)
    with pytest.raises(DownloadError) as caught:
        download("https://weights.invalid/x", tmp_path / "x")
    said = str(caught.value)
    assert f"through the proxy {without_login(proxy)} ({variable}): " in said
    assert str(status) in said
    assert "secret" not in said


def test_a_proxy_where_nothing_listens_is_named(
    filled: LoopbackHub, proxy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pauses: list[float]
) -> None:
    named = "through the proxy http://127.0.0.1:9 (HTTP_PROXY)"
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTP_PROXY", "http://user:secret@127.0.0.1:9")
    huggingface_hub.close_session()
    with pytest.raises(DownloadError, match="did not arrive") as of_a_checkpoint:
        download("http://weights.invalid/x", tmp_path / "x")
    with pytest.raises(HubError, match=r"cannot be reached through the proxy .*, or the connection was lost") as of_hub:
        find_artifact(REPO)
    monkeypatch.setenv("HF_ENDPOINT", "http://hub.invalid")
    for said in (str(of_a_checkpoint.value), str(of_hub.value), doctor._hub()):
        assert named in said
        assert "secret" not in said
    monkeypatch.setenv("no_proxy", "hub.invalid")
    assert through_proxy("http://hub.invalid/x") == ""
    assert through_proxy("http://other.invalid/x") == f" {named}"
    assert through_proxy("https://other.invalid/x") == ""


@pytest.mark.parametrize("status", [403, 407])
def test_a_proxy_that_refuses_the_hub_is_named(
    filled: LoopbackHub, proxy: str, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", proxy)
    monkeypatch.setattr(Proxy, "status", status)
    huggingface_hub.close_session()
    with pytest.raises(HubError, match=rf"answers {status} through the proxy {without_login(proxy)} \(http_proxy\)"):
        find_artifact(REPO)


def test_a_variable_that_is_not_used_is_not_blamed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:9")
    error = ConnectionResetError("reset")
    assert "ALL_PROXY is" in str(environment_fault(error, url="https://weights.invalid/x"))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    assert environment_fault(error, url="https://weights.invalid/x") is None
    # An http server may redirect to https, not the other way round.
    assert "ALL_PROXY is" in str(environment_fault(error, url="http://weights.invalid/x"))
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert environment_fault(error, url="http://weights.invalid/x") is None
    monkeypatch.delenv("https_proxy")
    monkeypatch.setenv("NO_PROXY", "weights.invalid")
    assert environment_fault(error, url="http://weights.invalid/x") is None


def test_a_certificate_that_is_not_trusted_is_explained_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(downloads.time, "sleep", lambda _: pytest.fail("it was tried again"))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    monkeypatch.setattr(server, "handle_error", lambda *_: None)  # the client that distrusts it leaves
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    url = f"https://127.0.0.1:{server.server_address[1]}/x"
    try:
        with pytest.raises(DownloadError, match=r"is not trusted \(self-signed certificate\); if .* SSL_CERT_FILE to"):
            download(url, tmp_path / "x")
        for value, message in (
            ("/nowhere.pem", "which is not a file; set it to a file"),
            (__file__, "which holds no certificates"),
        ):
            monkeypatch.setenv("SSL_CERT_FILE", value)
            with pytest.raises(DownloadError, match=message):
                download(url, tmp_path / "x")
        monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
        download(url, tmp_path / "x")
        assert (tmp_path / "x").read_bytes() == b"weights"
    finally:
        server.shutdown()
        server.server_close()


def test_doctor_names_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "socks5://127.0.0.1:9")
    assert "http_proxy is 'socks5://127.0.0.1:9', but socks5 proxies are not supported" in doctor._hub()
