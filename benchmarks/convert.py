"""Models in the formats of `onnxzoo convert`: bytes, differences, time and memory of converting, time at batch 1.

    python benchmarks/convert.py [NAME|DIR ...] [--rounds N] [--out FOLDER]

Writes convert.md and convert.json, in which models measured by earlier runs are kept. It needs the extras `cpu` and
`convert`, and pnnx (see README). Each contender runs in a process of its own, with one thread, in turn; the least time
of all samples is the one that other programs disturbed least.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from cold_start import HERE, cpu_model, log, measure
from ncnn_trace import trace

from onnxzoo.artifact.folder import CONFORMANCE_FILE
from onnxzoo.bench.timing import WARM_MS, Contender, Worker
from onnxzoo.comparison.figures import snr_db
from onnxzoo.conversion.targets import TARGETS
from onnxzoo.source import Source, resolve

MODELS = ("pvt_v2_nano_fashion", "swinv2_nano_fashion")
THREADS, RUNS = 1, 5
ENGINES = ("onnxruntime", "openvino")
ONNXZOO = [sys.executable, "-P", "-m", "onnxzoo"]
COLUMNS = (
    "format", "precision", "MB", "largest difference", "SNR of an image, dB", "to convert, s", "peak, MiB",
    "an image, ms",
)  # fmt: skip
CAUSE = """
The first wrong layer is the Crop that pnnx writes for the Gather that puts the tokens in window order. ncnn has no
layer that gathers. pnnx reads the whole list of indexes (`Tensor.select` in its own file), but each of its Crops keeps
the token with number 1 and drops the others, whatever the list. The Reshape behind it then reads as many values as
there should be, beyond the end of the one token: whatever is in memory, often too large for the norm of the attention.
ncnn reports no error.
"""
NOT_RUN = """
## What was not run

This machine has an x86-64 processor, and no phone was at hand. On ARM these differ, and were not measured:

- MNN and ncnn compute in 16 bits where the processor can, unless an app forbids it: `precision: high` in MNN,
  `use_fp16_*` off in ncnn's options. An app that leaves this on has the differences of fp16, even with an fp32 file.
- MNN's int8 files store weights in 8 bits, and compute in floating point here. On processors with dot-product
  instructions MNN can quantise activations as well, which adds an error that is not in these tables.
- An `.ort` file keeps a graph without the memory layouts for the convolutions of x86-64 processors, and is slower than
  the ONNX file here; ARM has no such layouts. Its fused operators exist for all processors, but a reduced build of
  ONNX Runtime needs the list of them (`python -m onnxruntime.tools.create_reduced_build_config` makes it).
