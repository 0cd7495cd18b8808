"""First loads by name that are killed at random moments, each followed by a load: the script behind its figures.

    python tests/official_kills.py --kills 100

The official weights of pvt_v2_b0, seeded, are on a Hub on loopback. In turn nothing is on the machine, or the weights
are in the Hub's cache; every third time another process makes the same model and is not killed.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from hub_kills import Worker
from hub_server import LoopbackHub
from official_weights import official_file

from onnxzoo.registry import find

NAME, REPO = "pvt_v2_b0", "timm/pvt_v2_b0.in1k"

WORKER = """
import json, os, sys
from onnxzoo.artifact.folder import read_artifact
from onnxzoo.files import sha256_of
from onnxzoo.official import official_artifact
from onnxzoo.registry import find
import huggingface_hub.file_download, huggingface_hub.hf_api

for line in sys.stdin:
    sender = os.fork()
    if not sender:
        try:
            artifact = read_artifact(official_artifact(find(line.strip())))
            artifact.verify()
            answer = {"sha256": sha256_of(artifact.model_file())}
        except BaseException as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        os.write(1, (json.dumps(answer) + "\\n").encode())
        os._exit(0)
    os.write(1, (json.dumps({"pid": sender}) + "\\n").encode())
    sys.stdin.readline()  # until then its id is nobody else's
    os.waitpid(sender, 0)
    os.write(1, b'{"ended": true}\\n')
"""


@dataclass
class Figures:
    """Of all rounds. `hit`: kills that came before the end. `left`: what the loads after them left in the cache beside
    the artifact and its lock."""

    kills: int = 0
    hit: int = 0
    right: int = 0
    wrong: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    longest_s: float = 0.0
    seconds: float = 0.0


def load(worker: Worker) -> dict[str, Any]:
    """One load that is not disturbed."""
    worker.start(NAME)
    return worker.end()


def kill_loads(hub: LoopbackHub, home: Path, kills: int, *, seed: int = 0) -> Figures:
    """Kill `kills` first loads at moments spread over as long as one takes, and load after each."""
    environment = {**os.environ, **hub.environment, "HF_HOME": str(home / "hf"), "ONNXZOO_CACHE": str(home / "zoo")}
    # One thread each: on a busy machine, threads of a matrix product that wait for each other cost most of the time.
    environment |= {"HF_HUB_VERBOSITY": "critical", "TMPDIR": str(home), "OPENBLAS_NUM_THREADS": "1"}
    environment.pop("HF_HUB_OFFLINE", None)
    victim, other = (Worker(environment, WORKER) for _ in range(2))
    chance, figures = random.Random(seed), Figures()  # noqa: S311
    began = time.perf_counter()
    expected = load(victim)
    figures.longest_s = round(time.perf_counter() - began, 2)
    for number in range(kills):
        shutil.rmtree(home / "zoo", ignore_errors=True)
        if number % 2:
            shutil.rmtree(home / "hf", ignore_errors=True)
        pid = victim.start(NAME)
        if number % 3 == 2:
            other.start(NAME)
        time.sleep(chance.uniform(0, figures.longest_s))
        os.kill(pid, signal.SIGKILL)
        figures.kills += 1
        figures.hit += "sha256" not in victim.end()
        found = other.end() if number % 3 == 2 else load(other)
        if found.get("sha256") == expected["sha256"]:
            figures.right += 1
        else:
            figures.wrong.append(f"round {number}: {found}")
        figures.left += leftovers(home)
    figures.seconds = round(time.perf_counter() - began, 1)
    victim.close()
    other.close()
    return figures


def leftovers(home: Path) -> list[str]:
    """What is in the cache folders but should not be."""
    models = [path.name for path in (home / "zoo" / "models").iterdir()]
    half = [str(path) for path in (home / "hf").rglob("*.incomplete")]
    return [name for name in models if name not in (NAME, f".{NAME}.lock")] + half


def main() -> None:
    parser = argparse.ArgumentParser(description="Kill first loads at random moments; print the figures as JSON.")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    hub = LoopbackHub()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        published = Path(home) / "published"
        published.mkdir()
        official_file(find(NAME), published / "model.safetensors")
        hub.store.add_repo(REPO, published)
        figures = kill_loads(hub, Path(home), options.kills, seed=options.seed)
    print(json.dumps(asdict(figures), indent=1))  # noqa: T201
    sys.exit(0 if figures.right == figures.kills and not figures.left else 1)


if __name__ == "__main__":
    main()
