"""All models on a GPU: differences in fp32, images per second, build times, second starts, compared with PyTorch.

    python benchmarks/gpu.py [NAME ...] [--engine cuda --engine tensorrt] [--batch-size 1 --batch-size 8]
                             [--torch-python PATH] [--minutes M] [--out DIR]

Takes artifacts with seeded weights from --artifacts, makes them from the packs in --packs (gpu_pack.py), or exports
them here. Writes DIR/gpu.json and DIR/gpu.md after every step and keeps finished rows, so it can be stopped and
restarted at any time. It also measures CPU engines. Exit code 1 if a row failed or differs, 3 if rows are missing.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from cold_start import cpu_model, log, machine
from gpu_pack import ARTIFACTS, PACKS, available
from gpu_table import TORCH, Results, Row, differences, finished, shortcomings, timed
from seeded_artifact import SEED

from onnxzoo.artifact.folder import CONFORMANCE_FILE, Artifact
from onnxzoo.bench.timing import Contender, Gate, OpenGate, Worker, interleave
from onnxzoo.cpu import engine_threads
from onnxzoo.engines import engine_class, nvidia
from onnxzoo.errors import BenchmarkError, OnnxzooError
from onnxzoo.registry import find, models

HERE = Path(__file__).resolve().parent
PEERS = HERE / "peers"
WORK = Path("out/gpu/work")
GPU_ENGINES = ("cuda", "tensorrt", "tensorrt-rtx")
ENGINES, BATCH_SIZES, MODES = ("cuda", "tensorrt"), (1, 8, 32), ("eager", "compile")
ALL_MODES = (*MODES, "compile-graphs")
# Time in which a GPU reaches its full clock rate.
GPU_WARM_MS = 200.0


def contenders(artifact: Artifact, batch: int, folder: Path, options: argparse.Namespace) -> list[Contender]:
    """Every engine and every mode of PyTorch; reports and compiled models go to `folder`."""
    found = []
    for name in options.engine:
        files = [artifact.folder, str(batch), kept(folder, name), report(folder, name)]
        found.append(Contender(name, "", [sys.executable, str(PEERS / "onnxzoo_engine.py"), name, *map(str, files)]))
    if options.torch_python is None:
        return found
    environment = {"PYTHONPATH": os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")])}
    for mode in options.torch_mode:
        name = TORCH + mode
        vectors = artifact.verified(CONFORMANCE_FILE)
        arguments = ["start", artifact.name, SEED, options.torch_device, mode, vectors, batch, report(folder, name)]
        command = [options.torch_python, str(PEERS / "torch_same_weights.py"), *map(str, arguments)]
        cache = {"TORCHINDUCTOR_CACHE_DIR": str(kept(folder, name)), "HF_HUB_OFFLINE": "1"}
        found.append(Contender(name, "", command, environment | cache))
    return found


def kept(folder: Path, contender: str) -> Path:
    """The folder of a contender's compiled models."""
    return folder / f"{contender.replace(' ', '-').replace(':', '-')}-kept"


def report(folder: Path, contender: str) -> Path:
    """The path of a contender's results, with the suffixes .json and .npz."""
    return folder / f"{contender.replace(' ', '-').replace(':', '-')}.report"


