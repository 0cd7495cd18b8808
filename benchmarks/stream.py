"""Speed and memory of `Model.stream` on a folder of photos (see benchmarks/README.md).

    python benchmarks/stream.py [--model NAME ...] [--images N] [--rounds N] [--many N] [--torch-python PATH]

Writes stream.md and stream.json. Linux.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cold_start import cpu_model, log, measure

HERE = Path(__file__).resolve().parent
MODELS = ("pvt_v2_b0", "swinv2_tiny_w8")
ENGINES = ("openvino", "onnxruntime")
STEADY = 500
"""Images for what has no beginning to amortise: inference alone, and PyTorch."""
FEW = 200
TORCH_BATCHES = (8, 32)
FACTS = """
import dataclasses, json, sys
from pathlib import Path
from onnxzoo.artifact.folder import read_artifact
from onnxzoo.bench.prepared import Prepared, described
from onnxzoo.cpu import engine_threads, worker_threads
artifact, weights, scratch = (Path(each) for each in sys.argv[1:])
found = read_artifact(artifact)
prepared = Prepared(sys.executable, weights, scratch)
prepared.check(found)
facts = {**described(found), "preprocess": dataclasses.asdict(found.preprocess), "compile": False}
facts |= {"weights": str(prepared.weights(found, "timm")), "threads": engine_threads(), "workers": worker_threads()}
print(json.dumps(facts))
"""


@dataclasses.dataclass
class Row:
    """What is measured, and the figures of each round."""

    model: str
    name: str
    command: list[str]
    rounds: list[dict[str, Any]] = dataclasses.field(default_factory=list)

    @property
    def best(self) -> float:
        """Images per second in the fastest round."""
        return max(each["images_s"] for each in self.rounds)

    @property
    def median(self) -> float:
        """Images per second in the median round."""
        return statistics.median(each["images_s"] for each in self.rounds)

    def run(self) -> None:
        """Run once, in its own process."""
        self.rounds.append(json.loads(measure(self.command).output.splitlines()[-1]))
        log(f"  {self.model}, {self.name}: {self.rounds[-1]['images_s']:.1f} images/s")


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description="Speed and memory of Model.stream.")
    parser.add_argument("--model", nargs="+", default=MODELS, metavar="NAME")
    parser.add_argument("--images", type=int, default=2000, metavar="N")
    parser.add_argument("--rounds", type=int, default=3, metavar="N")
    parser.add_argument("--many", type=int, default=20_000, metavar="N", help="images for the memory; 0 to skip it")
    parser.add_argument("--torch-python", metavar="PATH", help="a Python with torch and timm; without it no PyTorch")
    parser.add_argument("--artifacts", type=Path, metavar="FOLDER", help="as seeded_artifact.py makes them")
    parser.add_argument("--out", type=Path, default=HERE / "results", metavar="FOLDER")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        photos, artifacts = scratch / "photos", options.artifacts or scratch / "artifacts"
        measure([sys.executable, "-P", str(HERE / "stream_photos.py"), str(photos), str(options.images)])
        if options.artifacts is None:
            measure([sys.executable, "-P", str(HERE / "seeded_artifact.py"), str(artifacts), *options.model])
        rows = []
        for model in options.model:
            found = [*ours(model, artifacts, photos, options.images)]
            if options.torch_python:
                found += torch_rows(model, artifacts, photos, scratch, options)
            for turn in range(options.rounds):
                log(f"{model}: round {turn + 1} of {options.rounds}")
                for row in found:
                    row.run()
            require_same_answers(found)
            rows += found
        memory = memory_of(options.model[0], artifacts, photos, scratch, options.many) if options.many else {}
    text = report(rows, memory, options)
    print(text)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "stream.md").write_text(text, encoding="utf-8")
    document = {
        "cpu": cpu_model(),
        "images": options.images,
        "rows": [{"model": row.model, "name": row.name, "rounds": row.rounds} for row in rows],
        "peak_mib": memory,
    }
    (options.out / "stream.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def child(what: str, photos: Path, count: int, artifact: Path, *engine: str) -> list[str]:
    """The command of one measurement."""
    return [sys.executable, "-P", str(HERE / "stream_child.py"), what, str(photos), str(count), str(artifact), *engine]


def ours(model: str, artifacts: Path, photos: Path, count: int) -> list[Row]:
    """The rows of onnxzoo for a model."""
    artifact = artifacts / model
    rows = [Row(model, "decoding", child("decoding", photos, count, artifact))]
    for engine in ENGINES:
        steady = child("inference", photos, min(count, STEADY), artifact, engine)
        rows.append(Row(model, f"inference, {engine}", steady))
        rows.append(Row(model, f"stream, {engine}", child("stream", photos, count, artifact, engine)))
    return rows


def torch_rows(model: str, artifacts: Path, photos: Path, scratch: Path, options: argparse.Namespace) -> list[Row]:
    """PyTorch with the same weights, with a process for each core that reads images."""
    place = scratch / f"{model}-weights"
    place.mkdir()
    weights = artifacts / f"{model}.safetensors"
    facts = json.loads(
        measure([sys.executable, "-P", "-c", FACTS, str(artifacts / model), str(weights), str(place)]).output
    )
    rows = []
    for size in TORCH_BATCHES:
        job = place / f"job-{size}.json"
        count = min(options.images, STEADY)
        job.write_text(json.dumps({**facts, "photos": str(photos), "count": count, "batch_size": size}))
        command = [options.torch_python, str(HERE / "peers" / "torch_stream.py"), str(job)]
        rows.append(Row(model, f"PyTorch, batch {size}", command))
    return rows


def require_same_answers(rows: Sequence[Row]) -> None:
    """Raise SystemExit unless all that classify found the same classes in the first photos."""
    answers = {row.name: row.rounds[0]["best"] for row in rows if "best" in row.rounds[0]}
    if len({tuple(best) for best in answers.values()}) > 1:
        raise SystemExit(f"the contenders disagree about the classes, their times mean nothing: {answers}")


def memory_of(model: str, artifacts: Path, photos: Path, scratch: Path, many: int) -> dict[str, dict[str, float]]:
    """The peak memory of the stream for few and for many files, in MiB, by engine."""
    files = sorted(photos.iterdir())
    peaks: dict[str, dict[str, float]] = {}
    for count in (FEW, many):
        folder = scratch / f"{count}-files"
        folder.mkdir()
        for number in range(count):
            os.link(files[number % len(files)], folder / f"{number:08}.jpg")
        for engine in ENGINES:
            log(f"{model}, {engine}: memory for {count} images")
            done = json.loads(measure(child("stream", folder, count, artifacts / model, engine)).output)
            peaks.setdefault(engine, {})[str(count)] = done["peak_mib"]
    return peaks


def report(rows: Sequence[Row], memory: Mapping[str, Mapping[str, float]], options: argparse.Namespace) -> str:
    """The results as Markdown."""
    lines = [
        f"# The stream on {options.images:,} photos",
        "",
        f"Images per second, the fastest of {options.rounds} rounds (median); {cpu_model()} (`benchmarks/stream.py`).",
        "'possible' is 1 / (1 / inference + 1 / decoding): these were measured alone, each with all cores, and share",
        "them here.",
        "",
        "| model | engine | inference | decoding | possible | stream | of the possible | PyTorch eager, DataLoader |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for model in dict.fromkeys(row.model for row in rows):
        of = {row.name: row for row in rows if row.model == model}
        torch = [
            f"{row.best:.1f} ({row.median:.1f}) in batches of {name.split()[-1]}"
            for name, row in of.items()
            if "PyTorch" in name
        ]
        for engine in ENGINES:
            inference, decoding, stream = of[f"inference, {engine}"], of["decoding"], of[f"stream, {engine}"]
            best, median = (
                1 / (1 / getattr(inference, each) + 1 / getattr(decoding, each)) for each in ("best", "median")
            )
            cells = [
                *(f"{row.best:.1f} ({row.median:.1f})" for row in (inference, decoding)),
                f"{best:.1f} ({median:.1f})",
                f"{stream.best:.1f} ({stream.median:.1f})",
                f"{100 * stream.best / best:.0f} % ({100 * stream.median / median:.0f} %)",
                "; ".join(torch) or "not measured",
            ]
            lines.append(f"| {model} | {engine} | " + " | ".join(cells) + " |")
    if memory:
        lines += ["", f"Peak memory of the process, MiB, {options.model[0]}:", ""]
        lines += [f"| engine | {FEW} images | {options.many:,} images | ratio |", "|---|---|---|---|"]
        for engine, peaks in memory.items():
            few, many = peaks[str(FEW)], peaks[str(options.many)]
            lines.append(f"| {engine} | {few:.0f} | {many:.0f} | {many / few:.3f} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
