"""The picture of accuracy against speed."""

from __future__ import annotations

import dataclasses
import sys
import tempfile
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
from timed import ACCURACY, made_up_group

from onnxzoo.bench.plot import ACCURACY as TOP1
from onnxzoo.bench.plot import SNR, draw, points, require_plot, write_plot
from onnxzoo.bench.result import Group
from onnxzoo.errors import InputError, MissingDependencyError


def test_accuracy_is_drawn_where_every_row_has_one_and_else_the_ratio() -> None:
    group = made_up_group()
    what, found = points([group])
    assert what == SNR
    assert [(speed, height) for _, speed, height in found] == [(100.0, 125.6), (200.0, 31.5), (100.0, 120.0)]
    known = tuple(dataclasses.replace(row, accuracy=ACCURACY) for row in group.rows)
    what, found = points([dataclasses.replace(group, rows=known)])
    assert (what, [height for _, _, height in found]) == (TOP1, [pytest.approx(91.83)] * 3)


def test_the_file_is_a_picture_with_a_point_for_each_measured_row(tmp_path: Path) -> None:
    write_plot([made_up_group()], "AMD EPYC", tmp_path / "p.png")
    with PIL.Image.open(tmp_path / "p.png") as picture:
        assert picture.format == "PNG"
        assert min(picture.size) > 500
    assert [path.name for path in tmp_path.iterdir()] == ["p.png"]
    axes = draw([made_up_group()], "AMD EPYC").axes[0]
    assert [float(line.get_xdata()[0]) for line in axes.lines] == [100.0, 200.0, 100.0]
    # What no healthy moment confirmed is hollow.
    assert [line.get_markerfacecolor() == "none" for line in axes.lines] == [False, True, False]
    assert (axes.get_ylabel(), axes.get_title()) == (SNR, "AMD EPYC")


def test_nothing_to_draw_is_an_error() -> None:
    rows = tuple(dataclasses.replace(row, snr_db=None, accuracy=None) for row in made_up_group().rows)
    with pytest.raises(InputError, match="nothing to plot"):
        draw([Group("m", 1, rows, ())], "")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("p.svg", "a .png file, got 'p.svg'; name it p.png"),
        ("no/p.png", "there is no folder"),
        ("f.png", "is a folder"),
    ],
)
def test_a_bad_place_is_refused(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "f.png").mkdir()
    with pytest.raises(InputError, match=message):
        require_plot(tmp_path / name)


def test_a_full_disk_is_told_before_and_after(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: Any, **options: Any) -> Any:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(tempfile, "TemporaryFile", full)
        with pytest.raises(InputError, match=r"p\.png: No space left on device"):
            require_plot(tmp_path / "p.png")
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", full)
    with pytest.raises(InputError, match=r"p\.png: No space left on device"):
        write_plot([made_up_group()], "AMD EPYC", tmp_path / "p.png")
    assert list(tmp_path.iterdir()) == []


def test_without_matplotlib_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'onnxzoo\[bench\]'"):
        require_plot(tmp_path / "p.png")
