"""Other tools on our artifacts, each in a process of its own and with its real package where that is installed."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

pytest.importorskip("onnxruntime", reason="needs ONNX Runtime")

import doors

import onnxzoo

OPTIMUM = "ONNXZOO_OPTIMUM_PYTHON"
TRANSFORMERS_JS = "ONNXZOO_TRANSFORMERS_JS"


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path]]:
    """Square images of clothing, and pictures whose long side is no whole number of pixels after the resize."""
    folder = tmp_path_factory.mktemp("doors")
    clothes = sorted(doors.CLOTHES.rglob("*.png"))[::25]
    random = np.random.default_rng(19)
    wide = []
    for width in (131, 139):  # 139 / 100 * 32 = 44.48, 131 / 100 * 32 = 41.92: cut off to 41, rounded to 42
        wide.append(folder / f"{width}.png")
        PIL.Image.fromarray(random.integers(0, 256, (100, width, 3), np.uint8)).resize((width, 100)).save(wide[-1])
    return {"clothes": clothes, "wide": wide}


def difference(door: doors.Door, name: str, images: list[Path], work: Path) -> tuple[np.ndarray, dict[str, Any]]:
    """The largest difference of a logit to ours for each image, and what the door says of itself."""
    with onnxzoo.load(str(doors.SHIPPED_DIR / name), engine="onnxruntime") as model:
        found, described = door.answers(model, images, work)
        return np.abs(found - doors.our_logits(model, images)).max(axis=1), described


@pytest.mark.slow
@pytest.mark.parametrize("name", doors.MODELS)
def test_transformers_image_processor_reads_an_artifact(
    name: str, images: dict[str, list[Path]], tmp_path: Path
) -> None:
    if importlib.util.find_spec("transformers") is None:
        pytest.skip("needs transformers")
    door = doors.image_processor(sys.executable)
    found, described = difference(door, name, [*images["clothes"], *images["wide"]], tmp_path)
    assert found[:-2].max() < 1e-4
    assert described["processor"].startswith("BitImageProcessor")
    assert described["config"] == {"pvt_v2_nano_fashion": "PvtV2Config", "swinv2_nano_fashion": "Swinv2Config"}[name]
    assert described["id2label"]["9"] == "Ankle boot"
    if name == "pvt_v2_nano_fashion":  # where the fraction of a pixel is cut off and where rounding does the same
        assert found[-2] > 1e-3
        assert found[-1] < 1e-4


@pytest.mark.slow
def test_optimum_runs_an_artifact(images: dict[str, list[Path]], tmp_path: Path) -> None:
    if not os.environ.get(OPTIMUM):
        pytest.skip(f"needs optimum-onnx, which needs PyTorch; {OPTIMUM} names a Python that has it")
    found, described = difference(doors.optimum(os.environ[OPTIMUM]), doors.MODELS[1], images["clothes"], tmp_path)
    assert found.max() < 1e-4
    assert "optimum-onnx" in described["versions"]


@pytest.mark.slow
@pytest.mark.parametrize("name", doors.MODELS)
def test_transformers_js_runs_an_artifact(name: str, images: dict[str, list[Path]], tmp_path: Path) -> None:
    if not os.environ.get(TRANSFORMERS_JS) or shutil.which("node") is None:
        pytest.skip(f"needs Node and transformers.js; {TRANSFORMERS_JS} names a folder whose node_modules has it")
    found, described = difference(
        doors.transformers_js(Path(os.environ[TRANSFORMERS_JS])), name, images["clothes"], tmp_path
    )
    assert np.median(found) < 0.5  # another resize
    assert described["id2label"]["9"] == "Ankle boot"


def test_a_tool_that_fails_is_named_with_its_last_words(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"exit code 3 from -c: .*no such model"):
        doors.finished([sys.executable, "-c", "import sys; print('no such model'); sys.exit(3)"])


def test_a_tool_with_other_classes_is_refused(images: dict[str, list[Path]]) -> None:
    answers: Callable[..., Any] = lambda model, paths, work: (  # noqa: E731
        np.zeros((len(paths), 10), np.float32),
        {"versions": "1", "id2label": {str(number): "LABEL" for number in range(10)}},
    )
    with (
        onnxzoo.load(doors.MODELS[0], engine="onnxruntime") as model,
        pytest.raises(SystemExit, match="stub has other classes"),
    ):
        doors.measured(doors.Door("stub", answers), model, "clothes", images["clothes"])
