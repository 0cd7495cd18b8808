"""OpenVINO's devices: which is meant, what it can compute, and the settings that models are compiled with for it."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any, Self

from ..cpu import available_cores
from ..errors import EngineUnavailableError
from ..precisions import AUTO_PRECISION, BF16, FP16, FP32, INT8
from .options import EngineOptions

CPU = "CPU"
# Names of devices that stand for others, such as AUTO:GPU,CPU.
COMBINING = ("AUTO", "MULTI", "HETERO")
# Devices that take long to compile for: what they made is kept without asking.
SLOW_TO_COMPILE = ("GPU", "NPU")
# fp32 means fp32: on CPUs with AVX512-BF16 or AMX, OpenVINO's own choice is bf16. What an int8 graph does not quantize
# stays in fp32.
ARITHMETIC = {FP32: "f32", FP16: "f16", BF16: "bf16", INT8: "f32"}
# What the device must name among its capabilities.
CAPABILITIES = {FP32: "FP32", FP16: "FP16", BF16: "BF16", INT8: "INT8"}
# What a device needs that OpenVINO does not bring.
CURES = {
    "GPU": "; an Intel GPU needs its driver (intel-opencl-icd) and access to /dev/dri (group render)",
    "NPU": "; an Intel NPU needs its driver (intel-driver-compiler-npu, intel-level-zero-npu)",
}


@dataclass(frozen=True, slots=True)
class Device:
    """A device that is here. `name`: in capitals, as OpenVINO names it. `capabilities`: none for those that stand for
    others.
    """

    core: Any
    name: str
    capabilities: tuple[str, ...]

    @classmethod
    def find(cls, core: Any, name: str) -> Self:
        """The device of this name in any case. Raises EngineUnavailableError when it is not here."""
        if name.upper() == CPU:
            # Listing all devices loads every plug-in, which ask the drivers of GPUs and NPUs: only where it is missing.
            with contextlib.suppress(RuntimeError):
                return cls(core, CPU, _capabilities(core, CPU))
        found = _checked_device(core, name)
        return cls(core, found, () if _base(found) in COMBINING else _capabilities(core, found))

    @property
    def full_name(self) -> str:
        """What the device is, such as the processor's name."""
        if _base(self.name) in COMBINING:
            return self.name
        return str(self.core.get_property(self.name, "FULL_DEVICE_NAME"))

    @property
    def drivers(self) -> str:
        """Versions of the drivers of a GPU or NPU, or of all that may be meant; "" where there are none to tell."""
        names = self.core.available_devices if _base(self.name) in COMBINING else [self.name]
        found = []
        for name in map(str, names):
            if (base := _base(name)) in SLOW_TO_COMPILE:
                with contextlib.suppress(Exception):  # devices differ in the properties they have
                    found.append(f"{name} {self.core.get_property(name, f'{base}_DRIVER_VERSION')}")
        return ", ".join(found)

    @property
    def exports(self) -> bool:
        """Whether what was compiled for it can be kept."""
        return "EXPORT_IMPORT" in self.capabilities

    @property
    def slow_to_compile(self) -> bool:
        """Whether what was compiled for it is kept without asking."""
        return _base(self.name) in SLOW_TO_COMPILE

    def arithmetic(self, precision: str, file_precision: str) -> str:
        """The precision computed in where `precision` is asked for: a CPU without arithmetic of 16 bits computes
        an fp16 file in fp32, as ONNX Runtime does.
        """
        widens = precision == file_precision == FP16 and _base(self.name) == CPU
        return FP32 if widens and CAPABILITIES[FP16] not in self.capabilities else precision

    def settings(self, options: EngineOptions, arithmetic: str) -> dict[str, Any]:
        """What OpenVINO is told when it compiles; `arithmetic`: as the method of this name says."""
        base = _base(self.name)
        settings: dict[str, Any] = {"PERFORMANCE_HINT": options.hint.upper()}
        if options.precision != AUTO_PRECISION:
            settings["INFERENCE_PRECISION_HINT"] = ARITHMETIC[arithmetic]
        if base == CPU or base in COMBINING:
            settings["INFERENCE_NUM_THREADS"] = options.cpu_threads
        if base == CPU and options.cpu_threads < available_cores():
            # Else it binds its threads to the first cores, as every such process does: all containers of a machine
            # would share core 0.
            settings["ENABLE_CPU_PINNING"] = False
        if base == "AUTO":
            # Else it begins on the CPU while it compiles for the device it names.
            settings["ENABLE_STARTUP_FALLBACK"] = False
        if self.name == "AUTO":
            # Else it goes to another device when that fails. With AUTO:CPU, OpenVINO then finds none.
            settings["ENABLE_RUNTIME_FALLBACK"] = False
        return settings

    def check_precision(self, precision: str) -> None:
        """Refuse what the device would replace by something else: a CPU takes the hint f16 and computes in bf16.

        Raises EngineUnavailableError.
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
        """How many requests the device can work on at a time, at most; `threads`: of the CPU, for one run."""
        try:
            most = max(1, int(self.core.get_property(self.name, "RANGE_FOR_STREAMS")[1]))
        except Exception:  # noqa: BLE001 - devices differ in the properties they have
            return 1
        return min(most, threads) if _base(self.name) == CPU else most


def _base(name: str) -> str:
    """CPU of CPU, GPU of GPU.1, AUTO of AUTO:GPU,CPU."""
    return name.partition(":")[0].partition(".")[0]


def _capabilities(core: Any, device: str) -> tuple[str, ...]:
    return tuple(str(capability) for capability in core.get_property(device, "OPTIMIZATION_CAPABILITIES"))


def _checked_device(core: Any, device: str) -> str:
    """The device's name in capitals; the devices behind AUTO:GPU,CPU are looked for as well."""
    name = device.upper()
    base, _, members = name.partition(":")
    wanted = [member.partition("(")[0] for member in members.split(",") if member] if base in COMBINING else [base]
    available = [str(found) for found in core.available_devices]
    for each in wanted:
        # With two GPUs they are GPU.0 and GPU.1, and GPU is the first.
        if each not in available and not any(found.partition(".")[0] == each for found in available):
            raise EngineUnavailableError(
                f"openvino finds no device {each} here; it has {', '.join(available) or 'none'}"
                f"{CURES.get(each.partition('.')[0], '')}"
            )
    return name
