"""PaddleClas image classifiers as ONNX models that run anywhere, without Paddle.

    import onnxzoo

    model = onnxzoo.load("swinv2_small_w16")
    print(model.predict("cat.jpg").label)

Importing the package loads only the errors; every other name, and numpy with it, is loaded on first use.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from .errors import (
    ArtifactError,
    BenchmarkError,
    CheckpointError,
    ConversionError,
    DatasetError,
    DownloadError,
    EngineError,
    EngineUnavailableError,
    ExportError,
    HubError,
    ImageError,
    InputError,
    MissingDependencyError,
    ModelNotFoundError,
    OnnxzooError,
    QuantizationError,
    RegistryError,
    TableError,
    TrainingError,
    UnknownModelError,
    ValidationError,
    WrongResultsError,
)

if TYPE_CHECKING:
    from .loading import load
    from .model import Model
    from .registry import ModelEntry, list_models
    from .registry import find as info
    from .results import ClassScore, EngineInfo, Prediction
    from .stream import Result

    __version__: str

__all__ = [
    "ArtifactError",
    "BenchmarkError",
    "CheckpointError",
    "ClassScore",
    "ConversionError",
    "DatasetError",
    "DownloadError",
    "EngineError",
    "EngineInfo",
    "EngineUnavailableError",
    "ExportError",
    "HubError",
    "ImageError",
    "InputError",
    "MissingDependencyError",
    "Model",
    "ModelEntry",
    "ModelNotFoundError",
    "OnnxzooError",
    "Prediction",
    "QuantizationError",
    "RegistryError",
    "Result",
    "TableError",
    "TrainingError",
    "UnknownModelError",
    "ValidationError",
    "WrongResultsError",
    "__version__",
    "info",
    "list_models",
    "load",
]

# Public name -> its module and its name there. The imports above tell type checkers the same.
_LAZY = {
    "ClassScore": ("results", "ClassScore"),
    "EngineInfo": ("results", "EngineInfo"),
    "Model": ("model", "Model"),
    "ModelEntry": ("registry", "ModelEntry"),
    "Prediction": ("results", "Prediction"),
    "Result": ("stream", "Result"),
    "info": ("registry", "find"),
    "list_models": ("registry", "list_models"),
    "load": ("loading", "load"),
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        value: Any = version("onnxzoo")
    elif name in _LAZY:
        module, attribute = _LAZY[name]
        value = getattr(import_module(f".{module}", __name__), attribute)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    # Not what this module itself imports.
    own = (name for name, value in globals().items() if name.startswith("__") or isinstance(value, ModuleType))
    return sorted({*own, *__all__})
