"""The model of the cost of large runs: what it is fitted to, what it predicts, and the page that it is written on."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "scale_model.py"


@pytest.fixture(scope="module")
def scale() -> ModuleType:
    spec = importlib.util.spec_from_file_location("scale_model", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["scale_model"] = module  # where its dataclasses look themselves up
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def measured(scale):
    """A machine on which an image takes 20 ms in one process and 25 ms in a worker, and nothing disturbs."""
    points = [
        scale.Point("one process", 1, 100, 3.0, 3.0),
        scale.Point("one process", 1, 400, 9.0, 9.0),
        scale.Point("one process", 2, 400, 5.0, 8.8),
        scale.Point("Ray", 1, 400, 20.0, 10.0, 11.25),
        scale.Point("Ray", 2, 400, 15.0, 10.0, 11.3),
        scale.Point("Ray, a worker killed", 2, 400, 19.0, 10.0, 11.2),
    ]
    listing = {"entries_per_s": 50_000.0, "bytes_per_entry": 80.0, "finished_parts_per_s": 1000.0}
    buckets = tuple(
        {
            "images": count,
            "requests": {"GET": count, "LIST": 2, "HEAD": 1},
            "bytes": 1000 + 50_000 * count,
            "image_bytes": 50_000 * count,
        }
        for count in (50, 200)
    )
    return scale.Measured("tiny", "a CPU", 2, 0.1, 50, 50_000.0, points, listing, buckets)


def test_the_fit_gives_back_what_the_points_were_made_of(scale, measured):
    model = scale.fitted(measured)
    assert model.image_s == pytest.approx(0.02)
    assert model.start_s == pytest.approx(1.0)
    assert model.worker_image_s == pytest.approx(0.025)
    assert model.ray_start_s == pytest.approx(10.0)


def test_predictions_share_the_work_and_count_whole_parts(scale, measured):
    model = scale.fitted(measured)
    assert model.wall_s("one process", 2, 400, 50) == pytest.approx(5.0)
    assert model.wall_s("Ray", 1, 400, 50) == pytest.approx(20.0)
    assert model.wall_s("Ray", 2, 400, 50) == pytest.approx(15.0)
    assert model.wall_s("Ray", 3, 400, 50) == pytest.approx(10 + 3 * 50 * 0.025), "eight parts for three workers"
    assert model.lost_worker_s(50) == pytest.approx(11.25)


def test_the_page_has_every_point_and_the_billion(scale, measured):
    page = scale.written(measured, scale.fitted(measured))
    assert page.count("| one process |") == 3
    assert "| Ray | 2 | 400 | 10.0 | 10.0 | 1.00 | 15.0 | 15.0 | 1.00 | 26.7 |" in page
    assert "| one process | 2 | 400 | 8.8 | 9.0 | 0.98 | 5.0 | 5.0 | 1.00 | 80.0 |" in page
    assert "the run took +4.0 s, by the model at most 11.2 s more" in page
    assert "| CPU hours | 6,944 |" in page
    assert "| hours on 640 CPUs | 10.9 |" in page
    assert "| bytes read | 50 TB |" in page
    assert "| GET requests to a bucket | 1,000,000,000 |" in page
    assert "| LIST requests, 2 for each 1,000 names | 2,000,000 |" in page
    assert "| CPUs that one program can keep busy | 1,250 |" in page
    assert "| looking through all of them when a run goes on | 17 min |" in page
    assert "other programs" not in page


def test_a_busy_machine_is_said(scale, measured):
    from dataclasses import replace

    busy = replace(measured, load_average=7.5)
    assert "load average before was 7.5, so other programs" in scale.written(busy, scale.fitted(busy))
