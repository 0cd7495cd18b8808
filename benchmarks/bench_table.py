"""Writes the results of one or several runs of `onnxzoo bench --json` to results/bench.md and bench.json.

    onnxzoo bench NAME ... --peer torch ... --json > run.json
    python benchmarks/bench_table.py run.json ... [--out DIR]

The markdown has a table for each model and batch size; the JSON file contains all documents.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
MACHINE = ("CPU", "CPU flags", "system", "Python", "onnxzoo", "openvino", "onnxruntime", "paddlepaddle")

Row = dict[str, Any]


def page(documents: Sequence[dict[str, Any]]) -> Iterator[str]:
    """The markdown file."""
    machine = documents[0]["machine"]
    yield "# Speed beside accuracy"
    yield ""
    yield f"{', '.join(f'{key}: {machine[key]}' for key in MACHINE if key in machine)}."
    yield ""
    rows = [row for document in documents for row in document["results"]]
    samples = [row["speed"] for row in rows if row["speed"]]
    healthy, taken = (sum(speed[key] for speed in samples) for key in ("healthy", "samples"))
    versions = sorted({f"{row['engine']} {row['version']}" for row in rows if row["version"]})
    yield (
        f"{', '.join(versions)}. Made by `benchmarks/bench_table.py` of documents of `onnxzoo bench --json`. {healthy} "
        f"of {taken} samples came from healthy moments of the machine; rows with * have none, and their figures are of "
        "a busy machine. 'Ours': the minimum, divided by that of the faster of our engines in fp32 in the same table."
    )
    if healthy < taken / 2:
        yield ""
        yield (
            "**The machine was busy with other work: these figures are no comparison of the contenders.** A library "
            "whose threads spin while they wait for each other, as PyTorch's, loses most when others need the cores."
        )
    for key in dict.fromkeys((row["model"], row["batch_size"]) for row in rows):
        group = [row for row in rows if (row["model"], row["batch_size"]) == key]
        limits = [
            limit
            for document in documents
            for limit in document["limits"]
            if (limit["model"], limit["batch_size"]) == key
        ]
        yield ""
        yield f"## {key[0]}, batch {key[1]}"
        yield ""
        yield from table(group)
        yield ""
        reached = ", ".join(f"{one['gflops']:.0f} in {one['precision']} on {one['engine']}" for one in limits)
        yield f"A matrix product reaches, GFLOP/s: {reached}."
        for row in group:
            if row["error"]:
                yield ""
                yield f"{row['contender']} failed: {row['error']}"


def table(group: Sequence[Row]) -> Iterator[str]:
    """The rows of one model and batch size that have a speed."""
    measured = [row for row in group if row["speed"]]
    ours = [
        row["speed"]["min_ms"]
        for row in measured
        if row["contender"] in ("openvino", "onnxruntime") and row["precision"] == "fp32"
    ]
    yield (
        "| contender | precision | min, ms | ours | p50 | p95 | p99 | images/s | GFLOP/s | of limit | load, s "
        "| first, s | MiB | SNR, dB | Top-1, % | healthy |"
    )
    yield f"|{'---|' * 16}"
    for row in measured:
        speed, accuracy = row["speed"], row["accuracy"]
        where = "" if row["engine"] == row["contender"] else f" ({row['engine']})"
        mark = "" if speed["healthy"] else "*"
        cells = [
            f"{row['contender']}{where}",
            row["precision"],
            f"{speed['min_ms']:.2f}",
            f"{speed['min_ms'] / min(ours):.2f}" if ours else "",
            f"{speed['p50_ms']:.2f}{mark}",
            f"{speed['p95_ms']:.2f}",
            f"{speed['p99_ms']:.2f}",
            f"{speed['images_per_second']:.1f}",
            shown(row["gflops"], ".0f"),
            shown(row["limit_share"], ".0%"),
            shown(row["load_s"], ".2f"),
            shown(row["first_s"], ".2f"),
            shown(row["peak_mib"], ".0f"),
            shown(row["snr_db"], ".1f"),
            shown(None if accuracy is None else 100 * accuracy["top1"], ".2f"),
            f"{speed['healthy']} of {speed['samples']}",
        ]
        yield f"| {' | '.join(cells)} |"


def shown(value: float | None, form: str) -> str:
    """A formatted figure, or an empty text for None."""
    return "" if value is None else format(value, form)


def main() -> None:
    """Read the documents, write the tables."""
    parser = argparse.ArgumentParser(description="Tables of what onnxzoo bench --json measured.")
    parser.add_argument("documents", nargs="+", type=Path, metavar="RUN.json")
    parser.add_argument("--out", type=Path, default=HERE / "results", metavar="DIR")
    options = parser.parse_args()
    documents = [json.loads(file.read_text(encoding="utf-8")) for file in options.documents]
    (options.out / "bench.json").write_text(json.dumps(documents, indent=1) + "\n", encoding="utf-8")
    (options.out / "bench.md").write_text("\n".join(page(documents)) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
