"""The first ten steps to run on a machine with a GPU, in order, each in its own process of at most ten minutes.

    python benchmarks/gpu_first_hour.py [STEP ...] [--engine cuda] [--torch-python PATH] [--out DIR]

Prints a line per step and writes DIR/gpu_first_hour.json after each: its results, or why it failed or was skipped.
`gpu_first_hour.md` describes the steps. Exit code 1 if one failed, 3 without a GPU. With a CPU engine the steps that
need no GPU run, by which the script itself is tested.
"""

from __future__ import annotations

import argparse
import ctypes
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from onnxzoo import OnnxzooError, load
from onnxzoo.artifact.folder import CONFORMANCE_FILE, INPUT_NAME, read_artifact
from onnxzoo.engines import EngineOptions, nvidia
from onnxzoo.hub import SHIPPED_DIR

HERE = Path(__file__).resolve().parent
MODELS = ("pvt_v2_nano_fashion", "swinv2_nano_fashion")
BENCHMARKED = "pvt_v2_b0"
LIMIT_S = 600.0
TOLERANCE = 1e-4
ON_GPU = ("cuda", "tensorrt", "tensorrt-rtx")
Found = dict[str, Any]


class FailedError(Exception):
    """A step failed; the message describes the fault."""


class Skipped(Exception):  # noqa: N818 (no error)
    """A step cannot be run here; the message gives the reason."""


def require(holds: object, otherwise: object) -> None:
    """Raise FailedError with the message `otherwise` unless `holds`."""
    if not holds:
        raise FailedError(otherwise)


