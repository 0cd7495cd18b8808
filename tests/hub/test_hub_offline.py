"""Offline, and where the Hub cannot be reached: the cache serves, or the message says what is missing."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from click.testing import CliRunner
from found import find_artifact
from hub_server import LoopbackHub
from hub_tiny import MODEL, REPO, blob_of, head, spoil, two_precisions
from huggingface_hub import constants
from tiny import write_artifact

import onnxzoo
from onnxzoo.cli import main
from onnxzoo.errors import ArtifactError, HubError, InputError, ModelNotFoundError, OnnxzooError
from onnxzoo.hub import client


@pytest.mark.parametrize("path", ["config.json", MODEL])
@pytest.mark.parametrize("damage", ["altered", "truncated"])
def test_offline_a_damaged_file_is_named(hub: LoopbackHub, path: str, damage: str) -> None:
    blob = blob_of(find_artifact(REPO), path)
    spoil(blob, damage)
    hub.log.clear()
    what = r"has \d+ bytes, expected|was altered: its (sha256|hash) is \w+, expected \w+"
    with pytest.raises(ArtifactError, match=rf"{path} ({what})"):
        find_artifact(REPO, offline=True)
    assert hub.log.all() == []


def test_offline_the_newest_of_several_whole_copies_serves(hub: LoopbackHub, tmp_path: Path) -> None:
    folders = [find_artifact(REPO)]
    for number in range(2):
        hub.store.change(REPO, write_artifact(tmp_path / str(number), changes={"tools": {"onnx": str(number)}}))
        folders.append(find_artifact(REPO))
    hub.store.change(REPO, two_precisions(tmp_path / "two"))
    find_artifact(REPO, precision="fp16")  # the newest of all, without the file that is wanted
    for age, folder in zip((300, 100, 200), folders, strict=True):
        os.utime(folder, (time.time() - age, time.time() - age))
    assert find_artifact(REPO, offline=True) == folders[1]


def test_offline_an_older_whole_copy_serves_with_a_warning(
    hub: LoopbackHub, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    old = find_artifact(REPO)
    hub.store.change(REPO, two_precisions(tmp_path / "two"))
    new = find_artifact(REPO, precision="fp16")
    assert find_artifact(REPO, precision="fp16", offline=True) == new
    assert caplog.records == []
    assert find_artifact(REPO, offline=True) == old
    (warned,) = caplog.records
    assert warned.message.endswith(f"; using another copy that is whole, commit {old.name}")
    # What was asked for by its revision is that or nothing.
    with pytest.raises(ModelNotFoundError, match=r"model\.onnx of .* is not on this machine"):
        find_artifact(REPO, offline=True, revision=new.name)


def test_offline_auto_takes_what_is_here(loopback: LoopbackHub, with_int8: Path) -> None:
    find_artifact("someone/two")
    loopback.log.clear()
    onnxzoo.load("someone/two", precision="auto", offline=True).close()
    assert loopback.log.all() == []
    with pytest.raises(ModelNotFoundError, match=r"model_int8\.onnx of someone/two.* is not on this machine"):
        onnxzoo.load("someone/two", precision="int8", offline=True)


def test_offline_without_any_file_auto_says_how_to_get_one(loopback: LoopbackHub, with_int8: Path) -> None:
    find_artifact("someone/two", precision=None)
    with pytest.raises(ModelNotFoundError, match=r"download it when online: onnxzoo download someone/two@\w+ --prec"):
        onnxzoo.load("someone/two", precision="auto", offline=True, engine="openvino")


def test_offline_the_cache_serves_without_a_request(hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = find_artifact(REPO)
    hub.log.clear()
    assert find_artifact(REPO, offline=True) == folder
    assert find_artifact(REPO, offline=True, revision=head(hub)) == folder
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert find_artifact(REPO) == folder
    onnxzoo.load(REPO).close()
    with pytest.raises(HubError, match="HF_HUB_OFFLINE is set, so the Hub is not asked; unset it"):
        find_artifact("someone/other", offline=False)
    assert hub.log.all() == []
    with pytest.raises(InputError, match="offline must be True, False or None, got 1"):
        find_artifact(REPO, offline=1)  # type: ignore[arg-type]


def test_offline_says_what_is_missing(hub: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONNXZOO_NAMESPACE", "onnxzoo")
    hub.store.add_repo("someone/two", two_precisions(tmp_path / "two"))
    find_artifact("someone/two")
    hub.log.clear()
    for name, options, message in (
        (
            "someone/two",
            {"precision": "fp16"},
            "model_fp16.onnx of someone/two is not on this machine .* --precision fp16",
        ),
        (
            "someone/two",
            {"revision": "v1"},
            "someone/two@v1 is not on this machine .*: onnxzoo download someone/two@v1$",
        ),
        (
            "pvt_v2_b0",
            {},
            "not in .*pvt_v2_b0 nor in .*models--onnxzoo--pvt_v2_b0.*onnxzoo download pvt_v2_b0; or export",
        ),
        (
            "pvt_v2_b0",
            {"revision": "v1"},
            "onnxzoo/pvt_v2_b0@v1 is .*onnxzoo download pvt_v2_b0 --revision v1; or export",
        ),
    ):
        with pytest.raises(ModelNotFoundError, match=message):
            find_artifact(name, offline=True, **options)
    assert hub.log.all() == []


@pytest.mark.parametrize("fault", [{"status": 503}, {"status": 429}, {"delay_s": 1.0}, {"closed": True}])
def test_where_the_hub_cannot_be_reached_the_cache_serves_with_a_warning(
    hub: LoopbackHub, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, fault: dict[str, Any]
) -> None:
    folder = find_artifact(REPO)
    monkeypatch.setattr(constants, "HF_HUB_ETAG_TIMEOUT", 0.2)
    if fault.pop("closed", None):
        hub.close()
        huggingface_hub.close_session()  # the client keeps its connections open
    else:
        hub.fail("HEAD", times=99, **fault)
    hub.log.clear()
    assert find_artifact(REPO) == folder
    assert len(hub.log.all()) <= 1
    assert len(caplog.records) == 1
    assert caplog.records[0].message.endswith("; using the copy in the cache, which may be an old one")


@pytest.mark.parametrize("pattern", ["HEAD", "GET|HEAD"])
@pytest.mark.parametrize(
    "fault",
    [
        {"html": True},
        {"html": True, "status": 401},
        {"html": True, "status": 403},
        {"html": True, "status": 407},
        {"html": True, "status": 511},
    ],
)
def test_behind_a_login_page_or_proxy_the_cache_serves_with_a_warning(
    hub: LoopbackHub, caplog: pytest.LogCaptureFixture, fault: dict[str, Any], pattern: str
) -> None:
    hub.fail(pattern, times=99, **fault)
    with pytest.raises(OnnxzooError) as caught:  # nothing is cached yet
        find_artifact(REPO)
    assert "token" not in str(caught.value)
    hub.faults.clear()
    folder = find_artifact(REPO)
    hub.fail(pattern, times=99, **fault)
    assert find_artifact(REPO) == folder
    (warned,) = caplog.records
    assert warned.message.endswith("; using the copy in the cache, which may be an old one")
    assert "token" not in warned.message


def test_a_refusal_by_the_hub_is_reported_despite_a_cached_copy(hub: LoopbackHub) -> None:
    find_artifact(REPO)
    hub.fail("HEAD", times=99, status=403, headers={"X-Error-Code": "GatedRepo"})
    with pytest.raises(HubError, match="agreed to its conditions"):
        find_artifact(REPO)


def test_the_password_in_the_endpoint_is_not_told(hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "FIRST_PAUSE_S", 0.0)
    address = "http://me:pa@ss@127.0.0.1:9"
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr("huggingface_hub.hf_api.api.endpoint", address)
    assert client.web_address("a/b") == "http://127.0.0.1:9/a/b"
    with pytest.raises(HubError, match=r"http://127\.0\.0\.1:9 cannot be reached") as caught:
        find_artifact("a/b")
    assert "ss@" not in str(caught.value)
    assert client.redacted(f"for url {address}/x 'https://u:p@h/y'") == "for url http://127.0.0.1:9/x 'https://h/y'"


@pytest.mark.parametrize(
    "command", [["download", "a/b"], ["info", "a/b", "--hub"], ["cache", "list"], ["predict", "a/b", "x"]]
)
@pytest.mark.parametrize("address", ["http://[bad", "http://me:secret@h:99999", "ftp://h", "", "huggingface.co"])
def test_an_invalid_endpoint_is_refused(address: str, command: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", address)
    result = CliRunner().invoke(main, command, prog_name="onnxzoo")
    assert result.exit_code == 2
    assert result.stderr == (
        "onnxzoo: error: HF_ENDPOINT is not a valid Hub URL; expected one like https://HOST, or unset it\n"
    )


def test_a_load_from_the_cache_writes_nothing(hub: LoopbackHub) -> None:
    """As in a container whose cache is mounted read-only."""
    folder = find_artifact(REPO)
    before = {path: path.lstat().st_mtime_ns for path in client.cache_folder().rglob("*")}
    assert find_artifact(REPO) == folder
    assert find_artifact(REPO, revision=head(hub)) == folder
    assert {path: path.lstat().st_mtime_ns for path in client.cache_folder().rglob("*")} == before
