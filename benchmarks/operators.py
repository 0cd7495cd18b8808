"""Profiles matrix products and other operations, per model and engine, in fp32 (see benchmarks/README.md).

    python benchmarks/operators.py [NAME ...] [--batch-size N ...] [--threads N] [--seconds S] [--out FOLDER]

Prints markdown, and writes it to operators.md; operators.json also names the slowest operations. Progress goes to
stderr.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import product
from math import prod
from pathlib import Path
from typing import Any

import onnx
from cold_start import log, machine, measure
from graphs import MODELS
from seeded_artifact import exported

from onnxzoo.artifact.folder import MODEL_FILES
from onnxzoo.bench.products import FLOP, write_product
from onnxzoo.precisions import FP32

HERE = Path(__file__).resolve().parent
ENGINES = ("openvino", "onnxruntime")
LAYERS, ATTENTION, DEPTHWISE = "linear layers and convolutions", "products of attention", "depthwise convolution"
FUSED_ATTENTION = "attention in one kernel"
REST = "element by element"
KINDS = {
    LAYERS: ("FullyConnected", "Convolution", "Conv", "Gemm", "FusedConv"),
    ATTENTION: ("MatMul", "FusedMatMul"),
    DEPTHWISE: ("GroupConvolution",),
    FUSED_ATTENTION: (),
    "GELU": ("Gelu", "BiasGelu", "Erf"),
    "norms": ("LayerNormalization", "SkipLayerNormalization", "MVN", "ReduceL2", "Max"),
    "softmax": ("Softmax",),
    "moves": ("Transpose", "Reshape", "Gather", "Split", "VariadicSplit", "Reorder", "ReorderInput", "ReorderOutput"),
    REST: (),
}
SLOWEST = 12


def products(file: Path, batch: int) -> Iterator[tuple[str, str, int]]:
    """Name, kind and floating-point operations of each product of an ONNX file."""
    model = onnx.load(file)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = batch
    model = onnx.shape_inference.infer_shapes(model, data_prop=True)
    values = [*model.graph.value_info, *model.graph.input, *model.graph.output]
    shapes = {value.name: [side.dim_value for side in value.type.tensor_type.shape.dim] for value in values}
    constants = {tensor.name: list(tensor.dims) for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Conv":
            weight = constants[node.input[1]]
            groups = next((one.i for one in node.attribute if one.name == "group"), 1)
            yield node.name, DEPTHWISE if groups > 1 else LAYERS, 2 * prod(shapes[node.output[0]]) * prod(weight[1:])
        elif node.op_type in ("MatMul", "Gemm"):
            kind = LAYERS if node.input[1] in constants else ATTENTION
            first = shapes.get(node.input[0]) or constants[node.input[0]]
            yield node.name, kind, 2 * prod(shapes[node.output[0]]) * first[-1]


def kind_of(name: str, operator: str, within: str, known: dict[str, str]) -> str:
    """The kind of an engine's operation; `known`: the kinds of products by their names in the file."""
    if operator == "Subgraph" and "Softmax" in within:
        return FUSED_ATTENTION
    found = next((kind for kind, operators in KINDS.items() if operator in operators), REST)
    if found in (LAYERS, ATTENTION, DEPTHWISE):
        # The engine's name begins with that of the product, or of the layer whose addition it fused.
        layer = name.removesuffix("/Add")
        return next((kind for product, kind in known.items() if name.startswith(product) or layer in product), found)
    return found


def profile(engine: str, file: Path, batch: int, options: argparse.Namespace) -> list[list[Any]]:
    """The operations of a file in an engine, profiled in a separate process."""
    arguments = [engine, str(file), str(batch), str(options.threads), str(options.seconds)]
    child = HERE / "peers" / "operators_child.py"
    found: list[list[Any]] = json.loads(measure([sys.executable, str(child), *arguments]).output)
    return found


