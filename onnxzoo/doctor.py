"""Finds out which engines work on this machine, and how to fix the others: `onnxzoo doctor`.

Everything that could crash or hang runs in a child process with a time limit (`onnxzoo.doctor_probe`, run by
`onnxzoo.doctor_children`): importing a library, loading a driver, running a model. A crash there is a line in the
diagnosis. This module imports only the standard library, and modules that import nothing else.
"""

from __future__ import annotations

import contextlib
import os
import platform
import re
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from .cpu import Cpu, cpu, implied_precisions
from .doctor_children import AUTO, Children
from .errors import InputError, one_line
from .files import cache_dir, cache_fault, nearest_existing
from .network import environment_fault, opener, through_proxy
from .packages import ONNXRUNTIME_PACKAGES

PACKAGES = (
    "onnxzoo", "numpy", "pillow", "openvino", *ONNXRUNTIME_PACKAGES,
    "tensorrt", "tensorrt-cu12", "tensorrt-cu13", "tensorrt-cu12-libs", "tensorrt-cu13-libs",
    "onnxruntime-ep-nv-tensorrt-rtx-cu13", "nvidia-cudnn-cu12", "nvidia-cudnn-cu13", "nvidia-cublas",
    "nvidia-cuda-runtime", "huggingface-hub", "click", "tqdm", "paddlepaddle", "paddle2onnx", "onnx", "onnxsim",
)  # fmt: skip
# This is not taken from onnxzoo.engines, which imports numpy, as numpy may be broken.
ENGINES = ("openvino", "onnxruntime", "cuda", "tensorrt", "tensorrt-rtx")
TIMEOUT_S = 60.0
# TensorRT first builds its engine.
BUILD_TIMEOUT_S = 600.0
HUB = "https://huggingface.co"
HUB_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Package:
    """A relevant package. `version`: None if it is not installed; `fault`: why its metadata cannot be read."""

    name: str
    version: str | None
    fault: str | None = None


@dataclass(frozen=True, slots=True)
class Library:
    """A shared library. `fault`: the system's message if it cannot be loaded, else None."""

    name: str
    fault: str | None


@dataclass(frozen=True, slots=True)
class Nvidia:
    """NVIDIA's driver version, GPUs, why no GPU can be used, and the libraries for this CUDA version."""

    driver: str | None
    fault: str | None
    gpus: tuple[str, ...]
    cuda: str | None
    libraries: tuple[Library, ...]


