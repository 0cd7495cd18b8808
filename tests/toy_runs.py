"""Trainings of toy models, in this process or in one of their own."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from onnxzoo.training.session import Request, run
from onnxzoo.training.trainer import Outcome
from PIL import Image
from toy_training import SIDE, Recorder, separable, toy_entry, toy_recipe

from onnxzoo.families import ModelSpec
from onnxzoo.results import Array

CHILD = Path(__file__).with_name("toy_training.py")
FAMILIES = ("pvt_v2", "swinv2")


def train(data: Path, out: Path, family: str = "pvt_v2", *, resume: bool = False, **changes: Any) -> Outcome:
    """Train in this process; `changes` are fields of the request or of the recipe."""
    fields = {field.name for field in dataclasses.fields(Request)}
    asked = {key: changes.pop(key) for key in list(changes) if key in fields}
    entry = asked.pop("entry", toy_entry(family))
    progress = changes.pop("progress", None) or Recorder()
    request = Request(entry=entry, data=data, out=out, recipe=toy_recipe(**changes), **asked)
    return run(request, progress, resume=resume)


def child(folder: Path, **asked: Any) -> subprocess.CompletedProcess[str]:
    """Train in a process of its own with one thread."""
    folder.mkdir(exist_ok=True)
    request = folder / "request.json"
    request.write_text(json.dumps(asked), encoding="utf-8")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(CHILD), str(request)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def assert_same(a: Mapping[str, Array], b: Mapping[str, Array]) -> None:
    """Bit for bit."""
    assert a.keys() == b.keys()
    for name in a:
        assert a[name].tobytes() == b[name].tobytes(), name


def spec(family: str, classes: int = 2) -> ModelSpec:
    return ModelSpec(toy_entry(family).architecture, SIDE, classes)


def folder_of_images(root: Path, *, damaged: int) -> Path:
    for split, count in (("train", 24), ("val", 8)):
        images, labels = separable(count, 2, 3)
        for number, (pixels, label) in enumerate(zip(images, labels, strict=True)):
            folder = root / split / ("dark", "bright")[label]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(folder / f"{number}.png")
    for file in sorted((root / "train").rglob("*.png"))[:damaged]:
        file.write_bytes(file.read_bytes()[:60])
    return root
