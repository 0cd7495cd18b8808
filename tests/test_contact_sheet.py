"""The page of predictions: a cell per image, green for the true class, red for a wrong answer."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from onnxzoo.training.data import open_dataset
from PIL import Image, ImageColor
from tiny import LABELS

from onnxzoo.model import load

SCRIPT = Path(__file__).parent.parent / "examples" / "contact_sheet.py"
COLOURS = {"black": (0, 0, 0), "red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}


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


def pixels_of(sheet: Image.Image, colour: str) -> int:
    wanted = ImageColor.getrgb(colour)
    return sum(count for count, value in sheet.getcolors(2**24) if value == wanted)


def test_right_answers_are_green_and_wrong_ones_red(script, tiny, data):
    with load(tiny) as model:
        sheet = script.contact_sheet([model], open_dataset(data, "val"), 4)
        right, wrong = pixels_of(sheet, script.RIGHT), pixels_of(sheet, script.WRONG)
        assert right >= 4 * 0.9 * script.BAR_WIDTH * 11 * 0.9
        assert wrong == 0
        for number in range(3):
            shutil.copy(data / "blue" / "0.png", data / "red" / f"{number}.png")
        sheet = script.contact_sheet([model, model], open_dataset(data, "val"), 4)
        assert pixels_of(sheet, script.WRONG) > 0


def test_every_class_has_its_share(script, data):
    dataset = open_dataset(data, "val")
    class_ids = [LABELS.index(name) for name in dataset.classes]
    chosen = script.evenly(dataset, class_ids, 8)
    assert [dataset.classes[dataset.labels[index]] for index in chosen] == [name for name in LABELS for _ in range(2)]
    assert len(script.evenly(dataset, class_ids, 3)) == 3


def test_the_script_writes_a_png(tiny, data, tmp_path):
    out = tmp_path / "new" / "sheet.png"
    command = [sys.executable, str(SCRIPT), str(tiny), "--data", str(data), "--out", str(out), "--images", "4"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert "4 images" in done.stdout
    assert Image.open(out).format == "PNG"


def test_a_long_label_is_cut(script):
    short = script._fitted("great white shark, white shark, man-eater", 90)
    assert short.endswith("..")
    assert script.font(14).getlength(short) <= 90
    assert script._fitted("cat", 90) == "cat"
