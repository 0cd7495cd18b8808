"""A training small enough for tests: two or three classes of tiny images, and models of two stages.

As a program, `python toy_training.py REQUEST.json`, it trains in a process of its own, which can be killed.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from onnxzoo.training.recipe import Recipe

from onnxzoo.families.pvt_v2.architecture import PvtV2Architecture
from onnxzoo.families.swinv2.architecture import SwinV2Architecture
from onnxzoo.registry import ModelEntry, Preprocess, find

SIDE = 16
MEAN = STD = (0.5, 0.5, 0.5)
STEMS = {"train": "train", "val": "t10k"}


def idx_bytes(array: npt.NDArray[np.uint8]) -> bytes:
    """An array of bytes as an IDX file."""
    return bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.tobytes()


def write_idx(folder: Path, split: str, images: npt.NDArray[np.uint8], labels: npt.NDArray[np.uint8]) -> None:
    """Write images [N, H, W] and labels [N] in the layout of MNIST."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{STEMS[split]}-images-idx3-ubyte").write_bytes(idx_bytes(images))
    (folder / f"{STEMS[split]}-labels-idx1-ubyte").write_bytes(idx_bytes(labels))


def separable(count: int, classes: int, seed: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Noise whose mean brightness tells the class: uint8 [count, 16, 16] and labels [count]."""
    random = np.random.default_rng(seed)
    labels = random.integers(classes, size=count).astype(np.uint8)
    base = 40 + labels.astype(np.float64) * 170 / (classes - 1)
    images = base[:, None, None] + random.normal(0, 20, (count, SIDE, SIDE))
    return images.clip(0, 255).astype(np.uint8), labels


def write_separable(folder: Path, *, train: int = 96, val: int = 60, classes: int = 2) -> Path:
    """IDX files of both splits."""
    write_idx(folder, "train", *separable(train, classes, 1))
    write_idx(folder, "val", *separable(val, classes, 2))
    return folder


def toy_entry(family: str, drop_path: float = 0.1) -> ModelEntry:
    """A registry entry for images of 16 x 16: a PVTv2 with spatial reduction, or a SwinV2 with shifted windows."""
    size: dict[str, Any] = {"depths": (1, 2), "num_heads": (1, 2), "drop_path_rate": drop_path}
    architecture = (
        PvtV2Architecture(embed_dims=(8, 16), sr_ratios=(2, 1), mlp_ratios=(2, 2), linear=False, **size)
        if family == "pvt_v2"
        else SwinV2Architecture(
            patch_size=2, embed_dim=8, window_size=2, pretrained_window_sizes=(0, 0), mlp_ratio=2.0, **size
        )
    )
    crop = Preprocess(SIDE, SIDE, "bicubic", MEAN, STD)
    entry = find(f"{family}_nano_fashion")
    return dataclasses.replace(entry, architecture=architecture, image_size=SIDE, preprocess=crop)


def toy_recipe(**changes: Any) -> Recipe:
    """Three epochs with every part of a recipe switched on that works on small images."""
    values: dict[str, Any] = {
        "epochs": 3,
        "batch_size": 16,
        "lr": 3e-3,
        "lr_batch_size": 0,
        "warmup_epochs": 1.0,
        "crop": "shift",
        "shift": 1,
        "rand_layers": 0,
        "erase": 0.2,
        "ema": 0.9,
        "clip_norm": 5.0,
    }
    return Recipe(**{**values, **changes})


class Recorder:
    """Keeps what a training tells; kills this process with SIGKILL after step `kill_at`, if given."""

    def __init__(self, kill_at: int | None = None) -> None:
        self.messages: list[str] = []
        self.records: list[Mapping[str, Any]] = []
        self.steps = 0
        self._kill_at = kill_at

    def say(self, message: str) -> None:
        self.messages.append(message)

    def begin_epoch(self, epoch: int, epochs: int, step: int, steps: int) -> None:
        pass

    def step(self, _loss: float, _top1: float, _images: int) -> None:
        self.steps += 1
        if self.steps == self._kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def end_epoch(self, record: Mapping[str, Any]) -> None:
        self.records.append(record)


def main() -> None:
    from onnxzoo.training.session import Request, run

    asked = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    request = Request(
        entry=toy_entry(asked["family"], asked.get("drop_path", 0.1)),
        data=Path(asked["data"]),
        out=Path(asked["out"]),
        recipe=toy_recipe(drop_path=asked.get("drop_path", 0.1), **asked.get("recipe", {})),
        save_steps=asked.get("save_steps", 0),
        on_error=asked.get("on_error", "stop"),
        log_steps=1,
    )
    run(request, Recorder(asked.get("kill_at")), resume=asked.get("resume", False))


if __name__ == "__main__":
    main()
