"""Makes the files that a benchmark needs of one model, with seeded weights, so that nothing is downloaded.

    python prepare_model.py NAME FOLDER

writes `spec.json` (architecture, preprocessing, number of threads), `weights.pdparams`, and `paddle/inference.json`
with `paddle/inference.pdiparams`, the static program that PaddleClas's export would give (logits only).
It runs in its own process, as a process with Paddle loaded is too large to measure others from.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import paddle

from onnxzoo.cpu import engine_threads
from onnxzoo.families import ModelSpec
from onnxzoo.reference.paddle.build import build_model, load_state, parameter_shapes
from onnxzoo.reference.paddle.saving import save_program
from onnxzoo.registry import find, labels
from onnxzoo.weights.seeded import seeded_state

SEED = 1


def main(name: str, out: str) -> None:
    """Write the files of the model `name` to the folder `out`."""
    entry, folder = find(name), Path(out)
    spec = ModelSpec(entry.architecture, entry.image_size, len(labels(entry.labels)))
    document = {
        "family": entry.family,
        "architecture": dataclasses.asdict(entry.architecture),
        "image_size": spec.image_size,
        "num_classes": spec.num_classes,
        "preprocess": dataclasses.asdict(entry.preprocess),
        "threads": engine_threads(),
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "spec.json").write_text(json.dumps(document, indent=2), encoding="utf-8")
    model = build_model(spec)
    state = seeded_state(parameter_shapes(model), SEED)
    load_state(model, state)
    paddle.save(model.state_dict(), str(folder / "weights.pdparams"))
    save_program(spec, state, folder / "paddle" / "inference")


if __name__ == "__main__":
    main(*sys.argv[1:])
