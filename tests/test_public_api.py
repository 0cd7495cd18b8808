"""The public face: its names, and what importing it costs."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import onnxzoo
from onnxzoo import errors

PYPROJECT = Path(__file__).parent.parent / "pyproject.toml"
HEAVY = {"numpy", "PIL", "openvino", "onnxruntime", "onnx", "paddle", "huggingface_hub", "click", "tqdm"}


def modules_after(code: str) -> set[str]:
    """Top-level modules that a fresh interpreter has loaded after `code`."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", f"{code}\nimport sys; print(*sys.modules)"],
        check=True,
        capture_output=True,
        text=True,
    )
    return {name.partition(".")[0] for name in done.stdout.splitlines()[-1].split()}


def test_all_is_pinned():
    assert onnxzoo.__all__ == [
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


@pytest.mark.parametrize("name", onnxzoo.__all__)
def test_every_public_name_is_there(name):
    assert getattr(onnxzoo, name) is not None
    assert name in dir(onnxzoo)


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'onnxzoo' has no attribute 'predict'"):
        onnxzoo.predict  # type: ignore[attr-defined]  # noqa: B018


def test_every_error_is_public_and_a_builtin_too():
    for name, error in vars(errors).items():
        if isinstance(error, type) and issubclass(error, Exception):
            assert getattr(onnxzoo, name) is error
            assert issubclass(error, errors.OnnxzooError)
            assert error.exit_code in (1, 2, 3)
            if error is not errors.OnnxzooError:
                assert len(error.__bases__) == 2


def test_the_version_is_the_packages():
    assert onnxzoo.__version__ == tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]["version"]


def test_importing_the_package_loads_nothing_heavy():
    assert modules_after("import onnxzoo") & HEAVY == set()


def test_listing_models_loads_nothing_heavy():
    assert modules_after("import onnxzoo; onnxzoo.list_models(); onnxzoo.info('pvt_v2_b0')") & HEAVY == set()


def test_the_public_face_loads_no_engine():
    loaded = modules_after("import onnxzoo; onnxzoo.load, onnxzoo.Model")
    assert loaded & {"openvino", "onnxruntime", "onnx", "paddle", "huggingface_hub"} == set()


@pytest.mark.parametrize("arguments", [["--help"], ["list"], ["info", "pvt_v2_nano_fashion"], ["--version"]])
def test_the_quick_commands_load_nothing_slow(arguments):
    code = f"from onnxzoo.cli import main\ntry: main({arguments!r})\nexcept SystemExit: pass"
    assert modules_after(code) & (HEAVY - {"click", "tqdm"}) == set()


def test_what_the_module_imports_itself_is_not_listed() -> None:
    assert not {"Any", "TYPE_CHECKING", "annotations", "import_module", "ModuleType"} & set(dir(onnxzoo))
    assert {"load", "errors", "__version__"} <= set(dir(onnxzoo))


@pytest.mark.parametrize("wrong", [3, None, b"pvt_v2_b0", ["pvt_v2_b0"], {"pvt_v2_b0"}])
def test_a_name_that_is_not_a_text_is_refused(wrong: object) -> None:
    takes_several = isinstance(wrong, list)
    for call in (onnxzoo.info,) if takes_several else (onnxzoo.list_models, onnxzoo.info):
        with pytest.raises(onnxzoo.InputError, match=f"is a text.*, got {type(wrong).__name__}"):
            call(wrong)  # type: ignore[operator]