def row(engine: str, file: Path, batch: int, options: argparse.Namespace) -> dict[str, Any]:
    """The figures of one model in one engine."""
    counted = list(products(file, batch))
    known = {name: kind for name, kind, _ in counted}
    operations = [[*one, kind_of(one[0], one[1], one[2], known)] for one in profile(engine, file, batch, options)]
    times: Counter[str] = Counter()
    for *_, milliseconds, kind in operations:
        times[kind] += milliseconds
    return {
        "engine": engine,
        "batch_size": batch,
        "sum_ms": sum(times.values()),
        "ms": dict(times.most_common()),
        "gflop": sum(count for _, _, count in counted) / 1e9,
        "layers_gflop": sum(count for _, kind, count in counted if kind == LAYERS) / 1e9,
        "slowest": [
            {"name": name, "kind": kind, "ms": milliseconds}
            for name, _, _, milliseconds, kind in sorted(operations, key=lambda one: -one[3])[:SLOWEST]
        ],
    }


def limit(engine: str, folder: Path, options: argparse.Namespace) -> float:
    """GFLOP/s of one square matrix product in this engine."""
    file = folder / "product.onnx"
    write_product(file, FP32)
    return FLOP / max(one[3] for one in profile(engine, file, 1, options)) / 1e6


def table(rows: Iterable[tuple[str, dict[str, Any]]], limits: Mapping[str, float]) -> str:
    """Shares of the time as markdown."""
    kinds = list(KINDS)
    lines = [
        f"| | | ms | share of the limit | layers, GFLOP/s | {' | '.join(kinds)} |",
        "|---" * (6 + len(kinds)) + "|",
    ]
    for model, one in rows:
        most = limits[one["engine"]]
        shares = (f"{100 * one['ms'][kind] / one['sum_ms']:.1f} %" if kind in one["ms"] else "" for kind in kinds)
        lines.append(
            f"| {model} | {one['engine']} | {one['batch_size']} | {one['sum_ms']:.1f} "
            f"| {100 * one['gflop'] / one['sum_ms'] * 1000 / most:.0f} % "
            f"| {one['layers_gflop'] / one['ms'][LAYERS] * 1000:.0f} of {most:.0f} | {' | '.join(shares)} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Parse, profile, print, write."""
    parser = argparse.ArgumentParser(description="Where the time goes: matrix products and the rest.")
    parser.add_argument("models", nargs="*", metavar="NAME", help=f"default {', '.join(MODELS)}")
    parser.add_argument("--batch-size", type=int, action="append", metavar="N", help="repeatable; default 1")
    parser.add_argument(
        "--threads", type=int, default=1, metavar="N", help="default 1: the steadiest on a busy machine"
    )
    parser.add_argument("--seconds", type=float, default=8, metavar="S", help="time per row (default 8)")
    parser.add_argument("--work", type=Path, metavar="FOLDER", help="folder of artifacts, kept; default: temporary")
    parser.add_argument("--out", type=Path, default=HERE / "results", metavar="FOLDER")
    options = parser.parse_args()
    rows, limits = [], dict.fromkeys(ENGINES, 0.0)
    with tempfile.TemporaryDirectory(prefix="onnxzoo-operators-") as scratch:
        work = options.work or Path(scratch)
        for model in options.models or MODELS:
            artifact = work / model if (work / model).is_dir() else exported(model, work)
            for batch, engine in product(options.batch_size or [1], ENGINES):
                log(f"{model} in {engine}, batch {batch}")
                limits[engine] = max(limits[engine], limit(engine, Path(scratch), options))
                rows.append((model, row(engine, artifact / MODEL_FILES[FP32], batch, options)))
    found = machine(None)
    text = (
        f"# Where the time goes\n\n`python benchmarks/operators.py`: fp32, threads {options.threads};"
        f" sums over the fastest run of each operation, see README.md here.\n\n"
        f"{', '.join(f'{key} {value}' for key, value in found.items())}\n\n{table(rows, limits)}\n"
    )
    print(text, end="")
    document = {
        "machine": found,
        "threads": options.threads,
        "limits_gflop_per_s": limits,
        "models": [{"model": model, **one} for model, one in rows],
    }
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "operators.md").write_text(text, encoding="utf-8")
    (options.out / "operators.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
