"""The web client (clients/web), compiled for Node, and what it makes of images."""

from __future__ import annotations

import io
import os
import re
import shutil
import struct
import subprocess
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from onnxzoo.results import Array

SOURCE = Path(__file__).parents[1] / "clients" / "web"
NODE_VERSION = (20, 19)


@dataclass(frozen=True)
class WebClient:
    """The library's module in `folder`, run by `node`."""

    node: str
    folder: Path

    def run(self, script: str, *arguments: str | Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run a script of clients/web/tests with the path of the module and these arguments."""
        command = [self.node, SOURCE / "tests" / script, self.folder / "index.js", *map(os.fspath, arguments)]
        done = subprocess.run(
            command, input=stdin, capture_output=True, encoding="utf-8", errors="replace", timeout=300, check=False
        )
        assert "    at " not in done.stderr, done.stderr  # a stack trace
        return done

    def tensors(self, artifact: Path, images: Sequence[Path]) -> list[Array | str]:
        """What the library makes of images, flat float32; for an image that is refused, the message."""
        done = self.run("pixels.mjs", artifact, *images)
        lines = done.stdout.splitlines()
        assert len(lines) == len(images), done.stderr
        return [
            line.removeprefix("error: ")
            if line.startswith("error: ")
            else np.frombuffer(bytes.fromhex(line), np.dtype("<f4")).astype(np.float32)
            for line in lines
        ]


def required_node() -> str:
    """The path of Node; skips the test, saying why, if it or the packages of the client are missing."""
    node = shutil.which("node")
    if node is None:
        pytest.skip(f"no node {'.'.join(map(str, NODE_VERSION))} or newer: https://nodejs.org")
    found = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    version = tuple(map(int, re.findall(r"\d+", found)[:2]))
    if version < NODE_VERSION:
        pytest.skip(f"node {found} is too old, expected {'.'.join(map(str, NODE_VERSION))} or newer")
    if not (SOURCE / "node_modules" / ".installed").is_file():
        pytest.skip("the packages of the web client are not installed: make web")
    return node


def compiled_client(folder: Path) -> WebClient:
    """Compile the library into an empty folder, with all checks of types; skips as `required_node` does."""
    node = required_node()
    compiler = SOURCE / "node_modules" / ".bin" / "tsc"
    done = subprocess.run(
        [compiler, "-p", SOURCE / "tsconfig.module.json", "--outDir", folder],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (folder / "package.json").write_text('{"type": "module"}', encoding="utf-8")
    return WebClient(node, folder)


def record_pixels(images: Mapping[str, bytes], paths: Sequence[Path]) -> None:
    """Write Pillow's pixels of images, not turned, to where the script for Node looks for them."""
    for data, path in zip(images.values(), paths, strict=True):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                with Image.open(io.BytesIO(data), formats=["JPEG", "WEBP"]) as image:
                    rgb = image.convert("RGB")
            except OSError:
                continue
        path.with_name(f"{path.name}.pixels").write_bytes(struct.pack("<II", *rgb.size) + rgb.tobytes())