def start(contender: Contender, folder: Path, row: Row, reference: Mapping[str, np.ndarray], limit: float) -> Worker:
    """Start a contender with an empty cache, and again if it caches something; fills the row, returns the worker.

    A row that already has these figures keeps them. Raises BenchmarkError if it does not start.
    """
    place, out = report(folder, contender.name), folder / "out.npy"
    threads = engine_threads()

    def started() -> tuple[Worker, dict[str, Any]]:
        worker = Worker(contender, out, threads, limit)
        return worker, json.loads(place.with_suffix(".json").read_text(encoding="utf-8"))

    before = "start_s" in row
    if not before:
        shutil.rmtree(kept(folder, contender.name), ignore_errors=True)
    worker, facts = started()
    try:
        if not before:
            row["start_s"] = facts["load_s"] + facts["first_s"]
            row |= {key: facts["info"][key] for key in ("device", "precision", "version", "nodes")}
            row["build_s"] = (facts["kept"] or {}).get("build_s")
            row["kept_bytes"] = (facts["kept"] or {}).get("bytes")
            row["second_start_s"] = None
            if facts["kept"] is not None:
                worker.close()
                worker, facts = started()
                row["second_start_s"] = facts["load_s"] + facts["first_s"]
        with np.load(place.with_suffix(".npz")) as outputs:
            found = differences(outputs, reference)
            # The timed batch, which is the first one again.
            again = differences({"logits": np.load(out)}, reference)
        row |= {**found, "relative": max(found["relative"], again["relative"]), "top1": found["top1"] and again["top1"]}
    except BaseException:
        worker.close()
        raise
    return worker


def measure(artifact: Artifact, batch: int, results: Results, gate: Gate, options: argparse.Namespace) -> None:
    """Fill the unfinished rows of one model at one batch size."""
    group = results.group(artifact.name, batch)
    folder = options.work.resolve() / f"{artifact.name}-{batch}"
    folder.mkdir(parents=True, exist_ok=True)
    with np.load(artifact.verified(CONFORMANCE_FILE)) as arrays:
        reference = {name: arrays[name] for name in ("logits", "embedding")}
    loaded: dict[str, tuple[Contender, Worker]] = {}

    def failed(contender: str, error: BenchmarkError | ValueError) -> None:
        group[contender]["error"] = str(error)
        log(f"  {contender}: {group[contender]['error']}")

    try:
        for contender in contenders(artifact, batch, folder, options):
            row = group.setdefault(contender.name, {})
            if finished(row):
                continue
            log(f"  {contender.name}: starting")
            row |= {"error": "", "date": time.strftime("%Y-%m-%d")}
            try:
                loaded[contender.name] = contender, start(contender, folder, row, reference, options.start_seconds)
            except (BenchmarkError, ValueError) as error:
                failed(contender.name, error)
            results.save()
        while loaded:
            pairs = list(loaded.values())
            try:
                interleave(
                    [pair[0] for pair in pairs], [pair[1] for pair in pairs], gate, rounds=options.rounds,
                    runs=options.runs, log=log, warm_ms=GPU_WARM_MS if isinstance(gate, OpenGate) else None,
                )  # fmt: skip
                break
            except BenchmarkError as error:
                failed(error.contender, error)
                loaded.pop(error.contender)[1].close()
                for contender, _ in loaded.values():
                    contender.samples.clear()
        for name, (contender, _) in loaded.items():
            try:
                group[name]["timing"] = timed(contender, gate)
            except BenchmarkError as error:  # no healthy moment, so the row stays unfinished
                log(f"  {error}")
        results.save()
    finally:
        for _, worker in loaded.values():
            worker.close()
    shutil.rmtree(folder)


def described(torch_python: str | None, *, gpu: bool) -> dict[str, str]:
    """The machine: `device` is the GPU, or the processor again."""
    if not gpu:
        return {"device": cpu_model(), **machine(torch_python)}
    found = nvidia.gpu()
    capability = ".".join(map(str, found.capability))
    return {"device": found.name, "driver": found.driver, "compute capability": capability, **machine(torch_python)}


