"""The whole way once, offline: checkpoint -> ONNX -> validated on two engines -> a prediction for a photo.

Run it with `make demo`. No trained weights ship with onnxzoo yet, so the checkpoint is filled with seeded
random weights: the numbers are real and compared with Paddle's, the predicted labels mean nothing.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path

from onnxzoo.reference.seeded import save_seeded_checkpoint
from onnxzoo.registry import find

MODELS = ("pvt_v2_b0", "swinv2_tiny_w8")
ROOT = Path(__file__).resolve().parent.parent
PHOTO = ROOT / "exports" / "photos" / "chelsea.jpg"
OUT = ROOT / "out" / "demo"


def onnxzoo(*arguments: str | Path) -> None:
    """Run the command line as a user would, and show it."""
    words = ["onnxzoo", *(str(Path(a).relative_to(ROOT)) if isinstance(a, Path) else a for a in arguments)]
    print(f"\n$ {' '.join(words)}", flush=True)
    subprocess.run([Path(sys.executable).parent / words[0], *words[1:]], cwd=ROOT, check=True)


def main() -> None:
    """Export, validate and run each model."""
    started = time.perf_counter()
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    for name in MODELS:
        checkpoint = OUT / f"{name}_seeded.pdparams"
        print(f"\n# {name}: a checkpoint with seeded random weights, {checkpoint.relative_to(ROOT)}", flush=True)
        save_seeded_checkpoint(find(name), checkpoint, seed=0)
        folder = OUT / name
        onnxzoo("export", name, "--weights", checkpoint, "--out", folder)
        onnxzoo("validate", folder, "--weights", checkpoint, "--tol", "1e-4")
        for engine in ("openvino", "onnxruntime"):
            onnxzoo("predict", folder, PHOTO, "--engine", engine, "--top-k", "3")
    print(
        f"\nDone in {time.perf_counter() - started:.0f} s: {' and '.join(MODELS)} exported from .pdparams checkpoints,"
        "\nvalidated against PaddlePaddle on OpenVINO and ONNX Runtime to 1e-4, and run on a photo of a cat."
        "\nThe weights are random, so the labels above mean nothing yet; the numbers are Paddle's all the same."
        f"\nThe artifacts are in {OUT.relative_to(ROOT)}/."
    )


if __name__ == "__main__":
    main()
