"""The report: one page that holds everything, loads nothing and escapes what it did not write itself."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from artifacts import PVT, alter, configure, copy_shipped, exported, rename_producer, scale_initializer
from onnxzoo.validators import report as report_module
from onnxzoo.validators.environment import environment
from onnxzoo.validators.preprocess import check_preprocess
from onnxzoo.validators.report import render, thumbnail, write_report
from onnxzoo.validators.validate import Validation
from PIL import Image

from onnxzoo.artifact.folder import read_artifact
from onnxzoo.errors import InputError
from onnxzoo.image import preprocess

pytest.importorskip("onnxruntime", reason="needs the cpu extra")

VOID = {"meta", "img", "rect", "br"}


class Page(HTMLParser):
    """Checks that every element is closed in order; collects text, tags and attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID or (tag == "rect" and not self.get_starttag_text().endswith("/>")):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def validated(folder: Path, **options: object) -> Validation:
    validation = Validation(read_artifact(folder), **options)
    for _ in validation.run():
        pass
    return validation


@pytest.mark.slow
def test_the_page_shows_verdict_engines_histograms_inputs_and_environment() -> None:
    validation = validated(exported(PVT))
    page = Page(render(validation.result(preprocess=list(check_preprocess()))))
    assert "PASSED" in page.text
    assert "FAILED" not in page.text
    assert "8 of 8 checks" in page.text
    for engine in ("openvino", "onnxruntime"):
        assert page.text.count(engine) > 4
    assert page.text.count("conformance, logits") == 2
    assert "chelsea.jpg" in page.text
    assert "JPEG, 4:2:0" in page.text
    for caption, value in environment().items():
        assert caption in page.text
        assert value in page.text
    pictures = [attributes["src"] for tag, attributes in page.tags if tag == "img"]
    assert len(pictures) == 6
    for source in pictures:
        head, _, data = str(source).partition(",")
        assert head == "data:image/png;base64"
        assert Image.open(io.BytesIO(base64.b64decode(data))).size == (32, 32)


def test_the_page_loads_nothing(tmp_path: Path) -> None:
    write_report(tmp_path / "new" / "report.html", validated(exported(PVT), engines=["onnxruntime"]).result())
    text = (tmp_path / "new" / "report.html").read_text(encoding="utf-8")
    without_pictures = re.sub(r"data:image/png;base64,[A-Za-z0-9+/=]*", "", text)
    assert not re.search(r"(https?:)?//|url\(|@import|<script|<link|<iframe|javascript:", without_pictures)
    for tag, attributes in Page(text).tags:
        for name, value in attributes.items():
            assert not name.startswith("on")
            assert name not in ("href", "srcset", "action")
            assert name != "src" or (tag == "img" and str(value).startswith("data:"))
    assert "default-src 'none'" in text
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["report.html"]


def test_a_failed_validation_shows_what_and_where(tmp_path: Path) -> None:
    folder = copy_shipped(tmp_path / "a")
    alter(folder, scale_initializer([96, 10], 1.01))
    page = Page(render(validated(folder, engines=["onnxruntime"]).result()))
    assert "FAILED" in page.text
    assert "PASSED" not in page.text
    assert "'logits' differs by up to" in page.text
    assert "1 of 4 checks" in page.text


def test_nothing_that_was_found_is_taken_for_html(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>\"'&<img src=x onerror=alert(2)>"
    folder = copy_shipped(tmp_path / "<b>folder")
    configure(folder, name=evil)
    picture = tmp_path / "<i>&'\".png"
    Image.new("RGB", (40, 40), (200, 10, 10)).save(picture)
    other = copy_shipped(tmp_path / "other")
    alter(other, rename_producer)
    validation = validated(folder, engines=["onnxruntime"], against=read_artifact(other), images=[str(picture)])
    validation.unavailable["openvino"] = evil
    page = Page(render(validation.result()))
    tags = {tag for tag, _ in page.tags}
    assert not tags & {"script", "b", "i"}
    assert page.text.count("<script>alert(1)</script>") >= 2
    assert str(picture) in page.text
    assert len([1 for tag, _ in page.tags if tag == "img"]) == 8


def test_nan_for_an_input_is_the_worst_there_is() -> None:
    validation = validated(exported(PVT), engines=["onnxruntime"])
    from onnxzoo.validators.engine_checks import Check

    from onnxzoo.comparison.compare import failed

    good = validation.checks[0]
    problem = "'logits' holds NaN or infinity in rows [4] (black)"
    validation.checks.append(Check(good.engine, 1, "conformance", 6, failed(problem, failed_rows=[4])))
    page = Page(render(validation.result()))
    captions = re.findall(r"<figcaption>(\w+(?:\.jpg)?: [^<]*)", render(validation.result()))
    assert captions[0].startswith("black: not finite (onnxruntime, conformance, batch 1)")
    assert "holds NaN" in page.text


def test_thumbnails_look_like_the_image() -> None:
    spec = read_artifact(exported(PVT)).preprocess
    pixels = np.random.RandomState(0).randint(0, 256, (32, 32, 3), dtype=np.uint8)
    shown = np.asarray(thumbnail(preprocess(pixels, spec), spec))
    assert np.array_equal(shown, pixels)
    large = thumbnail(np.full((3, 384, 384), 99, np.float32), spec)
    assert large.size == (128, 128)
    assert np.asarray(large).min() == 255, "what no image can hold is clipped"


def test_a_report_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    validation = validated(exported(PVT), engines=["onnxruntime"], batch_sizes=[1])
    (tmp_path / "file").write_text("a file")
    with pytest.raises(InputError, match="the report cannot be written to"):
        write_report(tmp_path / "file" / "report.html", validation.result())
    old = tmp_path / "report.html"
    old.write_text("old")

    def fail(*_: object) -> str:
        raise RuntimeError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report_module, "_checks", fail)
        with pytest.raises(RuntimeError):
            write_report(old, validation.result())
    assert old.read_text() == "old"


def test_the_environment_names_what_decides_about_numbers() -> None:
    found = environment()
    assert {"Python", "system", "CPU", "CPU flags", "GPU", "onnxzoo", "numpy", "pillow"} <= found.keys()
    assert all(isinstance(value, str) and value for value in found.values())


def test_the_environment_survives_a_broken_nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho broken >&2\nexit 9\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert environment()["GPU"] == "none (nvidia-smi finds none)"
    program.write_text("#!/bin/sh\necho 'NVIDIA H100, 580.65'\n")
    assert environment()["GPU"] == "NVIDIA H100, 580.65"


def test_characters_that_would_hide_or_reorder_text_are_spelled(tmp_path: Path) -> None:
    folder = copy_shipped(tmp_path / "a\u202eb")
    page = render(validated(folder, engines=["onnxruntime"], batch_sizes=[1]).result())
    assert "\u202e" not in page
    assert r"a\u202eb" in page
