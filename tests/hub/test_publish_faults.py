"""What the Hub refuses while publishing, and what goes wrong on the way."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hub_publishing import REPO, error_line, run
from hub_server import READ_TOKEN, WRITE_TOKEN, LoopbackHub

from onnxzoo.hub import publish as publishing

pytestmark = pytest.mark.usefixtures("token")


@pytest.mark.parametrize("secret", ["", None])
def test_no_token(secret: str | None, folder: Path, loopback: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    if secret is not None:
        monkeypatch.setenv("HF_TOKEN", secret)
    result = run(folder, "--repo-id", REPO)
    assert result.exit_code == 3
    assert error_line(result).endswith(
        "publishing needs an access token that may write; hf auth login, or set HF_TOKEN\n"
    )
    assert loopback.log.all() == []


REFUSALS = {
    "a token nobody knows": (
        "hf_nobodyknowsthisone",
        False,
        "answers 401 (Invalid credentials in Authorization header)",
    ),
    "a token that reads": (READ_TOKEN, False, "answers 403 (You don't have the rights to write to the namespace"),
    "a token that reads, a repository that is there": (READ_TOKEN, True, "answers 403 (You don't have the rights"),
    "another's namespace": (WRITE_TOKEN, False, "answers 403 (You don't have the rights to write to the namespace"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_a_token_that_may_not(case: str, folder: Path, loopback: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> None:
    secret, exists, expected = REFUSALS[case]
    monkeypatch.setenv("HF_TOKEN", secret)
    repo_id = "stranger/model" if "namespace" in case else REPO
    if exists:
        loopback.store.add_repo(repo_id, {"x": b"x"})
    result = run(folder, "--repo-id", repo_id)
    assert result.exit_code == 3
    line = error_line(result)
    assert line.startswith(f"{repo_id}: the Hub ")
    assert expected in line
    assert "hf auth login" in line
    assert secret not in result.output


FAULTS = {
    "500 at the listing": ("GET /api/models", {"status": 500, "times": 9}, "answers 500 (a fault of the test)"),
    "500 at the upload": ("PUT ", {"status": 500, "times": 30}, "answers 500 (a fault of the test)"),
    "500 at the commit": ("POST .*/commit/", {"status": 500}, "answers 500 (a fault of the test)"),
    "429 at the commit": ("POST .*/commit/", {"status": 429, "headers": {"Retry-After": "90"}}, "try again in 90 s"),
    "403 at the upload": ("PUT ", {"status": 403}, "answers 403 (a fault of the test)"),
    "401 at the commit": ("POST .*/commit/", {"status": 401}, "answers 401 (a fault of the test)"),
    "a cut at the listing": ("GET /api/models", {"cut_after": 10, "times": 9}, "cannot be reached"),
    "a cut at the commit": ("POST .*/commit/", {"cut_after": 10}, "cannot be reached"),
    "somebody was faster": ("POST .*/commit/", {"status": 412}, "somebody else changed 'main' at the same time"),
    "the card is refused": ("POST /api/validate-yaml", {"status": 400}, "the Hub refuses this: Invalid metadata"),
    "a web page at the card": (
        "POST /api/validate-yaml",
        {"html": True, "status": 502},
        "does not answer as a Hugging Face Hub",
    ),
    "a web page at the commit": ("POST .*/commit/", {"html": True}, "does not answer as a Hugging Face Hub"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_faults(
    case: str, folder: Path, loopback: LoopbackHub, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onnxzoo.hub.client.FIRST_PAUSE_S", 0.0)
    loopback.store.add_repo(REPO, {"x": b"x"})
    pattern, what, expected = FAULTS[case]
    loopback.fail(pattern, **what)
    result = run(folder, "--repo-id", REPO)
    assert result.exit_code == 3, result.output
    line = error_line(result)
    assert expected in line
    assert set(loopback.store.repos[REPO].branches["main"].files) >= {"x"}
    # It goes on where it stopped: what was uploaded is not sent again.
    loopback.faults.clear()
    uploaded = loopback.log.received("PUT") if "upload" not in case else 0
    assert run(folder, "--repo-id", REPO).exit_code == 0
    if "commit" in case:
        assert loopback.log.received("PUT") == uploaded
    assert "config.json" in loopback.store.repos[REPO].branches["main"].files


def test_a_change_by_somebody_else_meanwhile_is_not_overwritten(
    folder: Path, loopback: LoopbackHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commit says which one it is based on: between the look and the commit another one has come."""
    loopback.store.add_repo(REPO, {"x": b"x"})
    original = publishing._commit

    def commit(*arguments: Any, **options: Any) -> Any:
        loopback.store.change(REPO, {"config.json": b"{}"}, title="somebody else's")
        return original(*arguments, **options)

    monkeypatch.setattr(publishing, "_commit", commit)
    result = run(folder, "--repo-id", REPO)
    assert result.exit_code == 3
    assert "somebody else changed 'main' at the same time; run it again" in error_line(result)
    main = loopback.store.repos[REPO].branches["main"]
    assert (main.title, main.files["config.json"].content) == ("somebody else's", b"{}")


