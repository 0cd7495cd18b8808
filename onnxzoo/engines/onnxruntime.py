"""ONNX Runtime on the CPU, or on another provider given by name."""

from __future__ import annotations

import difflib
import platform
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import ModuleType
from typing import ClassVar, Self

from ..cpu import cpu
from ..errors import EngineUnavailableError, InputError
from ..files import KeyValue
from ..precisions import AUTO_PRECISION, BF16, FP16, FP32, INT8
from .batches import SMALL_BYTES
from .concurrent_runs import ConcurrentRuns
from .onnxruntime_engine import SessionEngine
from .onnxruntime_library import import_onnxruntime, reinstall, session_options
from .onnxruntime_session import CPU_PROVIDER, open_session
from .options import EngineOptions
from .protocol import ModelFile, Selection
from .provider_options import COREML, written

NAME = "onnxruntime"
INSTALL = "pip install 'onnxzoo[cpu]'"

# Providers with their own engine, which has the settings for exact arithmetic.
OWN_ENGINES: Mapping[str, str] = {
    "CUDAExecutionProvider": "cuda",
    "TensorrtExecutionProvider": "tensorrt",
    "NvTensorRTRTXExecutionProvider": "tensorrt-rtx",
}

# Options with which a provider computes in the precision of the ONNX file. CoreML's older format runs in fp16.
EXACT: Mapping[str, Mapping[str, str]] = {
    CPU_PROVIDER: {},
    "AzureExecutionProvider": {},  # it runs no nodes itself
    COREML: {"ModelFormat": "MLProgram"},
    "DmlExecutionProvider": {},
    "DnnlExecutionProvider": {},
    "WebGpuExecutionProvider": {},
    "XnnpackExecutionProvider": {},
}

# The packages with providers that other packages lack.
PROVIDER_PACKAGES: Mapping[str, str] = {
    "DmlExecutionProvider": "onnxruntime-directml",
    "OpenVINOExecutionProvider": "onnxruntime-openvino",
    "QNNExecutionProvider": "onnxruntime-qnn",
}

BF16_SETTING = "mlas.enable_gemm_fastmath_arm64_bfloat16"


class OnnxRuntimeEngine(SessionEngine):
    """A model in an ONNX Runtime session: on the CPU, or on the provider after the colon in the name.

    On the CPU it computes in the precision of the ONNX file; `auto` prefers an INT8 file, which is twice as fast.
    """

    FILES: ClassVar[Mapping[str, tuple[str, ...]]] = {
        FP32: (FP32,),
        AUTO_PRECISION: (INT8, FP32),
        FP16: (FP16,),
        BF16: (FP32,),
        INT8: (INT8,),
    }

    @classmethod
    def open(cls, model: ModelFile, *, options: EngineOptions, device: str | None, selection: Selection) -> Self:
        """Load the ONNX file; `device` is a provider's name (`CoreMLExecutionProvider`, or `coreml`), None the CPU.

        Raises EngineUnavailableError if onnxruntime cannot be imported, the provider is not installed, or it runs no
        node of the graph, or with `options.strict` not all nodes; InputError for an unknown provider, or a precision
        that the provider cannot guarantee; EngineError if ONNX Runtime rejects the model.
        """
        module = import_onnxruntime(INSTALL)
        provider = CPU_PROVIDER if device is None else _provider(module, device)
        on_cpu = provider == CPU_PROVIDER
        concurrent = _concurrent(model, options) if on_cpu else None
        chosen = session_options(module, options if concurrent is None else replace(options, threads=1))
        precision = model.precision
        if options.precision == BF16:
            if not on_cpu or not arm_bf16():
                raise InputError(
                    f"the engine 'onnxruntime' has no precision {BF16!r} on {provider} of this machine "
                    f"({platform.machine()}): it needs the CPU provider on an ARM processor with bf16 instructions"
                )
            chosen.add_session_config_entry(BF16_SETTING, "1")
            precision = BF16
        elif options.precision == AUTO_PRECISION and not on_cpu:
            precision = f"{provider}'s choice"
        elif provider not in EXACT:
            raise InputError(
                f"{provider} is not known to compute in {options.precision} exactly; ask for the precision "
                f"{AUTO_PRECISION!r} to have what it does"
            )
        exact = {} if options.precision == AUTO_PRECISION else EXACT[provider]
        session = open_session(
            module, model, chosen, provider, written(provider, exact), engine=NAME, strict=options.strict
        )
        info = session.info(
            device="CPU" if on_cpu else provider, precision=precision, version=module.__version__, selection=selection
        )
        if any(spec.shape[:1] != (None,) for spec in session.inputs.values()):
            concurrent = None  # a graph of one batch size takes no other
        # Larger batches are not faster, and their memory is kept until the session is closed.
        return cls(
            session,
            info,
            max_batch=options.largest_batch,
            cache_key=_cache_key(provider, module.__version__, precision),
            concurrent=concurrent,
        )

    @staticmethod
    def skip_reason(_model: Callable[[], ModelFile], _options: EngineOptions, /) -> str | None:
        """None, as it can run on any machine."""
        return None


def arm_bf16() -> bool:
    """Whether the processor is an ARM CPU with bf16 instructions, for which ONNX Runtime has kernels (on Linux)."""
    found = cpu()
    return sys.platform == "linux" and found.architecture == "aarch64" and "bf16" in (found.instruction_sets or ())


def _concurrent(model: ModelFile, options: EngineOptions) -> ConcurrentRuns | None:
    """Splits batches into concurrent runs if many images are expected; None if threads would be idle."""
    threads = options.cpu_threads
    if options.hint != "throughput" or not 1 < threads <= options.largest_batch // 2:
        return None
    return ConcurrentRuns(threads, 1 if model.path.stat().st_size > SMALL_BYTES else None)


def _cache_key(provider: str, version: str, precision: str) -> dict[str, KeyValue]:
    """Everything except the model on which results depend; drivers of other providers are part of the system."""
    processor = cpu()
    return {
        "version": version,
        "provider": provider,
        "system": None if provider == CPU_PROVIDER else platform.platform(),
        "cpu": processor.name,
        "instruction_sets": " ".join(processor.instruction_sets or ()),
        "precision": precision,
    }


def _provider(module: ModuleType, device: str) -> str:
    """The full name of an installed provider. Raises as OnnxRuntimeEngine.open does."""
    everywhere: list[str] = module.get_all_providers()
    names = {name.casefold(): name for name in everywhere}
    names |= {name.removesuffix("ExecutionProvider").casefold(): name for name in everywhere}
    provider = names.get(device.casefold())
    if provider is None:
        close = difflib.get_close_matches(device.casefold(), names, n=1)
        hint = f"; did you mean {names[close[0]]!r}?" if close else ""
        raise InputError(f"{device!r} is not a provider of ONNX Runtime{hint} (there are {', '.join(everywhere)})")
    if provider in OWN_ENGINES:
        raise InputError(f"{provider} is the engine {OWN_ENGINES[provider]!r}: ask for that")
    here = module.get_available_providers()
    if provider not in here:
        package = PROVIDER_PACKAGES.get(provider)
        fix = reinstall(f"pip install {package}") if package else "it comes with builds for other platforms"
        raise EngineUnavailableError(
            f"onnxruntime {module.__version__} has no {provider} here (it has {', '.join(here)}); {fix}"
        )
    return provider
