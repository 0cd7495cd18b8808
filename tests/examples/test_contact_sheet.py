"""The page of labelled images: which are chosen, and that each has its true class and all answers."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from PIL import Image
from tiny import COLOURS, LABELS

from onnxzoo.data.layouts import open_dataset
from onnxzoo.errors import InputError
from onnxzoo.loading import load

SCRIPT = Path(__file__).parents[2] / "examples" / "contact_sheet.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("contact_sheet", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def data(tmp_path: Path) -> Path:
    root = tmp_path / "data"
    for name, colour in COLOURS.items():
        (root / name).mkdir(parents=True)
        for number in range(3):
            Image.new("RGB", (28, 28), colour).save(root / name / f"{number}.png")
    return root


@pytest.mark.slow
def test_the_page_has_the_true_class_and_every_models_answer(script, tiny, data):
    with load(tiny) as model:
        sheet = script.contact_sheet([model, model], open_dataset(data, "val"), 4)
        assert [cell.truth for cell in sheet.cells] == list(LABELS)
        assert [[best.label for _, best in cell.answers] for cell in sheet.cells] == [[name] * 2 for name in LABELS]
        assert sheet.notes[0].startswith("right of these 4 images: tiny 4, tiny 4; ")
        for number in range(3):
            shutil.copy(data / "blue" / "0.png", data / "red" / f"{number}.png")
        (data / "green" / "0.png").write_bytes(b"")
        sheet = script.contact_sheet([model], open_dataset(data, "val"), 4)
        assert sheet.notes[0].startswith("right of these 4 images: tiny 2; ")
        assert [bool(cell.error) for cell in sheet.cells] == [False, False, True, False]


def test_every_class_has_its_share(script, data):
    dataset = open_dataset(data, "val")
    class_ids = [LABELS.index(name) for name in dataset.classes]
    chosen = script.evenly(dataset, class_ids, 8)
    assert [dataset.classes[dataset.labels[index]] for index in chosen] == [name for name in LABELS for _ in range(2)]
    assert len(script.evenly(dataset, class_ids, 3)) == 3


def test_a_small_class_gives_what_it_has_and_nothing_twice(script, data):
    for name in ("black", "red", "green"):
        for number in range(3, 8):
            shutil.copy(data / name / "0.png", data / name / f"{number}.png")
    dataset = open_dataset(data, "val")
    chosen = script.evenly(dataset, [LABELS.index(name) for name in dataset.classes], 24)
    assert len(set(chosen)) == len(chosen)
    counts = [sum(dataset.classes[dataset.labels[index]] == name for index in chosen) for name in LABELS]
    assert counts == [3 if name == "blue" else 6 for name in LABELS]


def test_models_of_other_classes_do_not_share_a_page(script, tiny, data):
    with load(tiny) as model:
        other = SimpleNamespace(name="other", labels=("a", "b"))
        with pytest.raises(InputError, match="other has other classes than"):
            script.contact_sheet([model, other], open_dataset(data, "val"), 4)


@pytest.mark.slow
def test_the_script_writes_a_png(tiny, data, tmp_path):
    out = tmp_path / "new" / "sheet.png"
    command = [sys.executable, str(SCRIPT), str(tiny), "--data", str(data), "--out", str(out), "--images"]
    done = subprocess.run([*command, "40"], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.endswith("sheet.png: 12 images\n")  # all there are
    assert Image.open(out).format == "PNG"
    done = subprocess.run([*command, "0"], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert done.stderr.endswith("--images must be at least 1, got 0\n")
