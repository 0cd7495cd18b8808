"""The figures of a benchmark, from samples and limits that are known."""

from __future__ import annotations

import dataclasses
import json

import pytest
from timed import made_up_group

from onnxzoo.bench.result import Limit, Row, Speed, against_limit, as_document, fastest, percentile, speed_of
from onnxzoo.bench.timing import Sample

ROW = Row("m", "openvino", "openvino", "CPU", "1", "fp32", 8, Speed(80.0, 80.0, 80.0, 80.0, 100.0, 9, 9, 9))


@pytest.mark.parametrize(
    ("percent", "expected"), [(1, 1), (50, 50), (95, 95), (99, 99), (99.5, 100), (100, 100), (0, 1)]
)
def test_a_percentile_is_the_nearest_rank(percent: float, expected: int) -> None:
    values = [*range(51, 101), *range(1, 51)]
    assert percentile(values, percent) == expected


@pytest.mark.parametrize(
    ("values", "p50", "p99"), [([7.0], 7.0, 7.0), ([1.0, 9.0], 1.0, 9.0), ([3.0, 1.0, 2.0], 2.0, 3.0)]
)
def test_a_percentile_of_few_values_is_one_of_them(values: list[float], p50: float, p99: float) -> None:
    assert (percentile(values, 50), percentile(values, 99)) == (p50, p99)


def test_only_healthy_samples_are_in_the_figures() -> None:
    healthy = [Sample([0.010, 0.012], (0.02, 0.02)), Sample([0.011], (0.02, 0.02))]
    samples = [*healthy, Sample([0.001, 9.0], (0.02, 0.9))]
    speed = speed_of(samples, healthy, 4)
    assert (speed.min_ms, speed.p50_ms, speed.p95_ms, speed.p99_ms) == pytest.approx((10.0, 11.0, 12.0, 12.0))
    assert speed.images_per_second == pytest.approx(4 / 0.011)
    assert (speed.inferences, speed.healthy, speed.samples) == (3, 2, 3)


def test_without_a_healthy_sample_all_count_and_that_is_said() -> None:
    samples = [Sample([0.010, 0.030], (0.9, 0.9)), Sample([0.020], (0.9, 0.9))]
    speed = speed_of(samples, [], 1)
    assert (speed.p50_ms, speed.p99_ms, speed.healthy, speed.samples) == (pytest.approx(20), pytest.approx(30), 0, 2)


def test_a_limit_is_what_the_fastest_healthy_product_reaches() -> None:
    healthy = [Sample([0.012, 0.010], (0.02, 0.02)), Sample([0.011], (0.02, 0.02))]
    assert fastest([*healthy, Sample([0.001], (0.02, 0.9))], healthy) == 0.010
    assert fastest([Sample([0.02, 0.03], (0.9, 0.9))], []) == 0.02


def test_the_share_is_of_the_fastest_product_of_the_same_precision() -> None:
    limits = [Limit("openvino", "fp32", 160.0), Limit("onnxruntime", "fp32", 200.0), Limit("openvino", "int8", 900.0)]
    row = against_limit(ROW, 0.5, limits)
    # 2 operations x 0.5 G x 100 images/s.
    assert (row.gflops, row.limit_gflops, row.limit_share) == (100.0, 200.0, 0.5)


@pytest.mark.parametrize(
    ("row", "gmacs"),
    [(ROW, None), (dataclasses.replace(ROW, speed=None), 0.5), (dataclasses.replace(ROW, device="cuda:0 L40S"), 0.5)],
    ids=["unknown architecture", "failed", "not the CPU"],
)
def test_there_is_no_share_where_it_would_mean_nothing(row: Row, gmacs: float | None) -> None:
    assert against_limit(row, gmacs, [Limit("openvino", "fp32", 200.0)]).limit_share is None


def test_without_a_product_of_its_precision_a_row_has_no_limit() -> None:
    row = against_limit(ROW, 0.5, [Limit("openvino", "int8", 900.0)])
    assert (row.gflops, row.limit_gflops, row.limit_share) == (100.0, None, None)


def test_the_document_has_everything_and_is_json() -> None:
    document = as_document(
        [made_up_group()], machine={"CPU": "one"}, settings={"threads": 2}, skipped={"torch": "pip install torch"}
    )
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert list(document) == ["schema_version", "complete", "machine", "settings", "results", "limits", "skipped"]
    first, second, _, failed = document["results"]
    assert first["speed"] == {
        "min_ms": 9.5, "p50_ms": 10.0, "p95_ms": 11.0, "p99_ms": 12.5, "images_per_second": 100.0, "inferences": 300,
        "healthy": 9, "samples": 10,
    }  # fmt: skip
    assert (first["accuracy"]["top1"], first["limit_share"], second["speed"]["healthy"]) == (0.9183, 0.53, 0)
    assert (failed["speed"], failed["error"]) == (None, "no C++ compiler")
    assert document["limits"] == [
        {"model": "pvt_v2_b0", "batch_size": 1, "engine": "openvino", "precision": "fp32", "gflops": 200.0}
    ]
