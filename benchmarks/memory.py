"""Resident memory over many predictions, with one process per engine.

    python benchmarks/memory.py [--model NAME|DIR] [--predictions N] [--out FOLDER]

Every twentieth prediction is a list of eleven images, which is split into batches. Writes memory.md and
memory.json. Linux.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from cold_start import cpu_model, log, measure

HERE = Path(__file__).resolve().parent
ENGINES = ("openvino", "onnxruntime")
STEPS = 10
CHILD = """
import json, sys
from pathlib import Path
import numpy as np
from onnxzoo import load
name, engine, count, steps = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])

def rss():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20

with load(name, engine=engine) as model:
    side = model.image_size
    pictures = list(np.random.default_rng(0).integers(0, 256, (11, side, side, 3), dtype=np.uint8))
    figures = [rss()]
    done = 0
    for step in range(steps):
        while done < count * (step + 1) // steps:
            if done % 20 == 19:
                done += len(model.predict(pictures))
            else:
                model.predict(pictures[done % 11])
                done += 1
        figures.append(rss())
closed = rss()
print(json.dumps({"loaded_and_after_mib": figures, "closed_mib": closed}))
"""


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description="Resident memory over many predictions.")
    parser.add_argument("--model", default="pvt_v2_nano_fashion", metavar="NAME|DIR")
    parser.add_argument("--predictions", type=int, default=10_000, metavar="N")
    parser.add_argument("--out", type=Path, default=HERE / "results", metavar="FOLDER")
    options = parser.parse_args()
    results = {}
    for engine in ENGINES:
        log(f"{options.model} on {engine}: {options.predictions} predictions")
        command = [sys.executable, "-P", "-c", CHILD, options.model, engine, str(options.predictions), str(STEPS)]
        results[engine] = json.loads(measure(command).output)
    step = options.predictions // STEPS
    name = Path(options.model).name
    lines = [
        f"# Resident memory over {options.predictions:,} predictions",
        "",
        f"`{name}`, MiB, {cpu_model()} (`benchmarks/memory.py`).",
        "",
        "| | loaded | " + " | ".join(f"{step * i:,}" for i in range(1, STEPS + 1)) + " | growth after the first step |",
        "|---" * (STEPS + 3) + "|",
    ]
    for engine, result in results.items():
        figures = result["loaded_and_after_mib"]
        cells = " | ".join(f"{figure:.1f}" for figure in figures)
        lines.append(f"| {engine} | {cells} | {figures[-1] - figures[1]:+.1f} |")
    text = "\n".join(lines) + "\n"
    print(text)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "memory.md").write_text(text, encoding="utf-8")
    (options.out / "memory.json").write_text(json.dumps({"model": name, **results}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
