"""Compares our graphs with the peers': nodes, operators, bytes, and time at batch 1 (see benchmarks/README.md).

    python benchmarks/graphs.py [NAME ...] [--torch-python PATH] [--rounds N] [--no-timing] [--json OUT]

Prints markdown on stdout, progress on stderr. Exit code 1 if a contender's outputs differ from the reference's.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from cold_start import log, machine
from graph_peers import BASELINE, ENGINES, HERE, OURS, PADDLE, TORCH, Built, build, contenders
from onnxzoo.exports.graph_facts import foreign_operators, integer_arithmetic, operator_counts, unwanted_operators

from onnxzoo.bench.timing import GATE_SIDE, Contender, Gate, Worker, interleave, summary
from onnxzoo.errors import OnnxzooError
from onnxzoo.registry import find

MODELS = ("swinv2_tiny_w8", "swinv2_small_w16", "pvt_v2_b0", "pvt_v2_b2_linear")
TOLERANCE = 1e-3
# A file may have up to the parameters' bytes, 3 % more, and another 6 MB.
SIZE_FACTOR, SIZE_EXTRA_BYTES = 1.03, 6e6


def graph_row(graph: str, file: Path, params_m: float) -> dict[str, Any]:
    """Facts about one ONNX file."""
    model = onnx.load(file)
    counts = operator_counts(model)
    return {
        "graph": graph,
        "nodes": sum(counts.values()),
        "operators": dict(counts),
        "unwanted": unwanted_operators(model),
        "foreign": foreign_operators(model),
        "integer_arithmetic": integer_arithmetic(model),
        "bytes": file.stat().st_size,
        "bytes_limit": round(SIZE_FACTOR * params_m * 1e6 * 4 + SIZE_EXTRA_BYTES),
    }


def graph_table(rows: Sequence[dict[str, Any]]) -> str:
    """The facts as markdown, followed by the operators of each graph."""
    lines = ["| graph | nodes | besides Constant | unwanted operators | integer arithmetic | MB | limit, MB |"]
    lines.append("|---|---|---|---|---|---|---|")
    for row in rows:
        unwanted = ", ".join(f"{name} {count}" for name, count in row["unwanted"].items()) or "none"
        rest = row["nodes"] - row["operators"].get("Constant", 0)
        lines.append(
            f"| {row['graph']} | {row['nodes']} | {rest} | {unwanted} | {len(row['integer_arithmetic']) or 'none'} "
            f"| {row['bytes'] / 1e6:.1f} | {row['bytes_limit'] / 1e6:.1f} |"
        )
    operators = [
        f"- {row['graph']}: " + ", ".join(f"{name} {count}" for name, count in row["operators"].items()) for row in rows
    ]
    return "\n".join([*lines, "", *operators])


def time_model(found: list[Contender], built: Built, options: argparse.Namespace) -> tuple[list[dict[str, Any]], Gate]:
    """Load every contender, compare its outputs with the reference, then time all of them in turn."""
    reference = np.load(built.logits)
    workers: list[Worker] = []
    try:
        for number, contender in enumerate(found):
            log(f"  loading {contender.name}")
            out = built.folder / f"out{number}.npy"
            workers.append(Worker(contender, out, options.threads))
            difference = float(np.abs(np.load(out) - reference).max())
            if not difference <= TOLERANCE:
                raise SystemExit(
                    f"{contender.name}: its logits are {difference:.2e} from the reference's, at most {TOLERANCE} is "
                    "allowed; its times would mean nothing"
                )
            log(f"    {difference:.1e} from the reference")
        gate = Gate()
        log(f"  gate: {GATE_SIDE} x {GATE_SIDE} matrix product, {gate.best * 1000:.1f} ms at best so far")
        interleave(found, workers, gate, rounds=options.rounds, runs=options.runs, log=log)
    finally:
        for worker in workers:
            worker.close()
    return [summary(contender, gate) for contender in found], gate


def timing_table(rows: Sequence[dict[str, Any]]) -> str:
    """Minima and medians as markdown."""
    lines = ["| graph | engine | min, ms | median, ms | healthy samples |", "|---|---|---|---|---|"]
    lines += [
        f"| {row['graph']} | {row['engine']} | {row['min_ms']:.2f} | {row['median_ms']:.2f} "
        f"| {row['samples_kept']} of {row['samples']} |"
        for row in rows
    ]
    return "\n".join(lines)


def ratios(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Ratios of minima: ours to the baseline per engine, then our speed-up over the other peers."""
    best = {(row["graph"], row["engine"]): row["min_ms"] for row in rows}
    found = {f"onnxzoo : {BASELINE}, {engine}": best[OURS, engine] / best[BASELINE, engine] for engine in ENGINES}
    for peer in (TORCH, PADDLE):
        if (peer, "") in best:
            found |= {f"{peer} : onnxzoo, {engine}": best[peer, ""] / best[OURS, engine] for engine in ENGINES}
    return found