- Vulkan, OpenCL, Metal, NNAPI and Core ML were not tried.
"""


def converted(source: Source, target: str, precision: str, out: Path) -> dict[str, Any]:
    """The row of a conversion: by the command, as its users have it; with the reason where it is refused."""
    row: dict[str, Any] = {"format": target, "precision": precision}
    command = [*ONNXZOO, "convert", str(source.artifact.folder), "--to", target, "--precision", precision]
    try:
        sample = measure([*command, "--out", str(out), "--json"])
    except SystemExit as error:
        return {**row, "refused": str(error.code).strip().splitlines()[-1].removeprefix("onnxzoo: error: ")}
    document = json.loads(sample.output)
    return {
        **row,
        "folder": str(out),
        "bytes": sum(file["bytes"] for file in document["files"].values()),
        "max_abs": document["check"]["max_abs"],
        "tolerance": document["check"]["tolerance"],
        "library": document["converter"]["library"],
        "seconds": sample.wall_s,
        "peak_mib": sample.peak_mib,
    }


def contenders(source: Source, rows: list[dict[str, Any]]) -> list[tuple[dict[str, Any], Contender]]:
    """The rows that can be timed, each with its process; first the artifact itself."""
    artifact = source.artifact
    own = [
        {"format": engine, "precision": "fp32", "folder": str(artifact.folder), "artifact": True} for engine in ENGINES
    ]
    child = [sys.executable, "-P", str(HERE / "convert_child.py")]
    vectors = str(artifact.folder / CONFORMANCE_FILE)
    return [
        (
            row,
            Contender(
                f"{artifact.name} {row['precision']}",
                row["format"],
                [*child, row["format"], row["folder"], row["precision"], vectors],
            ),
        )
        for row in (*own, *rows)
        if "folder" in row
    ]


def timed(source: Source, rows: list[dict[str, Any]], options: argparse.Namespace, work: Path) -> list[dict[str, Any]]:
    """All rows with milliseconds of one image, and the ratio of signal to noise of its logits."""
    found = contenders(source, rows)
    expected = source.vectors().outputs["logits"][:1].astype(np.float64)
    workers: list[Worker] = []
    try:
        for number, (row, contender) in enumerate(found):
            out = work / f"{number}.npy"
            workers.append(Worker(contender, out, THREADS))
            row["snr_db"] = snr_db(expected, np.abs(np.load(out).astype(np.float64) - expected))
        for _ in range(options.rounds):
            for worker, (row, _contender) in zip(workers, found, strict=True):
                least = min(worker.run(WARM_MS, RUNS)) * 1000
                row["min_ms"] = min(least, row.get("min_ms", least))
    finally:
        for worker in workers:
            worker.close()
    return [row for row, _ in found] + [row for row in rows if "folder" not in row]


def table(name: str, result: dict[str, Any]) -> Iterator[str]:
    """The rows of one model as markdown."""
    yield f"## {name}"
    yield ""
    yield f"`model.onnx` has {result['bytes']:,} bytes. {result['machine']}."
    yield ""
    yield f"| {' | '.join(COLUMNS)} |"
    yield "|---" * len(COLUMNS) + "|"
    yield from (line(row) for row in result["rows"] if "refused" not in row)
    refusals = {row["refused"]: row["format"] for row in result["rows"] if "refused" in row}
    yield from (f"\n`{target}` is refused: {reason}" for reason, target in refusals.items())
    yield ""


def line(row: dict[str, Any]) -> str:
    """One row."""
    time_ms = f"{row['min_ms']:.2f}"
    if "artifact" in row:
        cells = [f"the artifact on {row['format']}", row["precision"], "", "", f"{row['snr_db']:.1f}", "", ""]
    else:
        cells = [
            f"`{row['format']}`", row["precision"], f"{row['bytes'] / 1e6:.2f}", f"{row['max_abs']:.2g}",
            f"{row['snr_db']:.1f}", f"{row['seconds']:.1f}", f"{row['peak_mib']:.0f}",
        ]  # fmt: skip
    return f"| {' | '.join([*cells, time_ms])} |"


def measured(model: str, options: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    """The name of a model and its result."""
    source = resolve(model)
    with tempfile.TemporaryDirectory(prefix="onnxzoo-convert-") as scratch:
        rows = []
        for target in TARGETS.values():
            for precision, form in target.forms.items():
                if source.artifact.announced_model(form.source) is None:
                    continue
                log(f"{source.artifact.name} to {target.name} in {precision}")
                rows.append(converted(source, target.name, precision, Path(scratch, f"{target.name}-{precision}")))
        rows = timed(source, rows, options, Path(scratch))
    for row in rows:
        row.pop("folder", None)
    machine = f"{cpu_model()}, one thread"
    return source.artifact.name, {
        "bytes": source.artifact.required_model("fp32").bytes,
        "machine": machine,
        "rows": rows,
    }


def main() -> None:
    """Convert, time, write."""
    parser = argparse.ArgumentParser(description="Models in the formats of onnxzoo convert.")
    parser.add_argument("models", nargs="*", metavar="NAME|DIR", help=f"default {', '.join(MODELS)}")
    parser.add_argument("--rounds", type=int, default=12, metavar="N", help="samples per contender (default 12)")
    parser.add_argument("--out", type=Path, default=HERE / "results", metavar="FOLDER")
    options = parser.parse_args()
    kept = options.out / "convert.json"
    results: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8")) if kept.is_file() else {}
    results |= dict(measured(model, options) for model in options.models or MODELS)
    lines = [
        "# Models converted for other runtimes",
        "",
        "The largest difference is that of all outputs for the recorded inputs to the recorded ones; the time is the",
        "least of one image at batch 1, in memory, on a machine that other programs used as well; time and memory of",
        "converting are those of the command, which also runs the result (`benchmarks/convert.py`).",
        "",
    ]
    for name, result in results.items():
        lines += table(name, result)
    libraries = {row["library"]: None for one in results.values() for row in one["rows"] if "library" in row}
    lines += [f"With {', '.join(libraries)}.", "", "## Why ncnn refuses SwinV2", ""]
    lines += [
        "Every blob of ncnn is compared with the tensors of the ONNX graph that have as many values (`ncnn_trace.py`):",
        "",
        *trace("swinv2_nano_fashion"),
    ]
    text = "\n".join([*lines, CAUSE + NOT_RUN])
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "convert.md").write_text(text, encoding="utf-8")
    kept.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
