"""Start with and without a compiled model in the cache: load and first prediction, each in its own process.

    python benchmarks/compiled_cache.py [--model NAME ...] [--artifact DIR ...] [--runs N] [--out FOLDER]

Without --artifact, models are exported with seeded weights first (needs the extra `export`). OpenVINO on the CPU.
Writes compiled_cache.md and compiled_cache.json to --out.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from cold_start import PHOTO, cpu_model, log, measure
from seeded_artifact import exported

from onnxzoo.cpu import engine_threads

MODELS = ("pvt_v2_b0", "swinv2_small_w16")
HERE = Path(__file__).resolve().parent
CHILD = """
import json, sys, time
started = time.perf_counter()
from onnxzoo.engines.openvino_module import import_openvino
import_openvino()
from onnxzoo import load
imported = time.perf_counter()
model = load(sys.argv[1], engine="openvino")
loaded = time.perf_counter()
best = model.predict(sys.argv[2])
done = time.perf_counter()
top = [float(one.score) for one in best.top]
times = {"import_s": imported - started, "load_s": loaded - imported, "first_s": done - loaded}
print(json.dumps({**times, "top": top}))
"""


def compare(artifact: Path, runs: int) -> dict[str, Any]:
    """Run both kinds in turn, after one uncounted run of each; their outputs must be the same."""
    with tempfile.TemporaryDirectory(prefix="onnxzoo-bench-") as scratch:
        empty, full = Path(scratch) / "empty", Path(scratch) / "full"
        warm = [sys.executable, "-P", "-m", "onnxzoo", "warmup", str(artifact), "--engine", "openvino"]
        os.environ["ONNXZOO_CACHE"] = str(full)
        built = json.loads(measure([*warm, "--batch-size", "1", "--json"]).output)["kept"][0]
        command = [sys.executable, "-P", "-c", CHILD, str(artifact), str(PHOTO)]
        samples: dict[str, list[dict[str, Any]]] = {"without": [], "with": []}
        for turn in range(runs + 1):
            for kind, cache in (("without", empty), ("with", full)):
                os.environ["ONNXZOO_CACHE"] = str(cache)
                sample = measure(command)
                if turn:
                    samples[kind].append(
                        {**json.loads(sample.output), "wall_s": sample.wall_s, "peak_mib": sample.peak_mib}
                    )
            log(f"  {artifact.name}: round {turn} of {runs}" + ("" if turn else " (not counted)"))
        answers = {tuple(sample["top"]) for kind in samples.values() for sample in kind}
        if len(answers) != 1:
            raise SystemExit(f"the answers with and without the cache differ: {answers}")
        if any(empty.rglob("*.blob")):
            raise SystemExit("the runs without the cache wrote to it")
    onnx = (artifact / "onnx" / "model.onnx").stat().st_size
    return {"onnx_bytes": onnx, "kept_bytes": built["bytes"], "build_s": built["seconds"], "samples": samples}


def table(results: dict[str, dict[str, Any]]) -> str:
    """Minima of all figures; the ratio is that of load and first prediction."""
    lines = [
        "| | cache | load, ms | first prediction, ms | sum | ratio | median ratio | whole process, s | peak, MiB |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, result in results.items():
        sums = {
            kind: [sample["load_s"] + sample["first_s"] for sample in samples]
            for kind, samples in result["samples"].items()
        }
        for kind, samples in result["samples"].items():
            low = {key: min(sample[key] for sample in samples) for key in samples[0] if key != "top"}
            ratio = min(sums[kind]) / min(sums["without"])
            median = statistics.median(sums[kind]) / statistics.median(sums["without"])
            lines.append(
                f"| `{name}` | {kind} | {1000 * low['load_s']:.0f} | {1000 * low['first_s']:.0f} "
                f"| {1000 * min(sums[kind]):.0f} | {ratio:.2f} | {median:.2f} | {low['wall_s']:.2f} "
                f"| {low['peak_mib']:.0f} |"
            )
    lines.append("")
    for name, result in results.items():
        mib = result["kept_bytes"] / 2**20, result["onnx_bytes"] / 2**20
        lines.append(f"- `{name}`: {mib[0]:.0f} MiB kept per batch size, for an ONNX file of {mib[1]:.0f} MiB.")
    return "\n".join(lines)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description="Start with and without a compiled model in the cache.")
    parser.add_argument("--model", action="append", metavar="NAME", help=f"default {', '.join(MODELS)}")
    parser.add_argument("--artifact", action="append", type=Path, metavar="DIR", help="measure these instead")
    parser.add_argument("--runs", type=int, default=9, help="counted processes of each kind (default 9)")
    parser.add_argument("--out", type=Path, default=HERE / "results", metavar="FOLDER")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="onnxzoo-bench-") as scratch:
        artifacts = options.artifact or [exported(name, Path(scratch)) for name in options.model or MODELS]
        results = {artifact.name: compare(artifact.resolve(), options.runs) for artifact in artifacts}
    machine = f"{cpu_model()}, {engine_threads()} cores"
    text = (
        f"# Start with and without a compiled model in the cache\n\nOpenVINO on the CPU, batch 1, {machine}; minima of "
        f"{options.runs} processes of each kind in turn (`benchmarks/compiled_cache.py`). 'Load' includes checking the "
        f"artifact's SHA-256 and that of what was kept.\n\n{table(results)}\n"
    )
    print(text)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "compiled_cache.md").write_text(text, encoding="utf-8")
    document = {"machine": machine, "models": results}
    (options.out / "compiled_cache.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
