"""Fixtures of the tests of images."""

from __future__ import annotations

import pytest
from pictures import SPECS

from onnxzoo.registry import Preprocess


@pytest.fixture(params=SPECS.values(), ids=SPECS.keys())
def spec(request: pytest.FixtureRequest) -> Preprocess:
    chosen: Preprocess = request.param
    return chosen
