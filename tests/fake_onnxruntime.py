"""An onnxruntime without the library: it computes the tiny model in numpy and misbehaves as the real one does.

What it is strict about was seen in onnxruntime-gpu 1.31.1 and in the plugin 0.5.0: options (`provider_parsers`), the
logger, TensorRT's libraries before its options, the names of files in the cache, the order of the plugin's devices.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

from provider_parsers import OPTIONS, parse
from tiny import SIZE, tiny_outputs

from onnxzoo.artifact.folder import INPUT_NAME
from onnxzoo.engines import nvidia, nvidia_loading

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
TENSORRT = "TensorrtExecutionProvider"
RTX = "NvTensorRTRTXExecutionProvider"
COREML = "CoreMLExecutionProvider"
GPU_ENGINES = ["cuda", "tensorrt", "tensorrt-rtx"]
PROVIDERS = {"cuda": CUDA, "tensorrt": TENSORRT, "tensorrt-rtx": RTX}
FOLDER = "session.model_external_initializers_file_folder_path"
SIGNATURE = "/onnxruntime_src/onnxruntime/python/onnxruntime_pybind_state.cc:729 void onnxruntime::python::"
NO_TENSORRT = (
    " Please install TensorRT libraries as mentioned in the GPU requirements page, make sure they're in the PATH or "
    "LD_LIBRARY_PATH, and that your GPU is supported.\n"
)

# A GPU that all three engines support; the plugin's device is where it is.
L40S = nvidia.Gpu(0, "NVIDIA L40S", (8, 9), "580.65.06", (13, 0), bus=(0, 0x65, 0))


class FakeOnnxRuntime(ModuleType):
    """Put it into `sys.modules["onnxruntime"]`, change its attributes, and read what it was asked for.

    `falls_back`: every session silently runs on the CPU. `fails`: message of the exception that opening one raises.
    `fails_at`: batch size -> message of the exception that a run of it raises. `nodes`: nodes per provider; by default
    all ten on the first. `sessions`: those that were opened. `tensorrt`: whether TensorRT's libraries load. `buses`:
    the PCI bus ids of the plugin's devices, in its order; "" for a device without. `carried`: libraries that were
    loaded from the plugin's folder, without which it does not load.
    """

    def __init__(self, *providers: str, version: str = "1.31.1", cuda_version: str = "13.0") -> None:
        super().__init__("onnxruntime")
        self.__version__ = version
        self.__file__ = None
        self.cuda_version = cuda_version
        self.providers = [*providers, CPU]
        self.falls_back = False
        self.fails = ""
        self.fails_at: dict[int, str] = {}
        self.nodes: dict[str, int] | None = None
        self.sessions: list[Opened] = []
        self.builds = 0
        self.tensorrt = True
        self.buses = ["0000:65:00.0"]
        self.carried: list[str] = []
        self.severity = 2
        self.registered: list[tuple[str, str]] = []
        self.SessionOptions = FakeSessionOptions
        self.GraphOptimizationLevel = SimpleNamespace(ORT_DISABLE_ALL=0)

    def InferenceSession(  # noqa: N802 (the real name)
        self,
        model: str | bytes,
        options: FakeSessionOptions,
        providers: Sequence[tuple[str, dict[str, str]]] | None = None,
        enable_fallback: int = 1,
    ) -> FakeSession:
        assert enable_fallback == 0, "the real one would print to stdout and start again on the CPU"
        assert self.severity == 4, "the real one would print to stderr what is an exception, too"
        name = Path(model).name if isinstance(model, str) else ""
        if isinstance(model, str):
            Path(model).read_bytes()
        elif FOLDER in options.entries:
            name = "virtual_model.onnx"
        wanted = list(providers) if providers is not None else [(RTX, options.plugin_settings)]
        if any(provider == TENSORRT for provider, _ in wanted) and not self.tensorrt:
            raise RuntimeError(f"{SIGNATURE}RegisterTensorRTPluginsAsCustomOps(){NO_TENSORRT}")
        for provider, settings in wanted:
            assert provider in self.providers or provider == RTX
            if provider in OPTIONS:
                parse(provider, settings)
        if self.fails and wanted[0][0] != CPU:
            raise RuntimeError(self.fails)
        self.sessions.append(Opened(dict(wanted), options, name))
        return FakeSession(self, self.sessions[-1])

    def set_default_logger_severity(self, severity: int) -> None:
        self.severity = severity

    def get_available_providers(self) -> list[str]:
        return list(self.providers)

    def get_all_providers(self) -> list[str]:
        return [RTX, TENSORRT, CUDA, COREML, "DmlExecutionProvider", "QNNExecutionProvider", CPU]

    def get_ep_devices(self) -> list[SimpleNamespace]:
        """The plugin's devices in its own order, after the CPU, which has no place on the bus."""
        devices = [SimpleNamespace(ep_name=CPU, device=SimpleNamespace(metadata={}))]
        for bus in self.buses if self.registered else []:
            metadata = {"Discrete": "1", **({"pci_bus_id": bus} if bus else {})}
            devices.append(SimpleNamespace(ep_name=RTX, device=SimpleNamespace(metadata=metadata)))
        return devices

    def register_execution_provider_library(self, name: str, path: str) -> None:
        assert self.severity == 4, "the real one would print to stderr what is an exception, too"
        if self.fails.startswith("Failed to load library"):
            raise RuntimeError(self.fails)
        if "libcudart.so.13" not in self.carried:
            raise RuntimeError(
                f"Failed to load library {path} with error: libcudart.so.13: cannot open shared object file"
            )
        self.registered.append((name, path))


