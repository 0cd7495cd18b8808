"""Downloads that are killed at random moments, each followed by a load: the test and the script behind its figures.

    python tests/hub_kills.py --kills 200

A helper process that has onnxzoo imported forks one process a download, so that a kill hits the download and not the
start of Python. It is started anew for this: the Hub's threads must not be forked.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from hub_server import LoopbackHub

REPO = "someone/nano"
MODEL = "onnx/model.onnx"
SLOWNESS = {"delay_s": 0.004, "chunk": 100_000}
LONGEST_S = 0.25
"""Kills come up to so late; an undisturbed download takes about 0.15 s."""

WORKER = """
import json, os, signal, sys
from onnxzoo.hub import client
from onnxzoo.source import resolve
from onnxzoo.files import sha256_of
import huggingface_hub.file_download, huggingface_hub.hf_api

for line in sys.stdin:
    sender = os.fork()
    if not sender:
        try:
            file = resolve(line.strip()).open().path
            answer = {"sha256": sha256_of(file), "bytes": file.stat().st_size}
        except BaseException as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        os.write(1, (json.dumps(answer) + "\\n").encode())
        os._exit(0)
    os.write(1, (json.dumps({"pid": sender}) + "\\n").encode())
    sys.stdin.readline()  # until then its id is nobody else's
    os.waitpid(sender, 0)
    os.write(1, b'{"ended": true}\\n')
"""


class Worker:
    """A process that downloads in a fork of its own, once at a time."""

    def __init__(self, environment: dict[str, str], program: str = WORKER) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-c", program],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def start(self, name: str) -> int:
        """Begin; the id of the process that downloads."""
        self.answer: dict[str, Any] = {}
        self._write(name)
        while "pid" not in self.answer:
            self._read()
        return int(self.answer["pid"])

    def end(self) -> dict[str, Any]:
        """Wait for it; what it found: sha256 and bytes, or error; neither when it was killed first."""
        self._write("end")
        while "ended" not in self.answer:
            self._read()
        return self.answer

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()

    def _write(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def _read(self) -> None:
        assert self.process.stdout is not None
        self.answer |= json.loads(self.process.stdout.readline())


@dataclass
class Figures:
    """Of all rounds: how many kills came before the end, what the loads after them found, what was left behind."""

    kills: int = 0
    hit: int = 0
    right: int = 0
    wrong: list[str] = field(default_factory=list)
    half_files_after_kills: int = 0
    half_files_after_loads: int = 0
    seconds: float = 0.0


def kill_downloads(
    hub: LoopbackHub, nano: Path, home: Path, kills: int, *, seed: int = 0, links: bool = True
) -> Figures:
    """Kill `kills` downloads of an artifact like the one in `nano`, whose ONNX file is another one each time.

    In turn the cache is empty; it holds the model of the round before; and another process that is not killed
    downloads at the same time.
    """
    environment = {**os.environ, **hub.environment, "HF_HOME": str(home), "HF_HUB_VERBOSITY": "critical"}
    environment.pop("HF_HUB_OFFLINE", None)
    environment |= {} if links else {"HF_HUB_DISABLE_SYMLINKS": "1"}
    hub.store.add_repo(REPO, nano)
    hub.fail("GET /objects/", times=10**9, **SLOWNESS)
    chance, figures = random.Random(seed), Figures()  # noqa: S311
    victim, other = Worker(environment), Worker(environment)
    began = time.perf_counter()
    for number in range(kills):
        content = publish_another(hub, nano, number)
        expected = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
        if number % 3 == 0:
            shutil.rmtree(home, ignore_errors=True)
        pid = victim.start(REPO)
        if number % 3 == 2:
            other.start(REPO)
        time.sleep(chance.uniform(0, LONGEST_S))
        os.kill(pid, signal.SIGKILL)
        figures.kills += 1
        figures.hit += "sha256" not in victim.end()
        figures.half_files_after_kills += len(half_files(home))
        if number % 3 != 2:
            other.start(REPO)
        found = other.end()
        if {key: found.get(key) for key in expected} == expected:
            figures.right += 1
        else:
            figures.wrong.append(f"round {number}: {found}")
        figures.half_files_after_loads += len(half_files(home))
    figures.seconds = round(time.perf_counter() - began, 1)
    victim.close()
    other.close()
    return figures


def publish_another(hub: LoopbackHub, nano: Path, number: int) -> bytes:
    """Commit the artifact with another ONNX file, which says the same; its bytes."""
    note = f"round {number}".encode()
    # One more doc_string (field 6): of a field that comes twice the last one counts.
    content = (nano / MODEL).read_bytes() + b"\x32" + bytes([len(note)]) + note
    config = json.loads((nano / "config.json").read_text())
    config["files"][MODEL] |= {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    hub.store.change(REPO, {"config.json": json.dumps(config).encode(), MODEL: content})
    return content


def half_files(home: Path) -> list[Path]:
    # Not rglob: folders come and go meanwhile.
    return [Path(folder, file) for folder, _, names in os.walk(home) for file in names if file.endswith(".incomplete")]


def main() -> None:
    from onnxzoo.hub.lookup import SHIPPED_DIR

    parser = argparse.ArgumentParser(description="Kill downloads at random moments; print the figures as JSON.")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-links", action="store_true", help="a cache without symbolic links")
    options = parser.parse_args()
    hub = LoopbackHub()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        figures = kill_downloads(
            hub,
            SHIPPED_DIR / "pvt_v2_nano_fashion",
            Path(home) / "hf",
            options.kills,
            seed=options.seed,
            links=not options.no_links,
        )
    print(json.dumps(asdict(figures), indent=1))  # noqa: T201
    sys.exit(0 if figures.right == figures.kills else 1)


if __name__ == "__main__":
    main()
