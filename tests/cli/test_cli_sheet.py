"""`onnxzoo predict --sheet`: a contact sheet beside the usual output."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace

import pytest
from command_line import is_one_error_line, run
from PIL import Image

from onnxzoo import loading


def test_the_sheet_shows_every_image_and_the_output_is_the_same(tiny, photos, tmp_path):
    (photos / "bad.png").write_bytes(b"no image")
    plain = run("predict", tiny, photos)
    page = tmp_path / "new" / "sheet.html"
    result = run("predict", tiny, photos, "--sheet", page)
    assert (result.exit_code, result.stdout) == (1, plain.stdout)
    assert result.stderr == plain.stderr + f"onnxzoo: contact sheet: {page}\n"
    text = page.read_text(encoding="utf-8")
    assert text.count("<figure>") == 4
    assert text.count('<figure class="bad">') == 1
    assert "all 5 images; 1 cannot be read" in text
    assert "<h1>tiny</h1>" in text
    assert text.count("data:image/jpeg;base64,") == 4


def test_a_png_with_json_and_quiet(tiny, photos, tmp_path):
    plain = run("predict", tiny, photos, "--json", "-q")
    result = run("predict", tiny, photos, "--json", "-q", "--sheet", tmp_path / "sheet.png")
    assert (result.exit_code, result.stdout, result.stderr) == (0, plain.stdout, "")
    assert Image.open(tmp_path / "sheet.png").size[0] > 1000


def test_an_image_on_standard_input_is_on_the_sheet(tiny, photos, tmp_path, monkeypatch):
    stream = SimpleNamespace(buffer=io.BytesIO((photos / "red.png").read_bytes()))
    monkeypatch.setattr("onnxzoo.batch.local.sys", SimpleNamespace(stdin=stream))
    assert run("predict", tiny, "-", "--sheet", tmp_path / "sheet.html").exit_code == 0
    assert "data:image/jpeg;base64," in (tmp_path / "sheet.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["sheet.jpg", "file/sheet.png", "folder.html"])
def test_a_sheet_that_cannot_be_written_is_refused_before_anything_is_loaded(tiny, photos, tmp_path, monkeypatch, name):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.html").mkdir()
    monkeypatch.setattr(loading, "load", lambda *_arguments, **_options: pytest.fail("loaded"))
    result = run("predict", tiny, photos, "--sheet", tmp_path / name)
    assert (result.exit_code, result.stdout) == (2, "")
    assert is_one_error_line(result.stderr)
    assert not (tmp_path / "sheet.jpg").exists()


def test_a_full_disk_costs_the_sheet_and_not_the_results(tiny, photos, tmp_path, monkeypatch):
    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    page: Path = tmp_path / "sheet.html"
    result = run("predict", tiny, photos, "--sheet", page)
    assert result.exit_code == 2
    assert len(result.stdout.splitlines()) == 4 * 5
    assert "No space left on device" in result.stderr
    assert not page.exists()
