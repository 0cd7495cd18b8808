"""Cold start of one image: wall time and peak memory of whole processes (see benchmarks/README.md).

    python benchmarks/cold_start.py [--model NAME ...] [--runs N] [--torch-python PATH] [--json OUT]

Prints a markdown table. Runs on Linux and macOS. Only small modules are imported here, because a child's peak
memory includes its parent's.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from onnxzoo.cpu import engine_threads

HERE = Path(__file__).resolve().parent
PHOTO = HERE.parent / "onnxzoo" / "data" / "photos" / "chelsea.jpg"
MODELS = ("pvt_v2_b0", "swinv2_tiny_w8")
BASELINE = "onnxzoo, openvino"
PACKAGES = ("onnxzoo", "openvino", "onnxruntime", "paddlepaddle", "pillow", "numpy")
TIMEOUT_S = 600
# ru_maxrss is in KiB on Linux and in bytes on macOS.
RSS_UNITS_PER_MIB = 2**20 if sys.platform == "darwin" else 2**10


@dataclass(frozen=True)
class Sample:
    """One whole process: seconds from its start to its end, peak memory in MiB, its output, its CPU seconds."""

    wall_s: float
    peak_mib: float
    output: str
    cpu_s: float


@dataclass
class Contender:
    """A way to classify the image, and its samples so far. `top1`: its best class."""

    name: str
    command: list[str]
    samples: list[Sample] = field(default_factory=list)
    top1: int | None = None


def measure(command: Sequence[str], cwd: Path | None = None) -> Sample:
    """Run a command to its end; raises SystemExit with the end of its output if it fails."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        start = time.perf_counter()
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, cwd=cwd)
        limit = threading.Timer(TIMEOUT_S, child.kill)
        limit.start()
        _, status, usage = os.wait4(child.pid, 0)  # the resources of this one child
        wall_s = time.perf_counter() - start
        limit.cancel()
        child.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        if child.returncode:
            words = err.read().decode(errors="replace").strip()[-2000:]
            raise SystemExit(f"exit code {child.returncode} from: {' '.join(command)}\n{words}")
        cpu_s = usage.ru_utime + usage.ru_stime
        return Sample(wall_s, usage.ru_maxrss / RSS_UNITS_PER_MIB, out.read().decode(errors="replace"), cpu_s)


def contenders(model: str, folder: Path, image: Path, torch_python: str | None) -> list[Contender]:
    """Create the files that the contenders need for one model, in `folder`."""
    log(f"{model}: preparing seeded weights, the Paddle program and the artifact")
    measure([sys.executable, str(HERE / "prepare_model.py"), model, str(folder)])
    artifact, spec, program = folder / "artifact", folder / "spec.json", folder / "paddle" / "inference"
    onnxzoo = [sys.executable, "-P", "-m", "onnxzoo"]
    measure([*onnxzoo, "export", model, "--weights", str(folder / "weights.pdparams"), "--out", str(artifact)])
    predict = [*onnxzoo, "predict", str(artifact), str(image), "--json", "--engine"]
    peer = str(HERE / "peers" / "paddle_inference.py")
    paddle = [sys.executable, peer, str(spec), f"{program}.json", f"{program}.pdiparams", str(image)]
    found = [
        Contender(BASELINE, [*predict, "openvino"]),
        Contender("onnxzoo, onnxruntime", [*predict, "onnxruntime"]),
        Contender("Paddle Inference", paddle),
    ]
    if torch_python is not None:
        torch = [torch_python, str(HERE / "peers" / "torch_eager.py")]
        measure([*torch, "prepare", str(spec), str(folder / "torch")])
        found.append(Contender("PyTorch eager", [*torch, "run", str(spec), str(folder / "torch"), str(image)]))
    return found


def run(found: list[Contender], runs: int) -> None:
    """Measure in turn, one run of each, after one unmeasured round that loads all files into memory."""
    for turn in range(runs + 1):
        for contender in found:
            sample = measure(contender.command)
            if turn == 0:
                contender.top1 = top1(sample.output)
            else:
                contender.samples.append(sample)
        log(f"  round {turn} of {runs}" + (" (not counted)" if turn == 0 else ""))
    # PyTorch has its own random weights; the others have the same weights and must agree.
    answers = {contender.name: contender.top1 for contender in found if not contender.name.startswith("PyTorch")}
    if len(set(answers.values())) != 1:
        raise SystemExit(f"the contenders disagree about the best class, their times mean nothing: {answers}")