@dataclass(frozen=True, slots=True)
class Device:
    """A device of OpenVINO. `capabilities`: OpenVINO's names, such as BF16."""

    name: str
    description: str
    capabilities: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder of the cache. `bytes` and `files` are 0 if it does not exist; `fault`: why it or a part cannot be read.

    `path` is only its name if there is no cache folder.
    """

    name: str
    path: str
    exists: bool
    files: int
    bytes: int
    writable: bool
    fault: str | None


@dataclass(frozen=True, slots=True)
class EngineCheck:
    """An engine, tested on a shipped model: `works` if its outputs were correct, else `reason` says why not.

    The `reason` of `auto` is always that of its choice. `max_difference`: from the reference's recorded outputs.
    """

    name: str
    works: bool
    reason: str
    device: str | None = None
    precision: str | None = None
    version: str | None = None
    load_s: float | None = None
    run_ms: float | None = None
    max_difference: float | None = None


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """The whole diagnosis. `faults`: faults of the installation as a whole, with the command that fixes them.

    `precisions`: precisions in which the processor is faster than in fp32. `auto`: the engine that `auto` selects.
    `hub`: whether the Hugging Face Hub was reached, or why not; None if not requested.
    """

    onnxzoo: str
    python: str
    executable: str
    platform: str
    packages: tuple[Package, ...]
    faults: tuple[str, ...]
    cpu: Cpu
    precisions: tuple[str, ...]
    nvidia: Nvidia
    openvino_devices: tuple[Device, ...]
    openvino_fault: str | None
    caches: tuple[Folder, ...]
    environment: dict[str, str]
    engines: tuple[EngineCheck, ...]
    auto: EngineCheck
    hub: str | None

    @property
    def works(self) -> bool:
        """Whether at least one engine works."""
        return any(engine.works for engine in self.engines)


def diagnose(*, hub: bool = False, timeout_s: float = TIMEOUT_S, not_the_users: Collection[str] = ()) -> Diagnosis:
    """Make the diagnosis; faults of the machine never raise an error.

    `hub`: also try to reach the Hugging Face Hub. `timeout_s`: for one child process; engines that are built first get
    at least ten minutes. `not_the_users`: environment variables to leave out, because the caller set them.
    """
    packages = tuple(_package(name) for name in PACKAGES)
    # Two at a time, as they import large libraries, and more would slow down all of them.
    with ThreadPoolExecutor(2) as pool, Children() as children:
        asked = [pool.submit(_check_engine, children, name, timeout_s) for name in (*ENGINES, AUTO)]
        openvino = pool.submit(children.ask, "openvino", timeout_s)
        nvidia = pool.submit(children.ask, "nvidia", timeout_s)
        # All results are awaited inside the block, so that an interruption kills the children.
        *engines, auto = (each.result() for each in asked)
        devices, openvino_fault = openvino.result()
        nvidia_answer = nvidia.result()
    processor = cpu()
    return Diagnosis(
        onnxzoo=next(package.version for package in packages if package.name == "onnxzoo") or "unknown",
        python=platform.python_version(),
        executable=sys.executable,
        platform=platform.platform(),
        packages=packages,
        faults=tuple(_faults(packages)),
        cpu=processor,
        precisions=implied_precisions(processor.instruction_sets or ()),
        nvidia=_nvidia(*nvidia_answer),
        openvino_devices=tuple(
            Device(each["name"], each["description"], tuple(each["capabilities"]))
            for each in devices.get("devices", ())
        ),
        openvino_fault=openvino_fault or devices.get("fault"),
        caches=_caches(),
        environment={
            name: _without_password(value)
            for name, value in sorted(os.environ.items())
            if _matters(name) and name not in not_the_users
        },
        engines=tuple(engines),
        auto=auto,
        hub=_hub() if hub else None,
    )


def _package(name: str) -> Package:
    try:
        version = metadata.version(name)
        if isinstance(version, str):  # None if the file has no such line
            return Package(name, version)
        cause = "it names no version"
    except metadata.PackageNotFoundError:
        return Package(name, None)
    except Exception as error:  # noqa: BLE001 - damaged metadata fails in every way
        cause = one_line(error)
    return Package(name, None, f"its metadata cannot be read ({cause}); pip install --force-reinstall {name}")


def _faults(packages: tuple[Package, ...]) -> list[str]:
    found = [f"{package.name}: {package.fault}" for package in packages if package.fault]
    both = [package for package in packages if package.name in ONNXRUNTIME_PACKAGES and package.version]
    if len(both) > 1:
        names = [package.name for package in both]
        listed = " and ".join(f"{package.name} {package.version}" for package in both)
        keep = "'onnxzoo[gpu]'" if "onnxruntime-gpu" in names else names[-1]
        found.insert(
            0,
            f"{listed} are installed together and overwrite each other's files, whichever came last: "
            f"pip uninstall -y {' '.join(names)} && pip install {keep}",
        )
    return found


def _matters(name: str) -> bool:
    secret = any(word in name for word in ("TOKEN", "KEY", "SECRET", "PASS"))
    return name.startswith(("ONNXZOO_", "CUDA_", "NVIDIA_", "ORT_", "OPENVINO_", "HF_")) and not secret


def _without_password(url: str) -> str:
    """The text without the user name and password of a URL in it."""
    return re.sub(r"(?<=://)[^/\s]*@", "", url)


def _check_engine(children: Children, name: str, timeout_s: float) -> EngineCheck:
    limit_s = max(timeout_s, BUILD_TIMEOUT_S) if name.startswith("tensorrt") else timeout_s
    found, fault = children.ask(name, limit_s, "engine")
    if fault is not None:
        return EngineCheck(name, False, fault)
    try:
        return EngineCheck(name=name, **found)
    except TypeError as error:
        return EngineCheck(name, False, f"the check gave no answer ({one_line(error)})")


def _nvidia(found: dict[str, Any], fault: str | None) -> Nvidia:
    libraries = tuple(Library(name, message) for name, message in found.get("libraries", {}).items())
    gpus = tuple(found.get("gpus", ()))
    return Nvidia(found.get("driver"), fault or found.get("fault"), gpus, found.get("cuda"), libraries)


def _caches() -> tuple[Folder, ...]:
    names = ("models", "checkpoints", "engines")
    fault = cache_fault()
    root = Path()
    with contextlib.suppress(InputError):  # `fault` has the reason
        root = cache_dir()
    if fault is not None:
        return tuple(Folder(name, str(root / name), False, 0, 0, False, fault) for name in names)
    return tuple(_folder(name, root / name) for name in names)


def _folder(name: str, path: Path) -> Folder:
    faults: list[str] = []
    count = size = 0

    def noted(error: OSError) -> None:
        faults.append(one_line(error))

    exists = os.path.lexists(path)
    for parent, _, files in os.walk(path, onerror=noted if exists else None):
        for file in files:
            try:
                size += os.lstat(os.path.join(parent, file)).st_size  # noqa: PTH118
                count += 1
            except OSError as error:
                noted(error)
    nearest = nearest_existing(path)
    return Folder(
        name, str(path), exists, count, size, os.access(nearest, os.W_OK | os.X_OK), faults[0] if faults else None
    )


def _hub() -> str:
    # No message may contain a password; the request works without one.
    endpoint = _without_password(os.environ.get("HF_ENDPOINT") or HUB)
    started = time.monotonic()
    try:
        request = urllib.request.Request(endpoint, method="HEAD", headers={"User-Agent": "onnxzoo"})  # noqa: S310
        with opener().open(request, timeout=HUB_TIMEOUT_S) as reply:
            status = reply.status
    except urllib.error.HTTPError as error:
        status = error.code
    except Exception as error:  # noqa: BLE001 - proxies and certificates fail in every way
        reason = getattr(error, "reason", error)
        fault = environment_fault(error, url=endpoint)
        if fault:
            return f"{endpoint} cannot be reached: {fault}"
        through = through_proxy(endpoint)
        fix = "check the proxy" if through else "behind a proxy set HTTPS_PROXY, for a mirror HF_ENDPOINT"
        return f"{endpoint} cannot be reached{through}: {one_line(reason)}; {fix}"
    return f"{endpoint} answers ({status}, {time.monotonic() - started:.1f} s)"