def test_passing_faults_are_passed(
    folder: Path, loopback: LoopbackHub, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onnxzoo.hub.client.FIRST_PAUSE_S", 0.0)
    loopback.fail("GET /api/models", status=503)
    loopback.fail("POST .*/preupload/", status=500)
    loopback.fail("POST .*/batch", status=429, headers={"Retry-After": "2"})
    loopback.fail("PUT ", status=500)
    loopback.fail("PUT ", cut_after=1)
    result = run(folder, "--repo-id", REPO)
    assert (result.exit_code, result.stderr) == (0, "")
    assert 3.0 in pauses  # Retry-After and the client's second on top


def test_a_hub_that_does_not_answer(folder: Path, loopback: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onnxzoo.hub.client.FIRST_PAUSE_S", 0.0)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DOWNLOAD_TIMEOUT", 0.1)
    loopback.fail("GET /api/models", delay_s=0.5, times=9)
    result = run(folder, "--repo-id", REPO)
    assert result.exit_code == 3
    assert "cannot be reached" in error_line(result)
    assert "timed out" in result.stderr


def test_no_hub_at_all(folder: Path, loopback: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onnxzoo.hub.client.FIRST_PAUSE_S", 0.0)
    loopback.close()
    result = run(folder, "--repo-id", REPO)
    assert result.exit_code == 3
    assert f"the Hub at {loopback.url} cannot be reached" in error_line(result)


def test_offline(folder: Path, loopback: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    result = run(folder, "--repo-id", REPO)
    assert result.exit_code == 3
    assert "HF_HUB_OFFLINE is set" in error_line(result)


@pytest.mark.slow
@pytest.mark.parametrize(
    "secret", [WRITE_TOKEN, "hf_unknownunknown", "hf_with\x01control", "hf_ünicode", "no-prefix-token"]
)
@pytest.mark.parametrize("fault", ["PUT ", "POST .*/commit/", "nothing"])
def test_the_token_is_never_printed(secret: str, fault: str, folder: Path, loopback: LoopbackHub) -> None:
    loopback.fail(fault, status=403, times=9, message=f"you sent {secret}")
    script = "import sys; from onnxzoo.cli import main; main(sys.argv[1:], prog_name='onnxzoo')"
    environment = {**os.environ, "HF_TOKEN": secret, "HF_DEBUG": "1", "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(
        [sys.executable, "-P", "-c", script, "--debug", "publish", str(folder), "--repo-id", REPO],
        env=environment,
        capture_output=True,
        timeout=60,
    )
    output = (done.stdout + done.stderr).decode()
    assert secret not in output
    assert repr(secret)[1:-1] not in output
    assert done.returncode == (0 if secret == WRITE_TOKEN and fault == "nothing" else 3), output
    assert "this is a bug" not in output
