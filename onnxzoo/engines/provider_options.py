"""Options of ONNX Runtime's providers: their types and the providers' spelling of booleans, only in this module.

A provider accepts only text, and each has its own parser: TensorRT's rejects "1", which CUDA's requires. The tests
marked `gpu_wheels` check these options with the parsers of the real packages.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

CUDA = "CUDAExecutionProvider"
TENSORRT = "TensorrtExecutionProvider"
TENSORRT_RTX = "NvTensorRTRTXExecutionProvider"
COREML = "CoreMLExecutionProvider"

# The packages from which the table was taken.
READ_FROM: Mapping[str, str] = {
    CUDA: "onnxruntime-gpu==1.31.1",
    TENSORRT: "onnxruntime-gpu==1.31.1",
    TENSORRT_RTX: "onnxruntime-ep-nv-tensorrt-rtx-cu13==0.5.0",
}

Value = bool | int | str | Path

# Option -> its type, for the options that our engines set.
TYPES: Mapping[str, Mapping[str, type[Value]]] = {
    CUDA: {"device_id": int, "use_tf32": bool, "arena_extend_strategy": str, "cudnn_conv_algo_search": str},
    TENSORRT: {
        "device_id": int,
        "trt_fp16_enable": bool,
        "trt_bf16_enable": bool,
        "trt_int8_enable": bool,
        "trt_engine_cache_enable": bool,
        "trt_engine_cache_path": Path,
        "trt_timing_cache_enable": bool,
        "trt_timing_cache_path": Path,
        "trt_profile_min_shapes": str,
        "trt_profile_opt_shapes": str,
        "trt_profile_max_shapes": str,
    },
    TENSORRT_RTX: {
        "nv_runtime_cache_path": Path,
        "nv_profile_min_shapes": str,
        "nv_profile_opt_shapes": str,
        "nv_profile_max_shapes": str,
    },
    COREML: {"ModelFormat": str},
}
# Each provider's spelling of False and True.
BOOLEANS: Mapping[str, tuple[str, str]] = {CUDA: ("0", "1"), TENSORRT: ("False", "True"), TENSORRT_RTX: ("0", "1")}


def written(provider: str, options: Mapping[str, Value]) -> dict[str, str]:
    """The options in the form that the provider's parser accepts.

    Raises ValueError for an option that is not in TYPES, a value of another type and an empty text. These are mistakes
    in an engine, which ONNX Runtime would report as an error of the session or not at all.
    """
    types = TYPES.get(provider, {})
    texts = {}
    for name, value in options.items():
        expected = types.get(name)
        fits = expected is not None and isinstance(value, expected) and isinstance(value, bool) == (expected is bool)
        text = BOOLEANS[provider][value] if fits and isinstance(value, bool) else str(value)
        if not fits or not text:
            wanted = "is not in the table of options" if expected is None else f"must be a {expected.__name__}"
            raise ValueError(f"{provider}: {name}={value!r} {wanted}")
        texts[name] = text
    return texts
