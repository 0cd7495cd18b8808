"""One look at the real packages in a process of its own, for `test_gpu_wheels.py`: prints JSON as its last line.

    python gpu_wheels_child.py QUESTION DETAILS.json

DETAILS has `model`, an ONNX file; `driver` and `tensorrt`, stub libraries to load first; and what a question needs.
"""

from __future__ import annotations

import ctypes
import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

from onnxzoo.engines import create_engine, nvidia, nvidia_loading
from onnxzoo.engines.onnxruntime_library import quiet
from onnxzoo.errors import OnnxzooError

TENSORRT = "TensorrtExecutionProvider"


def parse(details: dict[str, Any]) -> list[str]:
    """What the real parsers say to each of `options`, pairs of provider and settings, in sessions that cannot run."""
    import onnxruntime

    nvidia_loading.missing(nvidia_loading.cuda_libraries(13))
    said = []
    for provider, settings in details["options"]:
        try:
            with quiet(onnxruntime):
                onnxruntime.InferenceSession(details["model"], providers=[(provider, settings)], enable_fallback=0)
            said.append("a session was opened")
        except Exception as error:  # noqa: BLE001 - it is the answer
            said.append(f"{type(error).__name__}: {error}")
    return said


def engines(details: dict[str, Any]) -> dict[str, str]:
    """What each of `engines` says on this machine."""
    said = {}
    for name in details["engines"]:
        try:
            said[name] = f"works: {create_engine(name, Path(details['model'])).info}"
        except OnnxzooError as error:
            said[name] = f"{type(error).__name__}: {error}"
    return said


def plugin(details: dict[str, Any]) -> dict[str, Any]:
    """Whether the plugin registers, with CUDA's runtime loaded from its folder (`carried`) or not."""
    import onnxruntime

    from onnxzoo.engines import onnxruntime_tensorrt_rtx as rtx

    package = rtx._plugin(onnxruntime)
    if not details["carried"]:
        nvidia_loading.load_carried = lambda library, name: None  # type: ignore[assignment]
    try:
        rtx._register(onnxruntime, package)
        fault = None
    except OnnxzooError as error:
        fault = str(error)
    loaded = {Path(line.split()[-1]).name for line in Path("/proc/self/maps").read_text().splitlines() if "/" in line}
    devices = [device.ep_name for device in onnxruntime.get_ep_devices()]
    return {
        "fault": fault,
        "libraries": sorted(name for name in loaded if "cudart" in name or "rtx" in name),
        "devices": devices,
        "in use": nvidia.cuda_is_loaded(),
        "runtime": nvidia_loading.runtime_version(13),
    }


def libraries(details: dict[str, Any]) -> dict[str, Any]:
    """Which of CUDA's libraries load from the packages."""
    names = nvidia_loading.cuda_libraries(13)
    return {
        "missing": nvidia_loading.missing(names),
        "optional": nvidia_loading.missing(nvidia_loading.optional_libraries(13)),
        "runtime": nvidia_loading.runtime_version(13),
    }


def main() -> None:
    """Answer the question."""
    question, file = sys.argv[1:]
    details = json.loads(Path(file).read_text())
    for library in (*details.get("driver", ()), *details.get("tensorrt", ())):
        ctypes.CDLL(library)
    if "gpu" in details:  # one that is pretended
        nvidia.DRIVER_LIBRARY = details["driver"][0]
        nvidia.DEVICE_FOLDER = Path(details["dev"])
        nvidia.driver_version = lambda: "580.65.06"  # type: ignore[assignment]
        found = nvidia.Gpu(
            **{key: tuple(value) if isinstance(value, list) else value for key, value in details["gpu"].items()}
        )
        nvidia.gpu = lambda index=0: dataclasses.replace(found, index=index)  # type: ignore[assignment]
    answer = {"parse": parse, "engines": engines, "plugin": plugin, "libraries": libraries}[question](details)
    print("\n" + json.dumps(answer))


if __name__ == "__main__":
    main()
