"""The whole way, offline: trained checkpoint -> ONNX -> validated -> accuracy on real images -> a page of predictions.

Run it with `make demo`. The checkpoints were trained by `onnxzoo train` on Fashion-MNIST and are part of the project,
as are the 500 test images. Every step is the command that it shows.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

MODELS = ("swinv2_nano_fashion", "pvt_v2_nano_fashion")
ENGINES = ("openvino", "onnxruntime", "paddle")
ROOT = Path(__file__).resolve().parent.parent
CHECKPOINTS = ROOT / "training" / "checkpoints"
DATA = ROOT / "tests" / "data" / "fashion_mnist_sample"
PREDICTED = ("Ankle_boot/0000.png", "Pullover/0001.png", "Shirt/0004.png")
OUT = ROOT / "out" / "demo"
SHEET = OUT / "contact_sheet.png"
BATCH_SIZE = 50  # small images: larger batches than the default, which is meant for 224 pixels and more


def shown(argument: str | Path) -> str:
    """A path as it is from the repository, where the commands run."""
    inside = isinstance(argument, Path) and argument.is_relative_to(ROOT)
    return str(argument.relative_to(ROOT) if inside else argument)


def onnxzoo(*arguments: str | Path, to: Path | None = None) -> None:
    """Run the command line as a user would, and show it; with `to`, its output goes to that file."""
    words = [shown(argument) for argument in arguments]
    print(f"\n$ onnxzoo {' '.join(words)}{f' > {shown(to)}' if to else ''}", flush=True)
    # By the interpreter that runs this, activated or not; -P: the installed package, not the folder of that name here.
    command = [sys.executable, "-P", "-m", "onnxzoo", *words]
    if to is None:
        subprocess.run(command, cwd=ROOT, check=True)
        return
    with to.open("wb") as file:
        subprocess.run(command, cwd=ROOT, check=True, stdout=file)


def measure(folder: Path, weights: Path) -> dict[str, dict[str, Any]]:
    """Accuracy on the sample by every engine, and a line for each."""
    results = {}
    for engine in ENGINES:
        report = OUT / f"{folder.name}_{engine}.json"
        options = ["--batch-size", str(BATCH_SIZE), "--json"]
        reference = ["--weights", weights] if engine == "paddle" else []
        onnxzoo("eval", folder, "--data", DATA, "--engine", engine, *reference, *options, to=report)
        result = results[engine] = json.loads(report.read_text(encoding="utf-8"))
        low, high = result["top1_interval_95"]
        print(
            f"top-1 {result['top1']:.1%} ({result['correct']} of {result['images']}, 95 % interval {low:.1%} to "
            f"{high:.1%}), top-5 {result['top5']:.1%}, {result['images_per_second']:.0f} images/s from file to answer"
        )
    return results


def summary(results: dict[str, dict[str, dict[str, Any]]]) -> list[str]:
    """A table row per model: right answers and speed by engine."""
    lines = [f"{'':<22}" + "".join(f"{engine:>26}" for engine in ENGINES)]
    for name, by_engine in results.items():
        cells = (
            f"{result['top1']:.1%} right, {result['images_per_second']:>4.0f}/s"
            for result in (by_engine[engine] for engine in ENGINES)
        )
        lines.append(f"{name:<22}" + "".join(f"{cell:>26}" for cell in cells))
    return lines


def main() -> None:
    """Export, validate, evaluate and run each model, then draw the page."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--checkpoints", type=Path, default=CHECKPOINTS, help="folder with NAME.pdparams files")
    checkpoints = parser.parse_args().checkpoints.resolve()
    missing = [name for name in MODELS if not (checkpoints / f"{name}.pdparams").is_file()]
    if missing:
        sys.exit(f"{checkpoints} has no checkpoint of {' and '.join(missing)}; name another folder with --checkpoints")
    started = time.perf_counter()
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    results = {}
    for name in MODELS:
        weights, folder = checkpoints / f"{name}.pdparams", OUT / name
        print(f"\n# {name}, from {shown(weights)} ({weights.stat().st_size / 1e6:.1f} MB)", flush=True)
        onnxzoo("export", name, "--weights", weights, "--out", folder)
        onnxzoo("validate", folder, "--weights", weights, "--tol", "1e-4")
        results[name] = measure(folder, weights)
        onnxzoo("predict", folder, *(DATA / image for image in PREDICTED), "--top-k", "3")
    script = ROOT / "examples" / "contact_sheet.py"
    words = [shown(word) for word in (script, *(OUT / name for name in MODELS), "--data", DATA, "--out", SHEET)]
    print(f"\n$ python {' '.join(words)}", flush=True)
    subprocess.run([sys.executable, *words], cwd=ROOT, check=True)
    images = next(iter(results.values()))["openvino"]["images"]
    print(
        f"\nDone in {time.perf_counter() - started:.0f} s: {' and '.join(MODELS)}"
        "\nexported from their trained checkpoints, simplified, and validated against PaddlePaddle to 1e-4 on OpenVINO"
        f"\nand ONNX Runtime. Right answers on {images} test images of Fashion-MNIST, none of them seen in training,"
        "\nand images per second from file to answer:\n"
    )
    print("\n".join(summary(results)))
    print(f"\nThe page of predictions is {shown(SHEET)}, the artifacts are beside it.")


if __name__ == "__main__":
    main()
