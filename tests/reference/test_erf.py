"""The error function and GELU in float64: against the C library on dense grids, against fractions, at the edges."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from onnxzoo.reference.exact.erf import ONE_FROM, PIECE, POINTS, erf, gelu

GRIDS = {
    "all that changes": np.linspace(-6.5, 6.5, 200_001),
    "around zero": np.linspace(-2e-3, 2e-3, 50_001),
    "tiny": np.concatenate([sign * np.logspace(-307, 0, 50_000) for sign in (-1, 1)]),
    "points of the table and between them": np.arange(-6 * POINTS * 2, 6 * POINTS * 2 + 1) / (POINTS * 2),
    "random": np.random.RandomState(0).standard_normal(100_000) * 2,
}


def sqrt_of_pi() -> Fraction:
    """To 60 digits, by the integer square root of pi's first 120."""
    pi = int(
        "3141592653589793238462643383279502884197169399375105820974944592307816406286208998628034825342117067982148086513"
        "28230664"
    )
    return Fraction(math.isqrt(pi * 10), 10**60)


def exact_erf(x: float) -> Fraction:
    """2/sqrt(pi) * sum of (-1)^n x^(2n+1) / (n! (2n+1)): with 200 terms exact to 40 digits below 4."""
    square, power, total = Fraction(x) ** 2, Fraction(x), Fraction(0)
    for n in range(200):
        total += power / (2 * n + 1)
        power = -power * square / (n + 1)
        power = Fraction(round(power * 10**80), 10**80)
    return 2 * total / sqrt_of_pi()


@pytest.mark.parametrize("grid", GRIDS)
def test_erf_is_the_c_librarys_to_a_few_units_in_the_last_place(grid: str) -> None:
    x = GRIDS[grid]
    expected = np.array([math.erf(value) for value in x.tolist()])
    assert (np.abs(erf(x) - expected) <= 2 * np.spacing(np.abs(expected))).all()
    np.testing.assert_allclose(erf(x), expected, rtol=1e-15, atol=0)


def test_erf_is_the_series_of_exact_fractions() -> None:
    """Not the C library, from which the table comes."""
    for x in np.random.RandomState(1).uniform(-3.9, 3.9, 60).tolist():
        error = Fraction(float(erf(np.array([x]))[0])) - exact_erf(x)
        assert abs(error) <= 2 * Fraction(float(np.spacing(abs(math.erf(x))))), x


def test_erf_at_the_edges() -> None:
    values = np.array([0.0, -0.0, np.inf, -np.inf, ONE_FROM, -ONE_FROM, 1e300, 5e-324])
    assert erf(values).tolist() == [0.0, 0.0, 1.0, -1.0, 1.0, -1.0, 1.0, pytest.approx(0, abs=1e-323)]
    with np.errstate(all="raise"):
        assert np.isnan(erf(np.array([np.nan, 1.0]))).tolist() == [True, False]


def test_erf_is_odd_and_rises() -> None:
    x = np.linspace(0, 7, 70_001)
    np.testing.assert_array_equal(erf(-x), -erf(x))
    assert (np.diff(erf(x)) >= -np.spacing(1.0)).all()


@pytest.mark.parametrize("shape", [(), (0,), (1,), (PIECE,), (PIECE + 1,), (3, 5, 7), (2, PIECE)])
def test_any_shape_is_kept(shape: tuple[int, ...]) -> None:
    x = np.random.RandomState(0).standard_normal(shape)
    x = np.asarray(x, np.float64)
    assert erf(x).shape == gelu(x).shape == shape
    flat = [math.erf(value) for value in x.ravel().tolist()]
    np.testing.assert_allclose(erf(x).ravel(), flat, rtol=1e-15, atol=0)


def test_arrays_that_are_views_are_read_right_and_not_changed() -> None:
    whole = np.random.RandomState(0).standard_normal((40, 30))
    before = whole.copy()
    np.testing.assert_array_equal(gelu(whole.T[::2]), gelu(np.ascontiguousarray(whole.T[::2])))
    np.testing.assert_array_equal(whole, before)


def test_gelu_is_x_times_the_normal_distribution() -> None:
    x = np.linspace(-8, 8, 10_001)
    expected = [value * 0.5 * math.erfc(-value / math.sqrt(2)) for value in x.tolist()]
    np.testing.assert_allclose(gelu(x), expected, rtol=1e-15, atol=1e-15)
    assert abs(gelu(np.array([1.0]))[0] - 0.8413447460685429) < 2e-16