class FakeSessionOptions:
    def __init__(self) -> None:
        self.entries: dict[str, str] = {}
        self.plugin_settings: dict[str, str] = {}
        self.plugin_devices: list[SimpleNamespace] = []
        self.intra_op_num_threads = 0
        self.log_severity_level = 2
        self.graph_optimization_level = 99
        self.enable_mem_pattern = True

    def add_session_config_entry(self, name: str, value: str) -> None:
        self.entries[name] = value

    def add_provider_for_devices(self, devices: list[SimpleNamespace], settings: Mapping[str, str]) -> None:
        assert devices
        self.plugin_devices = devices
        self.plugin_settings = dict(settings)


@dataclass
class Opened:
    """What a session was asked for and did; it outlives the session."""

    wanted: dict[str, dict[str, str]]
    options: FakeSessionOptions
    model: str = ""
    batches: list[int] = field(default_factory=list)
    bound: int = 0


class FakeSession:
    def __init__(self, module: FakeOnnxRuntime, opened: Opened) -> None:
        self.module = module
        self.opened = opened
        self._cache_of_plans()

    def __del__(self) -> None:
        """TensorRT-RTX writes its cache when a session ends."""
        folder = self.opened.wanted.get(RTX, {}).get("nv_runtime_cache_path")
        if folder is not None and Path(folder).is_dir():
            with (Path(folder) / f"runtime_{self._identity()}.cache").open("ab") as file:
                file.write(b"kernels")

    def get_providers(self) -> list[str]:
        names = [] if self.module.falls_back else list(self.opened.wanted)
        return names if CPU in names else [*names, CPU]

    def get_inputs(self) -> list[SimpleNamespace]:
        return [SimpleNamespace(name=INPUT_NAME, shape=["batch", 3, SIZE, SIZE], type="tensor(float)")]

    def get_outputs(self) -> list[SimpleNamespace]:
        return [
            SimpleNamespace(name=name, shape=["batch", size], type="tensor(float)")
            for name, size in (("logits", 4), ("embedding", 3))
        ]

    def get_provider_graph_assignment_info(self) -> list[SimpleNamespace]:
        assert self.opened.options.entries["session.record_ep_graph_assignment_info"] == "1"
        nodes = self.module.nodes or {self.get_providers()[0]: 10}
        return [
            SimpleNamespace(ep_name=name, get_nodes=lambda count=count: [None] * count)
            for name, count in nodes.items()
            if count
        ]

    def run(self, names: Sequence[str], feeds: Mapping[str, Any]) -> list[Any]:
        image = feeds[INPUT_NAME]
        if len(image) in self.module.fails_at:
            raise RuntimeError(self.module.fails_at[len(image)])
        self.opened.batches.append(len(image))
        outputs = tiny_outputs(image)
        return [outputs[name] for name in names]

    def io_binding(self) -> FakeBinding:
        return FakeBinding(self)

    def run_with_iobinding(self, binding: FakeBinding) -> None:
        self.opened.bound += 1
        binding.values = self.run(binding.outputs, binding.feeds)

    def _identity(self) -> str:
        """What the providers name their files after."""
        tensorrt, cuda = (
            nvidia_loading.tensorrt_version("libnvinfer.so.10"),
            nvidia_loading.runtime_version(13),
        )
        text = f"{self.opened.model} {self.module.__version__} {tensorrt} {cuda}"
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def _cache_of_plans(self) -> None:
        """TensorRT loads the plan that it finds in the folder under its name, or builds it and puts it there."""
        settings = self.opened.wanted.get(TENSORRT)
        if settings is None:
            return
        folder = settings.get("trt_engine_cache_path")
        plan = (
            None
            if folder is None
            else Path(folder) / f"TensorrtExecutionProvider_TRTKernel_graph_{self._identity()}_0_0_sm89.engine"
        )
        if plan is not None and plan.is_file():
            if plan.read_bytes() != b"plan":
                raise RuntimeError("TensorRT EP could not deserialize engine from cache")
            return
        self.module.builds += 1
        if plan is not None:
            plan.write_bytes(b"plan")
        timing = settings.get("trt_timing_cache_path")
        if timing is not None:
            file = Path(timing) / "TensorrtExecutionProvider_cache_sm89.timing"
            file.write_bytes((file.read_bytes() if file.is_file() else b"") + b"t")


class FakeBinding:
    def __init__(self, session: FakeSession) -> None:
        self.session = session
        self.feeds: dict[str, Any] = {}
        self.outputs: list[str] = []
        self.values: list[Any] = []

    def bind_cpu_input(self, name: str, value: Any) -> None:
        self.feeds[name] = value

    def bind_output(self, name: str, device: str) -> None:
        assert device == "cpu"
        self.outputs.append(name)

    def copy_outputs_to_cpu(self) -> list[Any]:
        return self.values
