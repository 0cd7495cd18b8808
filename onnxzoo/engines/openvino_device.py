"""OpenVINO's devices: finding the requested one, its capabilities, and its settings for compiling models."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any, Self

from ..cpu import available_cores
from ..errors import EngineUnavailableError
from ..precisions import AUTO_PRECISION, BF16, FP16, FP32, INT8
from .options import EngineOptions

CPU = "CPU"
# Names of virtual devices that use others, such as AUTO:GPU,CPU.
COMBINING = ("AUTO", "MULTI", "HETERO")
# Devices for which compiling is slow, so that compiled models are always cached.
SLOW_TO_COMPILE = ("GPU", "NPU")
# fp32 means fp32, although OpenVINO's default is bf16 on CPUs with AVX512-BF16 or AMX. The parts of an int8 graph that
# are not quantised stay in fp32.
ARITHMETIC = {FP32: "f32", FP16: "f16", BF16: "bf16", INT8: "f32"}
# The capability that the device must report.
CAPABILITIES = {FP32: "FP32", FP16: "FP16", BF16: "BF16", INT8: "INT8"}
# Requirements of a device that OpenVINO does not install.
CURES = {
    "GPU": "; an Intel GPU needs its driver (intel-opencl-icd) and access to /dev/dri (group render)",
    "NPU": "; an Intel NPU needs its driver (intel-driver-compiler-npu, intel-level-zero-npu)",
}


@dataclass(frozen=True, slots=True)
class Device:
    """An available device. `name`: OpenVINO's name, in capitals. `capabilities`: empty for virtual devices."""

    core: Any
    name: str
    capabilities: tuple[str, ...]

    @classmethod
    def find(cls, core: Any, name: str) -> Self:
        """The device of this name, ignoring case. Raises EngineUnavailableError if it is not available."""
        if name.upper() == CPU:
            # Listing all devices loads every plug-in, which query the drivers of GPUs and NPUs, so it is done only if
            # the device is missing.
            with contextlib.suppress(RuntimeError):
                return cls(core, CPU, _capabilities(core, CPU))
        found = _checked_device(core, name)
        return cls(core, found, () if _base(found) in COMBINING else _capabilities(core, found))

    @property
    def full_name(self) -> str:
        """The device's description, such as the processor's name."""
        if _base(self.name) in COMBINING:
            return self.name
        return str(self.core.get_property(self.name, "FULL_DEVICE_NAME"))

    @property
    def drivers(self) -> str:
        """Driver versions of a GPU or NPU, or of all possible devices; "" if there are none."""
        names = self.core.available_devices if _base(self.name) in COMBINING else [self.name]
        found = []
        for name in map(str, names):
            if (base := _base(name)) in SLOW_TO_COMPILE:
                with contextlib.suppress(Exception):  # devices differ in the properties they have
                    found.append(f"{name} {self.core.get_property(name, f'{base}_DRIVER_VERSION')}")
        return ", ".join(found)

    @property
    def exports(self) -> bool:
        """Whether models compiled for it can be saved."""
        return "EXPORT_IMPORT" in self.capabilities

    @property
    def slow_to_compile(self) -> bool:
        """Whether models compiled for it are always cached."""
        return _base(self.name) in SLOW_TO_COMPILE

    def arithmetic(self, precision: str, file_precision: str) -> str:
        """The actual precision for the requested `precision`.

        A CPU without 16-bit arithmetic computes an fp16 file in fp32, as ONNX Runtime does. With `auto`, a CPU computes
        an int8 file as it was validated: the parts that are not quantized in fp32, and not in bf16.
        """
        if _base(self.name) != CPU:
            return precision
        if precision == AUTO_PRECISION and file_precision == INT8:
            return INT8
        widens = precision == file_precision == FP16
        return FP32 if widens and CAPABILITIES[FP16] not in self.capabilities else precision

    def settings(self, options: EngineOptions, arithmetic: str) -> dict[str, Any]:
        """OpenVINO's settings for compiling; `arithmetic`: the result of the method of this name."""
        base = _base(self.name)
        settings: dict[str, Any] = {"PERFORMANCE_HINT": options.hint.upper()}
        if arithmetic != AUTO_PRECISION:
            settings["INFERENCE_PRECISION_HINT"] = ARITHMETIC[arithmetic]
        if base == CPU or base in COMBINING:
            settings["INFERENCE_NUM_THREADS"] = options.cpu_threads
        if base == CPU and options.cpu_threads < available_cores():
            # Otherwise every process would bind its threads to the first cores, and all containers of a machine would
            # share core 0.
            settings["ENABLE_CPU_PINNING"] = False
        if base == "AUTO":
            # Otherwise it would start on the CPU while it compiles for the requested device.
            settings["ENABLE_STARTUP_FALLBACK"] = False
        if self.name == "AUTO":
            # Otherwise it would use another device after a failure. With AUTO:CPU, OpenVINO would then find none.
            settings["ENABLE_RUNTIME_FALLBACK"] = False
        return settings

    def check_precision(self, precision: str) -> None:
        """Raise EngineUnavailableError if the device would compute in another precision.

        For example, a CPU accepts the hint f16 and computes in bf16.
        """
        needed = CAPABILITIES.get(precision)
        if needed is None or not self.capabilities or needed in self.capabilities:
            return
        offered = [name for name, capability in CAPABILITIES.items() if capability in self.capabilities]
        message = (
            f"openvino's {self.name} ({self.full_name}) does not compute in {precision}; it has {', '.join(offered)}"
        )
        if precision == FP16 and _base(self.name) == CPU:
            message += f"; an {FP16} file runs there, in {FP32}: make one with onnxzoo quantize --precision {FP16}"
        raise EngineUnavailableError(message)

    def most_streams(self, threads: int) -> int:
        """Maximum number of requests that the device can process at a time; `threads`: of the CPU, for one run."""
        try:
            most = max(1, int(self.core.get_property(self.name, "RANGE_FOR_STREAMS")[1]))
        except Exception:  # noqa: BLE001 - devices differ in the properties they have
            return 1
        return min(most, threads) if _base(self.name) == CPU else most


def _base(name: str) -> str:
    """The base name of a device: CPU for CPU, GPU for GPU.1, AUTO for AUTO:GPU,CPU."""
    return name.partition(":")[0].partition(".")[0]


def _capabilities(core: Any, device: str) -> tuple[str, ...]:
    return tuple(str(capability) for capability in core.get_property(device, "OPTIMIZATION_CAPABILITIES"))


def _checked_device(core: Any, device: str) -> str:
    """The device's name in capitals, after checking that it, and the devices in AUTO:GPU,CPU, are available."""
    name = device.upper()
    base, _, members = name.partition(":")
    wanted = [member.partition("(")[0] for member in members.split(",") if member] if base in COMBINING else [base]
    available = [str(found) for found in core.available_devices]
    for each in wanted:
        # Two GPUs are named GPU.0 and GPU.1, and GPU is the first.
        if each not in available and not any(found.partition(".")[0] == each for found in available):
            raise EngineUnavailableError(
                f"openvino finds no device {each} here; it has {', '.join(available) or 'none'}"
                f"{CURES.get(each.partition('.')[0], '')}"
            )
    return name
