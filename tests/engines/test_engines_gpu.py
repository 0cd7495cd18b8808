"""On a real GPU: both shipped models on CUDA, TensorRT and TensorRT-RTX against their conformance vectors.

Every engine runs in a process of its own: TF32 is turned off for a whole process, before CUDA starts. Skipped where
there is no NVIDIA driver. An engine whose package is not installed, or that does not support this GPU, is skipped with
its message; one that should work and does not is a failure.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from onnxzoo.engines import nvidia

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.slow,
    pytest.mark.skipif(nvidia.driver_fault() is not None, reason=f"{nvidia.driver_fault()}"),
]

MODELS = ["pvt_v2_nano_fashion", "swinv2_nano_fashion"]
ENGINES = ["cuda", "tensorrt", "tensorrt-rtx"]
TOLERANCE = 1e-4

# What engines say where a package is absent, or TensorRT-RTX leaves this GPU to the others.
ABSENT = re.compile(
    r"is not installed|TensorRT \d+ is needed and did not load \(libnvinfer\S+: cannot open shared object file|"
    r"does not support cuda:\d"
)

# Runs one engine; prints JSON: what it is, per batch size the largest difference beyond the tolerance, and times.
CHILD = """
import dataclasses, json, sys, time
from pathlib import Path
import numpy as np
from onnxzoo.artifact.folder import INPUT_NAME
from onnxzoo.engines import create_engine
from onnxzoo.engines.options import EngineOptions
from onnxzoo.errors import EngineUnavailableError
folder, name, batch, precision = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4]
vectors = np.load(folder / "conformance.npz")
started = time.perf_counter()
try:
    engine = create_engine(name, folder / "onnx" / "model.onnx", EngineOptions(precision=precision, batch_size=batch))
except EngineUnavailableError as error:
    print(json.dumps({"unavailable": str(error)}))
    sys.exit()
ready = time.perf_counter() - started
images = np.resize(vectors[INPUT_NAME], (batch, *vectors[INPUT_NAME].shape[1:]))
outputs = engine.run({INPUT_NAME: images})
again = engine.run({INPUT_NAME: images})
excess, difference, top1 = 0.0, 0.0, True
for output in ("logits", "embedding"):
    expected = np.resize(vectors[output], outputs[output].shape)
    gap = np.abs(outputs[output] - expected)
    difference = max(difference, float(gap.max()))
    excess = max(excess, float((gap - 1e-4 - 1e-4 * np.abs(expected)).max()))
    assert np.array_equal(outputs[output], again[output]) or precision != "fp32"
    assert np.isfinite(outputs[output]).all()
top1 = bool((outputs["logits"].argmax(1) == np.resize(vectors["logits"], outputs["logits"].shape).argmax(1)).all())
one = engine.run({INPUT_NAME: images[:1]})
assert one["logits"].shape[0] == 1
print(json.dumps({"info": dataclasses.asdict(engine.info), "max_batch": engine.max_batch, "excess": excess,
                  "difference": difference, "top1": top1, "ready": ready}))
"""


def _run(model: str, engine: str, batch: int, cache: Path, precision: str = "fp32") -> dict[str, Any]:
    import onnxzoo

    folder = Path(onnxzoo.__file__).parent / "shipped" / model
    environment = {key: value for key, value in os.environ.items() if key != nvidia.TF32_VARIABLE}
    done = subprocess.run(
        [sys.executable, "-P", "-c", CHILD, str(folder), engine, str(batch), precision],
        capture_output=True,
        text=True,
        check=False,
        env=environment | {"ONNXZOO_CACHE": str(cache)},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    result: dict[str, Any] = json.loads(done.stdout)
    if ABSENT.search(result.get("unavailable", "")):
        pytest.skip(result["unavailable"])
    assert "unavailable" not in result, result
    return result


@pytest.mark.parametrize("batch", [1, 8, 32])
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("model", MODELS)
def test_fp32_meets_the_tolerance_at_every_batch_size(model, engine, batch, cache, record_property):
    result = _run(model, engine, batch, cache)
    assert result["excess"] <= 0, f"differs by {result['difference']:.2g}"
    assert result["top1"]
    info = result["info"]
    assert (info["name"], info["precision"]) == (engine, "fp32")
    assert info["device"].startswith("cuda:0 ")
    assert sum(info["nodes"].values()) > 0
    assert result["max_batch"] == batch
    record_property("difference", result["difference"])
    record_property("seconds until ready", result["ready"])


@pytest.mark.parametrize("engine", ["tensorrt", "tensorrt-rtx"])
def test_the_second_start_finds_what_the_first_built(engine, cache, record_property):
    first = _run(MODELS[0], engine, 8, cache)
    manifests = list(cache.rglob("manifest.json"))
    written = [path.stat().st_mtime_ns for path in manifests]
    assert len(manifests) == 1
    second = _run(MODELS[0], engine, 8, cache)
    assert [path.stat().st_mtime_ns for path in manifests] == written
    assert second["excess"] <= 0
    record_property("seconds of first and second start", (first["ready"], second["ready"]))
    assert second["ready"] < first["ready"]


def test_auto_is_cuda_until_tensorrt_was_built(cache):
    assert _run(MODELS[0], "auto", 8, cache)["info"]["name"] == "cuda"
    _run(MODELS[0], "tensorrt", 8, cache)
    assert _run(MODELS[0], "auto", 8, cache)["info"]["name"] == "tensorrt"


@pytest.mark.parametrize("engine", ["cuda", "tensorrt"])
def test_precision_auto_is_stated_and_keeps_the_best_class(engine, cache):
    result = _run(MODELS[0], engine, 8, cache, "auto")
    assert result["info"]["precision"] in ({"tf32", "fp32"} if engine == "cuda" else {"fp16"})
    assert result["top1"]