def top1(output: str) -> int:
    """The best class id in a contender's output: onnxzoo's document, or a peer's list of ids in the last line."""
    if output.startswith("{"):
        return int(json.loads(output)["results"][0]["top"][0]["class_id"])
    return int(json.loads(output.splitlines()[-1])[0])


def summary(contender: Contender) -> dict[str, Any]:
    """Minimum and median of one contender."""
    walls, peaks = [s.wall_s for s in contender.samples], [s.peak_mib for s in contender.samples]
    return {
        "name": contender.name,
        "wall_min_s": min(walls),
        "wall_median_s": statistics.median(walls),
        "peak_min_mib": min(peaks),
        "peak_median_mib": statistics.median(peaks),
        "samples": [{key: value for key, value in asdict(s).items() if key != "output"} for s in contender.samples],
    }


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The summaries as markdown; ratios are of minima, relative to the first row."""
    base = rows[0]
    lines = [
        "| | wall min, s | wall median, s | ratio | peak min, MiB | peak median, MiB | ratio |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        slower = row["wall_min_s"] / base["wall_min_s"]
        larger = row["peak_min_mib"] / base["peak_min_mib"]
        lines.append(
            f"| {row['name']} | {row['wall_min_s']:.2f} | {row['wall_median_s']:.2f} | {slower:.2f} "
            f"| {row['peak_min_mib']:.0f} | {row['peak_median_mib']:.0f} | {larger:.2f} |"
        )
    return "\n".join(lines)


def machine(torch_python: str | None) -> dict[str, str]:
    """The machine on which the figures depend: processor, cores and versions."""
    described = {"cpu": cpu_model(), "cores": str(engine_threads()), "python": platform.python_version()}
    for package in PACKAGES:
        try:
            described[package] = version(package)
        except PackageNotFoundError:
            described[package] = "absent"
    if torch_python is not None:
        code = "from importlib.metadata import version as v; print(v('torch'), v('transformers'))"
        described["torch"], described["transformers"] = measure([torch_python, "-c", code]).output.split()
    return described


def cpu_model() -> str:
    """The processor's name, with the relevant vector extensions."""
    info = Path("/proc/cpuinfo")
    if not info.exists():
        return platform.processor() or platform.machine()
    values = dict(line.split(":", 1) for line in info.read_text().splitlines() if ":" in line)
    values = {key.strip(): value.strip() for key, value in values.items()}
    flags = set(values.get("flags", "").split())
    known = [flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_tile") if flag in flags]
    return f"{values.get('model name', platform.machine())} ({', '.join(known)})"


def log(text: str) -> None:
    """Print progress to stderr, as the tables go to stdout."""
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    """Parse the arguments, measure, print."""
    parser = argparse.ArgumentParser(description="Cold start of one image: onnxzoo, Paddle Inference, PyTorch eager.")
    parser.add_argument("--model", action="append", metavar="NAME", help=f"repeatable; default {', '.join(MODELS)}")
    parser.add_argument("--runs", type=int, default=7, metavar="N", help="measured processes per row (default 7)")
    parser.add_argument("--image", type=Path, default=PHOTO, help="default: a photo of this repository")
    parser.add_argument("--torch-python", metavar="PATH", help="a Python that has torch and transformers")
    parser.add_argument("--json", type=Path, metavar="OUT", help="also write every sample to this file")
    options = parser.parse_args()
    if options.runs < 1:
        parser.error("--runs must be at least 1")
    if options.torch_python is None:
        log("PyTorch is left out: no --torch-python PATH given")
    results: dict[str, Any] = {"machine": machine(options.torch_python), "image": options.image.name, "models": {}}
    print(", ".join(f"{key} {value}" for key, value in results["machine"].items()))
    for model in options.model or MODELS:
        with tempfile.TemporaryDirectory(prefix="onnxzoo-bench-") as scratch:
            os.environ["ONNXZOO_CACHE"] = str(Path(scratch) / "cache")
            found = contenders(model, Path(scratch), options.image.resolve(), options.torch_python)
            run(found, options.runs)
        rows = [summary(contender) for contender in found]
        results["models"][model] = rows
        print(f"\n{model}: one image, whole process, {options.runs} runs\n\n{table(rows)}", flush=True)
    if options.json is not None:
        options.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
