"""Fixtures of the tests of training."""

from __future__ import annotations

from pathlib import Path

import pytest
from toy_training import write_separable


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_separable(tmp_path_factory.mktemp("separable"))
