"""Faults of a Hub, of the line and of the token: what the user reads, and what is never told."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from found import find_artifact
from hub_server import READ_TOKEN, WRITE_TOKEN, LoopbackHub
from hub_tiny import MODEL, REPO, hub_files
from huggingface_hub import constants

import onnxzoo
from onnxzoo.cli import main
from onnxzoo.errors import ArtifactError, HubError, ModelNotFoundError, OnnxzooError
from onnxzoo.hub import client

# Faults: what the user sees

SECRET = "hf_secretsecretsecretsecretsecret"  # noqa: S105
FAULTS: Mapping[str, tuple[str, dict[str, Any], type[OnnxzooError], int, str]] = {
    # name: requests, what happens, error, exit code, message
    "500 at first": ("HEAD", {"status": 500}, HubError, 3, "the Hub answers 500 .*: it has a problem of its own"),
    "500 of the file": ("GET /objects", {"status": 500}, HubError, 3, "the Hub answers 500 .*; try again later"),
    "429": (
        "HEAD",
        {"status": 429, "headers": {"Retry-After": "7"}},
        HubError,
        3,
        "the Hub answers 429 .*: too many requests from here; try again in 7 s, or log in: hf auth login",
    ),
    "429 for an hour": (
        "HEAD",
        {"status": 429, "headers": {"Retry-After": "3600"}},
        HubError,
        3,
        "too many requests from here; try again in 3600 s",
    ),
    "token refused": (
        "HEAD",
        {"status": 401, "message": "Invalid credentials in Authorization header"},
        HubError,
        3,
        "answers 401 .*: it does not accept the access token; check HF_TOKEN, or log in: hf auth login",
    ),
    "forbidden": ("HEAD", {"status": 403}, HubError, 3, "answers 403 .*: the access token does not permit this"),
    "gated": (
        "HEAD",
        {"status": 403, "headers": {"X-Error-Code": "GatedRepo"}},
        HubError,
        3,
        f"{REPO} is open to those who agreed to its conditions: http://[0-9.:]+/{REPO}, then hf auth login",
    ),
    "no such file": (
        f"HEAD .*{MODEL}",
        {"status": 404, "headers": {"X-Error-Code": "EntryNotFound"}},
        ArtifactError,
        1,
        f"{REPO} has no file '{MODEL}' at [0-9a-f]{{40}}",
    ),
    "cut again and again": (
        "GET /objects",
        {"cut_after": 10},
        HubError,
        3,
        "the connection was lost .*; check the network",
    ),
    "too short": ("GET /objects", {"short_by": 10}, HubError, 3, "not all bytes that the Hub announced arrived"),
    "wrong bytes": ("GET /objects", {"wrong_at": 9}, ArtifactError, 1, "was altered: its sha256 is"),
    "slow": ("HEAD", {"delay_s": 0.6}, HubError, 3, r"cannot be reached, .*\(.*timed out.*\); check the network"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FAULTS)
def test_what_the_user_sees(
    name: str, hub: LoopbackHub, pauses: list[float], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    pattern, fault, error, code, message = FAULTS[name]
    hub.store.add_user(SECRET, "someone", "someone")
    monkeypatch.setenv("HF_TOKEN", SECRET)
    monkeypatch.setattr(constants, "HF_HUB_ETAG_TIMEOUT", 0.2)
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.2)
    hub.fail(pattern, times=999, **fault)
    with pytest.raises(error, match=message) as caught:
        onnxzoo.load(REPO)
    text = str(caught.value)
    assert caught.value.exit_code == code
    assert "\n" not in text
    captured = capfd.readouterr()
    assert SECRET not in text + captured.out + captured.err
    assert len(text) < 400
    # The next one finds nothing that stands in its way.
    hub.faults.clear()
    onnxzoo.load(REPO).close()


def test_faults_that_pass_are_waited_for(hub: LoopbackHub, pauses: list[float]) -> None:
    hub.fail("HEAD", times=2, status=503)
    find_artifact(REPO)
    assert pauses[:2] == [1.0, 2.0]
    hub.fail("HEAD", status=429, headers={"Retry-After": "7"})
    hub.store.change(REPO, {"README.md": b"new"})
    # With a copy in the cache there is no waiting.
    find_artifact(REPO)
    hub.fail("HEAD", status=429, headers={"Retry-After": "7"})
    del pauses[:]
    hub.store.add_repo("someone/else", hub_files(hub))
    find_artifact("someone/else")
    assert pauses == [7.0]


def test_what_is_not_published(loopback: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONNXZOO_NAMESPACE", "onnxzoo")
    with pytest.raises(
        ModelNotFoundError,
        match=r"onnxzoo/pvt_v2_b0 is not on the Hub \(.*\), or is private; export it: pip install 'onnxzoo\[export\]', "
        r"then onnxzoo export pvt_v2_b0$",
    ) as caught:
        onnxzoo.load("pvt_v2_b0")
    assert caught.value.exit_code == 3
    with pytest.raises(
        ModelNotFoundError, match=r"no/body is not on the Hub .*; check the name; for a private one, log"
    ):
        onnxzoo.load("no/body")
    loopback.store.add_repo("someone/other", {"README.md": b"text"})
    with pytest.raises(ArtifactError, match=r"someone/other has no file 'config\.json'"):
        onnxzoo.load("someone/other")


def test_a_private_model_needs_a_token_that_is_never_told(
    loopback: LoopbackHub, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loopback.store.add_repo("someone/secret", tiny, private=True)
    with pytest.raises(ModelNotFoundError, match=r"someone/secret is not on the Hub .* or is private"):
        find_artifact("someone/secret")
    monkeypatch.setenv("HF_TOKEN", READ_TOKEN)
    with pytest.raises(ModelNotFoundError, match="or is private") as caught:
        find_artifact("someone/secret")
    assert READ_TOKEN not in str(caught.value)
    monkeypatch.setenv("HF_TOKEN", WRITE_TOKEN)
    find_artifact("someone/secret")
    assert not any(one.authorized for one in loopback.log.all() if one.cdn)


@pytest.mark.parametrize("token", [WRITE_TOKEN, "of-a-hub-of-our-own", "two\nlines", "api_org_0123"])
def test_no_message_holds_the_token_in_use(monkeypatch: pytest.MonkeyPatch, token: str) -> None:
    """Not all begin with hf_: a Hub behind a gateway gives others."""
    monkeypatch.setattr(client.huggingface_hub, "get_token", lambda: token)
    for text in (f"you sent {token}", f"headers: {{'authorization': {token!r}}}", f"https://user:{token}@host/x"):
        assert token not in client.redacted(text)
        assert repr(token)[1:-1] not in client.redacted(text)
        assert "***" in client.redacted(text) or "@" not in client.redacted(text)


def test_no_message_holds_what_looks_like_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """That of another user, in what a server says."""
    monkeypatch.setattr(client.huggingface_hub, "get_token", lambda: None)
    assert client.redacted("sent hf_abcDEF123, and no more") == "sent ***, and no more"
    assert client.redacted("{'authorization': 'Bearer abc.def'}") == "{'authorization': '***'}"


@pytest.mark.parametrize("token", ["hf_with\x01control", "hf_ümlaut", "hf_two words"])
def test_a_token_that_cannot_be_sent_is_not_told(hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch, token: str) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    monkeypatch.setattr(client, "FIRST_PAUSE_S", 0.0)
    with pytest.raises(HubError) as caught:
        find_artifact(REPO)
    assert token[3:] not in str(caught.value)
    assert "control" not in str(caught.value)


def test_a_full_disk_is_not_announced_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub.file_download import _check_disk_space

    def warn(_pattern: str) -> list[str]:
        _check_disk_space(2**60, tmp_path)
        return ["pvt_v2_b0"]

    with pytest.warns(UserWarning, match="Not enough free disk space"):
        warn("*")
    monkeypatch.setattr("onnxzoo.registry.list_models", warn)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert CliRunner().invoke(main, ["list"]).exit_code == 0
    assert [str(one.message) for one in caught] == []
