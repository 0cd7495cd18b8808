"""A model repository for NVIDIA's Triton Inference Server.

    REPO/NAME/config.pbtxt      the model's configuration
    REPO/NAME/labels.txt        class names, for Triton's classification extension
    REPO/NAME/1/                the version, which is an artifact too (see `onnxzoo.deploy`)

Sources of the keys: model_config.proto and docs/user_guide/model_configuration.md of Triton's server; for accelerators
and parameters src/onnxruntime.cc of its onnxruntime backend, and README.md and src/openvino.cc of its openvino backend.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version as package_version
from typing import Any

from ..artifact.folder import Artifact
from ..engines.tensorrt_cache import profile
from ..errors import InputError
from ..inference_protocol import LOGITS, PIXELS, ProtocolTensor, model_outputs, pixels_of
from ..precisions import FP16, FP32, INT8
from ..results import TensorSpec
from .chosen import Chosen
from .pbtxt import Value, Word, entries, text_format
from .repository import MARK, MODEL_FILE, Repository

CONFIG_FILE = "config.pbtxt"
LABELS_FILE = "labels.txt"

ONNXRUNTIME, OPENVINO, CUDA, TENSORRT = "onnxruntime", "openvino", "cuda", "tensorrt"
ENGINES = (ONNXRUNTIME, OPENVINO, CUDA, TENSORRT)
"""What runs the model in Triton, called as our own engines are; all but OPENVINO are its backend onnxruntime."""
ON_GPU = (CUDA, TENSORRT)

PRECISIONS: Mapping[str, tuple[str, ...]] = {
    ONNXRUNTIME: (FP32, FP16, INT8),
    OPENVINO: (FP32, FP16, INT8),
    CUDA: (FP32, FP16),
    TENSORRT: (FP32, FP16, INT8),
}
"""The precisions of ONNX files that each can compute, as with the engines of this package."""

MAX_BATCH = 8
ENGINE_CACHE = "/tmp/onnxzoo-tensorrt"  # noqa: S108 - a path in the server's container, which has to be writable there


@dataclass(frozen=True, slots=True)
class TritonOptions:
    """How Triton runs the models.

    `engine`: one of ENGINES. `max_batch`: the largest batch of one run; Triton combines requests up to it, for which
    they wait `delay_us` microseconds (0: only those that are waiting anyway). `instances`: copies of the model that run
    at a time, on each GPU. `threads`: CPU threads of one instance; None leaves it to the engine. `engine_cache`: folder
    on the server for TensorRT's engines, whose building takes minutes.

    Raises InputError for an invalid value.
    """

    engine: str = ONNXRUNTIME
    max_batch: int = MAX_BATCH
    delay_us: int = 0
    instances: int = 1
    threads: int | None = None
    engine_cache: str = ENGINE_CACHE

    def __post_init__(self) -> None:
        if self.engine not in ENGINES:
            raise InputError(f"{self.engine!r} is not an engine of Triton (there are {', '.join(ENGINES)})")
        for name, least in (("max_batch", 1), ("delay_us", 0), ("instances", 1)):
            value = getattr(self, name)
            if type(value) is not int or not least <= value < 2**31:
                raise InputError(f"{name} must be a whole number from {least}, got {value!r}")
        if self.threads is not None and self.engine in ON_GPU:
            raise InputError(f"threads are for the CPU, and {self.engine} runs on a GPU; leave them out")


def write_triton(
    model: Chosen, repository: Repository, options: TritonOptions, *, version: int = 1, place: str = ""
) -> str:
    """Write version `version` of a model into a repository for Triton; returns what
    `Repository.add_version` does.

    `place`: a folder of the repository in which the model's folder lies, or "". The configuration comes last, so that
    a server that watches the repository finds a complete model.

    Raises InputError for a precision that the engine does not compute, else as `Repository.add_version` does.
    """
    if model.precision not in PRECISIONS[options.engine]:
        raise InputError(
            f"{options.engine} in Triton does not compute {model.precision} files; it computes "
            f"{', '.join(PRECISIONS[options.engine])}"
        )
    folder = f"{place}/{model.name}" if place else model.name
    repository.require_mark(f"{folder}/{CONFIG_FILE}")
    repository.require_own_model(model, place)
    done = repository.add_version(model, version, place)
    repository.write(f"{folder}/{LABELS_FILE}", labels_text(model.source.artifact).encode())
    repository.write(f"{folder}/{CONFIG_FILE}", config_text(model, options).encode())
    return done


def notes(options: TritonOptions, precision: str) -> Iterator[str]:
    """What an administrator has to know that no configuration can say: how fp32 stays exact."""
    if options.engine in ON_GPU and precision == FP32:
        yield (
            "set NVIDIA_TF32_OVERRIDE=0 in Triton's environment: only that keeps TensorRT from using TF32, which is "
            "not exact fp32"
        )
    if options.engine == OPENVINO:
        yield (
            "Triton's openvino backend cannot ask for fp32, and on CPUs with AVX512-BF16 or AMX, OpenVINO computes in "
            "bf16; use --engine onnxruntime for exact numbers"
        )


def labels_text(artifact: Artifact) -> str:
    """The class names, one a line in the order of the logits, as Triton reads them."""
    return "".join(" ".join(label.split()) + "\n" for label in artifact.id2label)


def heading(model: Chosen) -> str:
    """The comment at the beginning of every text file: who wrote it, and for what."""
    return (
        f"# {MARK} {package_version('onnxzoo')} for {model.name}: {model.precision}, sha256 {model.sha256}.\n"
        "# Deploying the model again replaces this file.\n"
    )


def config_text(model: Chosen, options: TritonOptions) -> str:
    """The text of config.pbtxt."""
    artifact = model.source.artifact
    return heading(model) + text_format(_config(model.name, artifact, model.sha256, options))


def _config(name: str, artifact: Artifact, sha256: str, options: TritonOptions) -> dict[str, Value]:
    pixels = pixels_of(artifact.image_size)
    outputs = model_outputs(artifact.num_classes, artifact.architecture.num_features)
    batching: dict[str, Value] = {"max_queue_delay_microseconds": options.delay_us} if options.delay_us else {}
    kind = "KIND_GPU" if options.engine in ON_GPU else "KIND_CPU"
    return {
        "name": name,
        "backend": OPENVINO if options.engine == OPENVINO else ONNXRUNTIME,
        "default_model_filename": MODEL_FILE,
        "max_batch_size": options.max_batch,
        "version_policy": {"latest": {"num_versions": 1}},
        "input": [{"name": pixels.name, **_type(pixels)}],
        "output": [
            {"name": one.name, **_type(one), **({"label_filename": LABELS_FILE} if one.name == LOGITS else {})}
            for one in outputs
        ],
        "instance_group": [{"kind": Word(kind), "count": options.instances}],
        "dynamic_batching": batching,
        **_engine_settings(artifact, sha256, options),
        "model_warmup": [_warmup(batch, pixels) for batch in dict.fromkeys((1, options.max_batch))],
    }


def _engine_settings(artifact: Artifact, sha256: str, options: TritonOptions) -> dict[str, Value]:
    if options.engine in ON_GPU:
        accelerators: list[Value] = [] if options.engine == CUDA else [_tensorrt(artifact, sha256, options)]
        # With TensorRT, CUDA runs the nodes that it leaves; TF32 is not exact fp32.
        accelerators.append({"name": "cuda", "parameters": entries({"use_tf32": "0"})})
        return {"optimization": {"execution_accelerators": {"gpu_execution_accelerator": accelerators}}}
    settings: dict[str, Any] = {}
    if options.threads is not None:
        key = "INFERENCE_NUM_THREADS" if options.engine == OPENVINO else "intra_op_thread_count"
        settings[key] = {"string_value": str(options.threads)}
    return {"parameters": entries(settings)} if settings else {}


def _tensorrt(artifact: Artifact, sha256: str, options: TritonOptions) -> Value:
    """TensorRT without a precision flag, so that it computes in the types of the file, as our engine has it."""
    size = artifact.image_size
    shapes = profile("trt_profile", {PIXELS: TensorSpec((None, 3, size, size), "float32")}, options.max_batch)
    # A TensorRT engine is found again by the graph's name and shapes: another model's weights need another folder.
    cache = f"{options.engine_cache.rstrip('/')}/{sha256[:16]}"
    return {
        "name": "tensorrt",
        "parameters": entries(
            {
                "precision_mode": "FP32",
                **shapes,
                "trt_engine_cache_enable": "1",
                "trt_engine_cache_path": cache,
                "trt_timing_cache_enable": "1",
                "trt_timing_cache_path": cache,
            }
        ),
    }


def _type(tensor: ProtocolTensor) -> dict[str, Value]:
    """Type and sizes of a tensor; Triton adds the batch, the first size."""
    return {"data_type": Word(f"TYPE_{tensor.datatype}"), "dims": tensor.shape[1:]}


def _warmup(batch: int, pixels: ProtocolTensor) -> Value:
    inputs: dict[str, Value] = {pixels.name: {**_type(pixels), "random_data": True}}
    return {"name": f"batch of {batch}", "batch_size": batch, "inputs": entries(inputs)}
