"""The examples in examples/serving/, run as their readers would run them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples" / "serving"


def output(*command: str | Path) -> list[str]:
    """The lines that a command prints. It must succeed."""
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def expected(served, photos: list[Path]) -> list[str]:
    return [
        f"{photo}: {best.label} {best.score:.4f}"
        for photo, best in zip(photos, served.model.predict(photos), strict=True)
    ]


def test_the_http_client(served, photos):
    files = sorted(photos.iterdir())
    assert output(sys.executable, EXAMPLES / "http_client.py", served.http, "tiny", *files) == expected(served, files)


def test_the_grpc_client(served, served_folders, photos):
    files = sorted(photos.iterdir())
    command = [sys.executable, EXAMPLES / "grpc_client.py", served.grpc, served_folders[0], *files]
    assert output(*command) == expected(served, files)


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_curl(served, photos):
    ready, metadata, answer, *metrics = output("sh", EXAMPLES / "curl.sh", served.http, "tiny", photos / "red.png")
    assert json.loads(ready) == {"ready": True}
    assert json.loads(metadata)["parameters"]["labels"] == list(served.model.labels)
    outputs = {one["name"]: one["data"] for one in json.loads(answer)["outputs"]}
    best = served.model.predict(photos / "red.png", top_k=2)
    assert outputs["label"] == [one.label for one in best.top]
    assert outputs["score"] == [one.score for one in best.top]
    images = {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in metrics}
    assert images['onnxzoo_images_total{model="tiny"}'] >= 1