def recorded(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Recorded images and Paddle's logits for them."""
    with np.load(read_artifact(SHIPPED_DIR / name).verified(CONFORMANCE_FILE)) as arrays:
        return arrays[INPUT_NAME], arrays["logits"]


def excess(logits: np.ndarray, expected: np.ndarray) -> float:
    """The largest excess of a logit's error over the tolerance; at most 0 if all are within it."""
    return float((np.abs(logits - expected) - TOLERANCE - TOLERANCE * np.abs(expected)).max())


def proof(engine: str) -> Found:
    """The whole graph runs on the provider, in fp32, with Paddle's outputs."""
    found: Found = {}
    for name in MODELS:
        images, expected = recorded(name)
        with load(SHIPPED_DIR / name, engine=engine, strict=True) as model:
            beyond = excess(model.logits(images), expected)
            info = model.engine
        require(beyond <= 0, f"{name}: {beyond} beyond the tolerance")
        require(info.precision == "fp32", info)
        found[name] = {"device": info.device, "version": info.version, "nodes": dict(info.nodes)}
    return found


def tests(engine: str) -> Found:
    """The tests of the marker gpu."""
    _needs_gpu(engine)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-m",
        "gpu",
        "-rs",
        str(HERE.parent / "tests" / "engines" / "test_engines_gpu.py"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=HERE.parent)
    lines = done.stdout.strip().splitlines()
    require(done.returncode == 0, "\n".join(lines[-40:]))
    return {"summary": lines[-1], "skipped": [line for line in lines if line.startswith("SKIPPED")]}


def tf32(engine: str) -> Found:
    """fp32 is bitwise the same with TF32 forbidden for the whole process; `auto` must differ for this to prove it."""
    _needs_gpu(engine)
    digests = {
        "fp32": _child("digest", engine, {nvidia.TF32_VARIABLE: ""}),
        "fp32 without TF32": _child("digest", engine, {nvidia.TF32_VARIABLE: "0"}),
        "auto": _child("digest", engine, {nvidia.TF32_VARIABLE: "", "PRECISION": "auto"}),
    }
    require(digests["fp32"] == digests["fp32 without TF32"], digests)
    return {**digests, "auto is another": digests["auto"] != digests["fp32"]}


def digest(engine: str) -> Found:
    """SHA-256 of the logits of both models, batch 1 and 8."""
    found = {}
    for name in MODELS:
        images = np.resize(recorded(name)[0], (8, *recorded(name)[0].shape[1:]))
        with load(SHIPPED_DIR / name, engine=engine, precision=os.environ.get("PRECISION", "fp32")) as model:
            found[name] = [hashlib.sha256(model.logits(images[:n]).tobytes()).hexdigest()[:16] for n in (1, 8)]
    return found


def threads(engine: str) -> Found:
    """Eight threads with changing batch sizes get the same outputs as one thread."""
    images = np.random.default_rng(0).standard_normal((8, 3, 32, 32)).astype(np.float32)
    with load(SHIPPED_DIR / MODELS[0], engine=engine) as model:
        side = recorded(MODELS[0])[0].shape[-1]
        images = np.resize(images, (8, 3, side, side))
        alone = {n: model.logits(images[:n]) for n in (1, 2, 3, 5, 8)}
        sizes = [list(alone)[i % len(alone)] for i in range(400)]
        started = time.perf_counter()
        with ThreadPoolExecutor(8) as pool:
            together = list(pool.map(lambda n: model.logits(images[:n]), sizes))
    gap = max(float(np.abs(got - alone[n]).max()) for n, got in zip(sizes, together, strict=True))
    require(gap <= 1e-5, f"another thread's numbers: {gap}")
    return {"runs": len(sizes), "largest difference": gap, "seconds": time.perf_counter() - started}


def fork(engine: str) -> Found:
    """A child process that was forked after CUDA started raises an error instead of hanging; a spawned one works."""
    _needs_gpu(engine)
    with load(SHIPPED_DIR / MODELS[0], engine=engine):
        reading, writing = os.pipe()
        number = os.fork()
        if not number:
            signal.alarm(60)  # ends a hanging child
            try:
                load(SHIPPED_DIR / MODELS[0], engine=engine)
                said = "works"
            except OnnxzooError as error:
                said = str(error)
            os.write(writing, said.encode())
            os._exit(0)
        os.close(writing)
        said = os.read(reading, 10000).decode()
        os.waitpid(number, 0)
        require("was forked from one that had started CUDA" in said, said or "the fork hung")
        return {"forked": said, "spawned": _child("digest", engine, {})}


def device(engine: str) -> Found:
    """A GPU that does not exist is refused, with the number of existing ones."""
    _needs_gpu(engine)
    try:
        load(SHIPPED_DIR / MODELS[0], engine=f"{engine}:99")
    except OnnxzooError as error:
        require("there is no GPU 99: CUDA finds" in str(error), error)
        return {"said": str(error), "exit code": error.exit_code}
    raise FailedError(f"{engine}:99 was opened")


def memory(engine: str) -> Found:
    """With the GPU's memory occupied, loading is refused as a hardware failure; with free memory it works again."""
    _needs_gpu(engine)
    cuda = ctypes.CDLL(nvidia.DRIVER_LIBRARY)
    context, taken = ctypes.c_void_p(), ctypes.c_uint64()
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    for code in (
        cuda.cuInit(0),
        cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), 0),
        cuda.cuCtxSetCurrent(context),
    ):
        require(not code, f"CUDA error {code}")
    require(
        not cuda.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total)), "CUDA does not give memory, or take it back"
    )
    left = 32 * 2**20
    require(
        not cuda.cuMemAlloc_v2(ctypes.byref(taken), ctypes.c_size_t(free.value - left)),
        "CUDA does not give memory, or take it back",
    )
    try:
        load(SHIPPED_DIR / MODELS[0], engine=engine, batch_size=8).logits(recorded(MODELS[0])[0])
        said = f"it ran in {left} bytes"
    except OnnxzooError as error:
        said = f"{type(error).__name__}: {error}"
    require(not cuda.cuMemFree_v2(taken), "CUDA does not give memory, or take it back")
    require("does not work here" in said or said.startswith("it ran"), said)
    images, expected = recorded(MODELS[0])
    with load(SHIPPED_DIR / MODELS[0], engine=engine) as model:
        require(excess(model.logits(images), expected) <= 0, "the numbers are wrong after it")
    return {"bytes": total.value, "said": said}


def benchmark(engine: str) -> Found:
    """Images per second compared with PyTorch eager and torch.compile: gpu.py with one model."""
    python = os.environ.get("TORCH_PYTHON")
    _needs_gpu(engine)
    if not python:
        raise Skipped("no --torch-python PATH given")
    out = tempfile.mkdtemp()
    command = [sys.executable, str(HERE / "gpu.py"), BENCHMARKED, "--engine", engine, "--torch-python", python]
    command += ["--batch-size", "1", "--batch-size", "32", "--minutes", "8", "--out", out]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=HERE.parent)
    require(done.returncode == 0, f"exit code {done.returncode}: {done.stdout[-2000:]} {done.stderr[-2000:]}")
    return {"table": done.stdout}


def build(engine: str) -> Found:
    """The build time of a TensorRT engine, whose fp32 must be exact."""
    return _opened("tensorrt", engine, building=True)


def second(engine: str) -> Found:
    """The second start uses the engine built by the first one, and does not change the cache."""
    return _opened("tensorrt", engine, building=False)


