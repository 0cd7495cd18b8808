"""The child processes of `onnxzoo.doctor`: one question each.

    python -P -m onnxzoo.doctor_probe ANSWER.json openvino | nvidia | engine NAME

writes the answer as JSON. Faults are part of the answer; if the process is killed, there is none.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def openvino() -> dict[str, Any]:
    """OpenVINO's devices: name, description, capabilities."""
    from .engines.openvino import devices

    return {"devices": devices()}


def nvidia() -> dict[str, Any]:
    """Driver, GPUs, and the libraries with their errors."""
    from .engines import nvidia as found
    from .engines import nvidia_loading as libraries
    from .engines.onnxruntime_cuda import DEFAULT_CUDA, cuda_version
    from .engines.onnxruntime_library import import_onnxruntime
    from .engines.onnxruntime_tensorrt import DEFAULT_MAJOR, needed_major

    answer: dict[str, Any] = {"driver": found.driver_version(), "fault": found.driver_fault(), "gpus": []}
    try:
        module = import_onnxruntime("")
        cuda, tensorrt = cuda_version(module)[0], needed_major(module)
    except Exception:  # noqa: BLE001 - then for the versions that an installation would bring
        cuda, tensorrt = int(DEFAULT_CUDA.partition(".")[0]), DEFAULT_MAJOR
    names = (*libraries.cuda_libraries(cuda), f"libnvinfer.so.{tensorrt}", f"libnvonnxparser.so.{tensorrt}")
    missing = libraries.missing(names)
    answer |= {"cuda": str(cuda), "libraries": {name: missing.get(name) for name in names}}
    if answer["fault"] is None:
        try:
            first = found.gpu(0)
            capability = ".".join(map(str, first.capability))
            answer["gpus"].append(f"{first.device}, compute capability {capability}, CUDA up to {first.cuda}")
        except Exception as error:  # noqa: BLE001
            answer["fault"] = str(error)
    return answer


def engine(name: str) -> dict[str, Any]:
    """Test whether this engine runs the smallest shipped model with the reference's recorded outputs."""
    import numpy as np

    from .artifact.folder import CONFORMANCE_FILE, INPUT_NAME
    from .comparison.tolerances import DEFAULT_TOLERANCE
    from .errors import OnnxzooError
    from .hub import shipped_models
    from .loading import load

    folder = min(shipped_models(), key=lambda each: (each / "onnx" / "model.onnx").stat().st_size)
    started = time.perf_counter()
    try:
        with load(folder, engine=name, verify=False) as model:  # it is verified below, each time
            load_s = time.perf_counter() - started
            with np.load(model.artifact.verified(CONFORMANCE_FILE), allow_pickle=False) as recorded:
                images, expected = recorded[INPUT_NAME], recorded["logits"]
            logits = model.logits(images)
            first = time.perf_counter()
            model.logits(images[:1])
            ran = time.perf_counter()
            info = model.engine
    except OnnxzooError as error:
        return {"works": False, "reason": str(error)}
    difference = float(np.abs(logits - expected).max())
    right = bool((np.abs(logits - expected) <= DEFAULT_TOLERANCE + DEFAULT_TOLERANCE * np.abs(expected)).all())
    return {
        "works": right,
        "reason": info.reason if right else f"its answers are wrong, by up to {difference:.2g}; do not use it",
        "device": info.device,
        "precision": info.precision,
        "version": info.version,
        "load_s": load_s,
        "run_ms": 1000 * (ran - first),
        "max_difference": difference,
    }


def main(arguments: list[str]) -> None:
    """Answer the question and write the answer."""
    target, question, *details = arguments
    try:
        questions: dict[str, Callable[..., dict[str, Any]]] = {"openvino": openvino, "nvidia": nvidia, "engine": engine}
        answer = questions[question](*details)
    except Exception as error:  # noqa: BLE001 - it is the answer
        text = f"{type(error).__name__}: {' '.join(str(error).split())}"
        answer = {"works": False, "reason": text} if question == "engine" else {"fault": text}
    Path(target).write_text(json.dumps(answer), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
