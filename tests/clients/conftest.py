"""The clients in other languages, each built once for all tests of this folder."""

from __future__ import annotations

import pytest
from cpp_client import CppClient, build_client
from web_client import WebClient, compiled_client


@pytest.fixture(scope="session")
def cpp(tmp_path_factory: pytest.TempPathFactory) -> CppClient:
    return build_client(tmp_path_factory.mktemp("cpp"))


@pytest.fixture(scope="session")
def web(tmp_path_factory: pytest.TempPathFactory) -> WebClient:
    return compiled_client(tmp_path_factory.mktemp("web"))