def _opened(name: str, engine: str, *, building: bool) -> Found:
    _needs_gpu(engine)
    cache = EngineOptions().cache_folder
    before = {path: path.stat().st_mtime_ns for path in cache.rglob("*") if path.is_file()}
    images, expected = recorded(MODELS[1])
    started = time.perf_counter()
    try:
        with load(SHIPPED_DIR / MODELS[1], engine=name, batch_size=8) as model:
            seconds = time.perf_counter() - started
            beyond = excess(model.logits(images), expected)
            info = model.engine
    except OnnxzooError as error:
        if "did not load" in str(error):
            raise Skipped(str(error)) from error
        raise
    require(beyond <= 0, f"{beyond} beyond the tolerance")
    after = {path: path.stat().st_mtime_ns for path in cache.rglob("*") if path.is_file()}
    require(building or (before and after == before), "the cache was changed")
    sizes = {path.name: path.stat().st_size for path in after if path.suffix == ".engine"}
    return {"seconds": round(seconds, 2), "nodes": dict(info.nodes), "version": info.version, "engines": sizes}


def _needs_gpu(engine: str) -> None:
    if engine.partition(":")[0] not in ON_GPU:
        raise Skipped(f"{engine} is no engine of NVIDIA's GPUs")


def _child(step: str, engine: str, variables: dict[str, str]) -> Any:
    """Run a step in its own process with these environment variables; "" removes a variable."""
    environment = {key: value for key, value in (os.environ | variables).items() if value or key not in variables}
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "answer.json"
        command = [sys.executable, __file__, step, "--engine", engine, "--answer", str(answer)]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, check=False, env=environment, timeout=LIMIT_S
            )
        except subprocess.TimeoutExpired:
            raise FailedError(f"no answer in {LIMIT_S:.0f} s") from None
        if not answer.is_file():
            raise FailedError(f"exit code {done.returncode}: {done.stderr.strip()[-3000:]}")
        found = json.loads(answer.read_text(encoding="utf-8"))
    if "skipped" in found:
        raise Skipped(found["skipped"])
    return found["found"]


STEPS: dict[str, Callable[[str], Found]] = {
    "proof": proof, "tests": tests, "tf32": tf32, "threads": threads, "fork": fork, "device": device,
    "memory": memory, "benchmark": benchmark, "build": build, "second": second,
}  # fmt: skip


def main() -> int:
    """Run the steps, each in its own process, or inside such a process the step."""
    parser = argparse.ArgumentParser(description="The ten first things to run when a GPU is at hand.")
    parser.add_argument("steps", nargs="*", metavar="STEP", help=f"default all: {', '.join(STEPS)}")
    parser.add_argument(
        "--engine", default="cuda", metavar="NAME", help="for all steps except the last two (default cuda)"
    )
    parser.add_argument("--torch-python", metavar="PATH", help="a Python that has torch and transformers")
    parser.add_argument("--out", type=Path, default=HERE / "results", metavar="DIR")
    parser.add_argument("--answer", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.answer:
        return answered(options.steps[0], options.engine, options.answer)
    unknown = [name for name in options.steps if name not in STEPS]
    if unknown:
        parser.error(f"unknown steps: {', '.join(unknown)}; there are {', '.join(STEPS)}")
    fault = nvidia.driver_fault() if options.engine.partition(":")[0] in ON_GPU else None
    if fault:
        print(f"error: {fault}; {nvidia.INSTALL_DRIVER}", file=sys.stderr)
        return 3
    file, failed = options.out / "gpu_first_hour.json", False
    results: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    variables = {"TORCH_PYTHON": options.torch_python} if options.torch_python else {}
    for name in options.steps or STEPS:
        started = time.monotonic()
        try:
            outcome, said = "ok", _child(name, options.engine, variables)
        except Skipped as reason:
            outcome, said = "skipped", str(reason)
        except FailedError as error:
            outcome, said, failed = "FAILED", str(error), True
        took = time.monotonic() - started
        print(f"{name}: {outcome}, {took:.1f} s: {said if isinstance(said, str) else json.dumps(said)}", flush=True)
        results[name] = {"engine": options.engine, "outcome": outcome, "seconds": round(took, 1), "found": said}
        options.out.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(results, indent=2), encoding="utf-8")
    return 1 if failed else 0


def answered(step: str, engine: str, answer: Path) -> int:
    """Run a step in this process and write its results."""
    try:
        found = {"found": {**STEPS, "digest": digest}[step](engine)}
    except Skipped as reason:
        found = {"skipped": str(reason)}
    answer.write_text(json.dumps(found), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
