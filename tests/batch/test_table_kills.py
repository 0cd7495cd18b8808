"""SIGKILL at random moments, and the same command again: every image exactly once, in every format."""

from __future__ import annotations

import pytest
from table_kills import TASKS, kill_runs, write_images


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("kills") / "images", 60)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", TASKS)
def test_a_killed_run_goes_on_and_has_every_image_once(tiny, images, tmp_path, suffix):
    figures = kill_runs(tiny, images, tmp_path, suffix, rounds=2, part_rows=4, seed=len(suffix))
    assert figures.wrong == []
    assert (figures.exact, figures.rewritten, figures.left_behind) == (2, 0, 0)
    assert figures.images == 60
    assert figures.kills >= 2
