"""Many processes that load one model at once, and processes that are killed while they download."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from artifacts import exported
from filelock import FileLock
from found import find_artifact
from hub_kills import MODEL, REPO, kill_downloads
from hub_server import LoopbackHub

from onnxzoo.artifact.folder import CONFORMANCE_FILE
from onnxzoo.hub import client, snapshot

NANO = exported("pvt_v2_nano_fashion")

LOAD = """
import hashlib, json, sys
import numpy as np
import onnxzoo

with onnxzoo.load(sys.argv[1]) as model:
    size = model.image_size
    logits = model.logits(np.linspace(-1, 1, 3 * size * size, dtype=np.float32).reshape(1, 3, size, size))
    file = model.artifact.folder / "onnx/model.onnx"
    print(json.dumps([hashlib.sha256(file.read_bytes()).hexdigest(), logits.argmax().item(), str(file)]))
"""


def child_environment(hub: LoopbackHub, **more: str) -> dict[str, str]:
    return {**os.environ, **hub.environment, "OMP_NUM_THREADS": "1", **more}


@pytest.mark.slow
@pytest.mark.parametrize("links", [True, False])
def test_eight_processes_load_at_once_and_one_downloads(loopback: LoopbackHub, links: bool) -> None:
    loopback.store.add_repo(REPO, NANO)
    loopback.fail("GET /objects/", delay_s=0.2, chunk=200_000)  # long enough for all to come in between
    environment = child_environment(loopback, **({} if links else {"HF_HUB_DISABLE_SYMLINKS": "1"}))
    children = [
        subprocess.Popen(
            [sys.executable, "-P", "-c", LOAD, REPO],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(8)
    ]
    ended = [(child, *child.communicate(timeout=100)) for child in children]
    assert [child.returncode for child, _, _ in ended] == [0] * 8, [error for _, _, error in ended]
    answers = {out for _, out, _ in ended}
    assert len(answers) == 1
    digest, _, file = json.loads(answers.pop())
    assert digest == hashlib.sha256((NANO / MODEL).read_bytes()).hexdigest()
    assert Path(file).is_symlink() == links
    assert len(loopback.log.all("GET /objects/")) == 2
    assert len(loopback.log.all("GET .*config.json")) == 1
    assert loopback.log.sent("GET /objects/") == sum((NANO / name).stat().st_size for name in (MODEL, CONFORMANCE_FILE))


@pytest.mark.slow
@pytest.mark.parametrize("links", [True, False])
def test_after_a_kill_at_any_moment_the_next_load_is_right(loopback: LoopbackHub, tmp_path: Path, links: bool) -> None:
    """The script hub_kills.py does the same two hundred times."""
    figures = kill_downloads(loopback, NANO, tmp_path / "hf", 20, links=links)
    assert figures.wrong == []
    assert figures.right == figures.kills == 20
    assert figures.hit >= 5
    assert figures.half_files_after_loads == 0


def test_what_killed_processes_left_is_removed_and_what_runs_is_left_alone(loopback: LoopbackHub, tiny: Path) -> None:
    loopback.store.add_repo("someone/tiny", tiny)
    blobs = client.repo_folder("someone/tiny") / "blobs"
    blobs.mkdir(parents=True)
    dead, alive, continued = (
        blobs / f"{'a' * 64}.0123abcd.incomplete",
        blobs / f"{'b' * 64}.0123abcd.incomplete",
        blobs / f"{'c' * 64}.incomplete",  # as huggingface_hub 1.0 names them, which goes on with them
    )
    for path in (dead, alive, continued):
        path.write_bytes(b"half")
    locks = client.cache_folder() / ".locks" / blobs.parent.name
    locks.mkdir(parents=True)
    with FileLock(locks / f"{'b' * 64}.lock"):
        find_artifact("someone/tiny")
    assert (dead.exists(), alive.exists(), continued.exists()) == (False, True, True)


@pytest.mark.slow
def test_waiting_for_another_download_is_reported(
    loopback: LoopbackHub, tiny: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    loopback.store.add_repo("someone/tiny", tiny)
    monkeypatch.setattr(snapshot, "QUIET_WAIT_S", 0.1)
    locks = client.cache_folder() / ".locks" / client.repo_folder("someone/tiny").name
    locks.mkdir(parents=True)
    held = threading.Event()

    def hold() -> None:
        with FileLock(locks / "onnxzoo.lock"):
            held.set()
            time.sleep(0.5)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(10)
    find_artifact("someone/tiny")
    thread.join()
    assert [record.message for record in caplog.records] == ["another process downloads someone/tiny; waiting for it"]


def test_threads_load_at_once_and_one_downloads(loopback: LoopbackHub, tiny: Path) -> None:
    loopback.store.add_repo("someone/tiny", tiny)
    loopback.fail("GET /objects/", delay_s=0.2)
    with ThreadPoolExecutor(8) as threads:
        folders = set(threads.map(find_artifact, ["someone/tiny"] * 8))
    assert len(folders) == 1
    assert len(loopback.log.all("GET /objects/")) == 1


def test_offline_by_the_environment_makes_no_request_and_no_import_fails(loopback: LoopbackHub) -> None:
    loopback.store.add_repo(REPO, NANO)
    folder = find_artifact(REPO)
    loopback.log.clear()
    script = "import sys; from onnxzoo.source import resolve; print(resolve(sys.argv[1]).artifact.folder)"
    done = subprocess.run(
        [sys.executable, "-P", "-c", script, REPO],
        env=child_environment(loopback, HF_HUB_OFFLINE="1"),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert (done.stdout.strip(), done.stderr) == (str(folder), "")
    assert loopback.log.all() == []


@pytest.mark.slow
def test_the_command_line_says_one_line_and_shows_no_progress_off_a_terminal(loopback: LoopbackHub) -> None:
    loopback.store.add_repo(REPO, NANO)
    secret = "hf_secretsecretsecretsecretsecret"  # noqa: S105
    loopback.store.add_user(secret, "someone", "someone")

    def onnxzoo(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-P", "-m", "onnxzoo", *arguments],
            env=child_environment(loopback, HF_TOKEN=secret, HF_DEBUG=""),
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    loopback.fail("GET /objects/", cut_after=1_000_000)  # passes: the client tries again, and says nothing of it
    done = onnxzoo("download", REPO)
    assert (done.returncode, done.stderr) == (0, "")
    loopback.fail("HEAD", times=99, status=401, message="Invalid credentials in Authorization header")
    done = onnxzoo("predict", "someone/other", "x.png")
    assert done.returncode == 3
    assert done.stderr.startswith("onnxzoo: error: someone/other: the Hub answers 401 (Invalid credentials in")
    assert done.stderr.count("\n") == 1
    assert secret not in done.stderr + done.stdout
