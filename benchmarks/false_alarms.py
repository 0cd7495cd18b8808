"""Counts validations that fail a correct model: whole validations with fresh seeds, on the shipped models.

    python benchmarks/false_alarms.py [--runs 200] [--out DIR]

Each run is a Validation as in `onnxzoo validate NAME --weights FILE --seed SEED`: both engines, batch 1, 2 and 3,
shuffled batches, recorded outputs and the live Paddle model on fresh noise. Seeds come from the operating system and
are recorded, so that an alarm can be reproduced. Writes DIR/false_alarms.json and .md (default benchmarks/results).
Needs the extras cpu and export; exit code 1 if there was an alarm.
"""

from __future__ import annotations

import argparse
import json
import secrets
import sys
import time
from pathlib import Path
from typing import Any

from cold_start import log, machine
from onnxzoo.validators.validate import Validation

from onnxzoo.artifact.folder import read_artifact
from onnxzoo.hub import shipped_models

HERE = Path(__file__).resolve().parent
CHECKPOINTS = HERE.parent / "training" / "checkpoints"
NOISE_IMAGES = 5


def one_run(folder: Path, seed: int) -> dict[str, Any]:
    """The figures of one validation: its worst ratio of error to tolerance, by engine, and its failures."""
    artifact = read_artifact(folder)
    validation = Validation(
        artifact, weights=CHECKPOINTS / f"{artifact.name}.pdparams", seed=seed, samples=NOISE_IMAGES
    )
    worst: dict[str, float] = {}
    problems: list[str] = []
    for check in validation.run():
        problems += [f"{check.engine.name}, {check.reference}, {p}" for p in check.comparison.problems]
        if check.comparison.outputs:
            name = check.engine.name
            worst[name] = max(worst.get(name, 0.0), check.comparison.worst_ratio)
    return {"seed": seed, "checks": len(validation.checks), "worst_ratio": worst, "problems": problems}


def page(document: dict[str, Any]) -> str:
    """The markdown file."""
    described = ", ".join(f"{key} {value}" for key, value in document["machine"].items())
    lines = [
        "| model | runs | checks | false alarms | worst error, share of the tolerance 1e-4 |",
        "|---|---|---|---|---|",
    ]
    for name, runs in document["models"].items():
        engines = sorted({engine for run in runs for engine in run["worst_ratio"]})
        shares = ", ".join(f"{e} {max(run['worst_ratio'].get(e, 0.0) for run in runs):.1%}" for e in engines)
        alarms = sum(bool(run["problems"]) for run in runs)
        lines.append(f"| {name} | {len(runs)} | {sum(run['checks'] for run in runs)} | {alarms} | {shares} |")
    table = "\n".join(lines)
    return f"# False alarms\n\n`python benchmarks/false_alarms.py`; {described}\n\n{table}\n"


def main() -> int:
    """Parse, run, write."""
    parser = argparse.ArgumentParser(description="Validate good models with fresh seeds and count the alarms.")
    parser.add_argument("--runs", type=int, default=200, help="for each model (default 200)")
    parser.add_argument("--out", type=Path, default=HERE / "results", metavar="DIR")
    options = parser.parse_args()
    document: dict[str, Any] = {"machine": machine(None), "models": {}}
    alarms = 0
    for folder in shipped_models():
        start, runs = time.perf_counter(), []
        for number in range(options.runs):
            runs.append(one_run(folder, secrets.randbits(32)))
            for problem in runs[-1]["problems"]:
                log(f"{folder.name}, run {number}, seed {runs[-1]['seed']}: {problem}")
        document["models"][folder.name] = runs
        found = sum(bool(run["problems"]) for run in runs)
        alarms += found
        log(f"{folder.name}: {found} alarms in {len(runs)} runs, {time.perf_counter() - start:.0f} s")
    options.out.mkdir(parents=True, exist_ok=True)
    for name, text in (("json", json.dumps(document, indent=1) + "\n"), ("md", page(document))):
        (options.out / f"false_alarms.{name}").write_text(text, encoding="utf-8")
    print(page(document))
    return 1 if alarms else 0


if __name__ == "__main__":
    sys.exit(main())
