"""What a change costs in accuracy, on the same images."""

from __future__ import annotations

import math

import numpy as np
import pytest

from onnxzoo.evaluation.paired import PairedDrop, paired_drop


def test_only_images_that_change_sides_count() -> None:
    before = np.array([1, 1, 1, 0, 0, 1, 0, 1], bool)
    after = np.array([1, 0, 1, 1, 0, 0, 0, 0], bool)
    drop = paired_drop(before, after)
    assert drop == PairedDrop(images=8, right=3, lost=3, won=1)
    assert (drop.before, drop.after, drop.drop) == (5 / 8, 3 / 8, 2 / 8)


def test_the_interval_is_the_papers() -> None:
    # Agresti and Min (2005), section 2: approval of a prime minister, 1600 voters: 150 turned away, 86 turned to him.
    drop = PairedDrop(images=1600, right=880, lost=150, won=86)
    low, high = drop.interval
    difference, count = 64 / 1602, 1602
    deviation = math.sqrt((150.5 + 86.5) - 64**2 / count) / count
    assert low == pytest.approx(difference - 1.959964 * deviation, abs=1e-7)
    assert high == pytest.approx(difference + 1.959964 * deviation, abs=1e-7)
    assert (low, high) == pytest.approx((0.0212, 0.0587), abs=2e-4)


def test_no_change_still_has_an_interval() -> None:
    low, high = PairedDrop(images=500, right=450, lost=0, won=0).interval
    assert low < 0 < high
    assert high == pytest.approx(0.0039, abs=1e-4)
    wide = PairedDrop(images=50, right=45, lost=0, won=0).interval
    assert wide[1] > 5 * high