def measure(model: str, options: argparse.Namespace) -> dict[str, Any]:
    """Build, compare and time one model; prints its tables."""
    with tempfile.TemporaryDirectory(prefix="onnxzoo-graphs-", dir=options.work) as scratch:
        folder = Path(scratch)
        environment = {**os.environ, "ONNXZOO_CACHE": str(folder / "cache"), "GLOG_minloglevel": "2"}
        torch_environment = {**environment, "PYTHONPATH": str(HERE.parent)}
        log(f"{model}: building the graphs")
        built = build(model, folder, options.torch_python, environment, torch_environment)
        entry = find(model)
        result: dict[str, Any] = {"skipped": built.skipped}
        result["graphs"] = [graph_row(graph, file, entry.params_m) for graph, file in built.graphs.items()]
        print(f"\n## {entry.name}\n\n{graph_table(result['graphs'])}", flush=True)
        for graph, reason in built.skipped.items():
            print(f"- {graph} was left out: {reason}", flush=True)
        if options.timing:
            found = contenders(model, built, options.torch_python, torch_environment)
            rows, gate = time_model(found, built, options)
            result["gate"] = {"side": GATE_SIDE, "best_ms": gate.best * 1000}
            result["timings"], result["ratios"] = rows, ratios(rows)
            print(f"\n{timing_table(rows)}\n", flush=True)
            for name, ratio in result["ratios"].items():
                print(f"- {name} = {ratio:.2f}", flush=True)
    return result


def main() -> None:
    """Parse the arguments, measure, print."""
    parser = argparse.ArgumentParser(description="Our graphs against the peers': size, operators, time.")
    parser.add_argument("models", nargs="*", metavar="NAME", help=f"default {', '.join(MODELS)}")
    parser.add_argument("--torch-python", metavar="PATH", help="a Python that has torch and transformers")
    parser.add_argument("--rounds", type=int, default=20, metavar="N", help="samples per contender (default 20)")
    parser.add_argument("--runs", type=int, default=5, metavar="N", help="inferences per sample (default 5)")
    parser.add_argument("--threads", type=int, default=2, metavar="N", help="threads of every contender (default 2)")
    parser.add_argument("--no-timing", dest="timing", action="store_false", help="graphs only")
    parser.add_argument("--work", type=Path, metavar="DIR", help="folder for the temporary folder")
    parser.add_argument("--json", type=Path, metavar="OUT", help="also write everything, every sample, to this file")
    options = parser.parse_args()
    if min(options.rounds, options.runs, options.threads) < 1:
        parser.error("--rounds, --runs and --threads must be at least 1")
    if options.torch_python is None:
        log("PyTorch is left out: no --torch-python PATH given")
    results: dict[str, Any] = {"machine": {**machine(options.torch_python), "threads": str(options.threads)}}
    print(f"{', '.join(f'{key} {value}' for key, value in results['machine'].items())}; batch 1, fp32")
    results["models"] = {}
    for model in options.models or MODELS:
        results["models"][model] = measure(model, options)
        if options.json is not None:
            options.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    try:
        main()
    except OnnxzooError as error:
        sys.exit(f"error: {error}")