def forget(results: Results, wanted: Sequence[tuple[str, int]], names: Sequence[str], *, all_rows: bool) -> None:
    """Remove failed rows, or all rows, of these groups and contenders, so that they are measured again."""
    for model, batch in wanted:
        group = results.group(model, batch)
        for name in [name for name in names if name in group]:
            if all_rows or group[name].get("error"):
                del group[name]


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="All models on a GPU, beside PyTorch.")
    parser.add_argument("models", nargs="*", metavar="NAME", help="default: the sixteen for ImageNet")
    parser.add_argument("--engine", action="append", metavar="NAME", help=f"default {', '.join(ENGINES)}")
    parser.add_argument("--batch-size", action="append", type=int, metavar="N", help="default 1, 8, 32")
    parser.add_argument("--torch-python", metavar="PATH", help="a Python that has torch and transformers")
    parser.add_argument("--torch-mode", action="append", choices=ALL_MODES, help="default eager, compile")
    parser.add_argument("--torch-device", metavar="DEVICE", help="default cuda with engines of the GPU, else cpu")
    parser.add_argument("--artifacts", type=Path, default=ARTIFACTS, metavar="DIR", help=f"default {ARTIFACTS}")
    parser.add_argument("--packs", type=Path, default=PACKS, metavar="DIR", help=f"default {PACKS}")
    parser.add_argument("--work", type=Path, default=WORK, metavar="DIR", help=f"for compiled models; default {WORK}")
    parser.add_argument("--out", type=Path, default=HERE / "results", metavar="DIR")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="samples per contender (default 5)")
    parser.add_argument("--runs", type=int, default=10, metavar="N", help="batches per sample (default 10)")
    parser.add_argument("--minutes", type=float, metavar="M", help="start only steps that will end within this time")
    parser.add_argument("--start-seconds", type=float, default=420, metavar="S", help="longest start (default 420)")
    parser.add_argument("--retry", action="store_true", help="measure failed rows again")
    parser.add_argument("--again", action="store_true", help="measure all named rows again")
    options = parser.parse_args()
    options.engine = options.engine or list(ENGINES)
    options.batch_size = options.batch_size or list(BATCH_SIZES)
    options.torch_mode = options.torch_mode or list(MODES)
    if min(options.rounds, options.runs, *options.batch_size) < 1:
        parser.error("--rounds, --runs and --batch-size must be at least 1")
    return options


def main() -> int:
    """Parse the arguments, measure the missing rows, write."""
    options = arguments()
    begun = time.monotonic()
    for name in options.engine:
        engine_class(name)
    gpu = any(name.partition(":")[0] in GPU_ENGINES for name in options.engine)
    options.torch_device = options.torch_device or ("cuda" if gpu else "cpu")
    fault = nvidia.driver_fault() if gpu else None
    if fault:
        raise SystemExit(f"{fault}; --engine openvino --engine onnxruntime measures the processor")
    os.environ.pop(nvidia.TF32_VARIABLE, None)  # the engines set TF32 themselves
    if options.torch_python is None:
        log("PyTorch is left out: no --torch-python PATH given")
    chosen = [find(name).name for name in options.models]
    chosen = chosen or [name for name, entry in models().items() if entry.labels == "imagenet1k"]
    wanted = [(name, batch) for name in chosen for batch in options.batch_size]
    labels = [*options.engine, *(TORCH + mode for mode in options.torch_mode if options.torch_python)]
    results = Results(options.out, described(options.torch_python, gpu=gpu))
    if options.again or options.retry:
        forget(results, wanted, labels, all_rows=options.again)
    gate: Gate = OpenGate() if gpu else Gate()

    def unfinished() -> list[tuple[str, int]]:
        return [
            (name, batch)
            for name, batch in wanted
            if not all(finished(results.group(name, batch).get(label, {})) for label in labels)
        ]

    longest = 0.0
    for name, batch in unfinished():
        started = time.monotonic()
        if options.minutes is not None and started - begun + longest > 60 * options.minutes:
            break
        log(f"{name}, batch {batch}")
        measure(available(name, options.artifacts, options.packs), batch, results, gate, options)
        longest = max(longest, time.monotonic() - started)
    results.save()
    print(results.table())
    if left := unfinished():
        log(f"{len(left)} of {len(wanted)} are left, next {left[0][0]} at batch {left[0][1]}: run this again")
        return 3
    rows = {(name, batch): results.group(name, batch) for name, batch in wanted}
    return 1 if any(shortcomings(label, group[label]) for group in rows.values() for label in labels) else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except OnnxzooError as error:
        sys.exit(f"error: {error}")
