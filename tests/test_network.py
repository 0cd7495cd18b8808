"""Variables of proxies and certificates that are at fault: named, with what to do, and the cache serves meanwhile."""

from __future__ import annotations

import os
from pathlib import Path

import huggingface_hub
import pytest
from found import find_artifact
from hub_server import LoopbackHub

from onnxzoo import doctor
from onnxzoo.errors import DownloadError, HubError
from onnxzoo.hub import SHIPPED_DIR
from onnxzoo.hub.publish import publish
from onnxzoo.weights import download as downloads
from onnxzoo.weights.download import download

REPO = "someone/tiny"
VARIABLES = [
    ("ALL_PROXY", "socks5://user:secret@127.0.0.1:9", "needs a package that is not installed; pip install socksio, or"),
    ("all_proxy", "socks4://127.0.0.1:9", "a proxy of the kind socks4 cannot be used; set it to one of http, https,"),
    ("https_proxy", "ftp://127.0.0.1:9", "a proxy of the kind ftp cannot be used"),
    ("http_proxy", "http://:::x", "which is not an address; set it to one like http://HOST:PORT, or unset http_proxy"),
    ("HTTP_PROXY", "http://[::1", "which is not an address; set it to one like http://HOST:PORT, or unset HTTP_PROXY"),
    ("SSL_CERT_FILE", "/nowhere/certificates.pem", "where there is no file; set it to a file of certificates, or"),
    ("SSL_CERT_FILE", __file__, "which holds no certificates; set it to a file of some, or unset it"),
]


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in os.environ:
        if variable.lower().endswith("_proxy"):
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
        ("http://127.0.0.1:9/x", "http_proxy", "socks5://127.0.0.1:9", "socks5 cannot be used for this; set it to one"),
        ("http://127.0.0.1:9/x", "HTTP_PROXY", "http://h:::x", "which is not an address"),
        ("https://127.0.0.1:9/x", "https_proxy", "socks4://127.0.0.1:9", "socks4 cannot be used for this"),
    ],
)
def test_the_download_of_a_checkpoint_names_the_variable_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str, name: str, value: str, cure: str
) -> None:
    monkeypatch.setattr(downloads.time, "sleep", lambda _: pytest.fail("it was tried again"))
    monkeypatch.setenv(name, value)
    with pytest.raises(DownloadError, match="cannot be downloaded") as caught:
        download(url, tmp_path / "x")
    assert f"{name} is '{value}'" in str(caught.value)
    assert cure in str(caught.value)


def test_doctor_names_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "socks5://127.0.0.1:9")
    assert "http_proxy is 'socks5://127.0.0.1:9', and a proxy of the kind socks5 cannot be used" in doctor._hub()
