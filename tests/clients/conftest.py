"""The clients in other languages, each built once for all tests of this folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cpp_client import CppClient, build_client
from web_browser import Browser, Page, Server, open_browser, served
from web_client import SOURCE, WebClient, compiled_client, required_node

from onnxzoo.deploy.chosen import choose
from onnxzoo.deploy.web import write_site
from onnxzoo.deploy.web_runtime import runtime_files
from onnxzoo.hub import shipped_models


@pytest.fixture(scope="session")
def cpp(tmp_path_factory: pytest.TempPathFactory) -> CppClient:
    return build_client(tmp_path_factory.mktemp("cpp"))


@pytest.fixture(scope="session")
def web(tmp_path_factory: pytest.TempPathFactory) -> WebClient:
    return compiled_client(tmp_path_factory.mktemp("web"))


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    found = open_browser()
    yield found
    found.close()


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site with the two shipped models."""
    required_node()
    folder = tmp_path_factory.mktemp("site") / "site"
    names = [folder.name for folder in shipped_models()]
    write_site(folder, choose(names), runtime_files(SOURCE / "node_modules"))
    return folder


@pytest.fixture
def server(site: Path) -> Iterator[Server]:
    with served(site) as found:
        yield found


@pytest.fixture
def visit(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Opens pages, which are closed at the end of the test."""
    opened: list[Page] = []

    def open_page(url: str, **options: object) -> Page:
        opened.append(Page(browser, url, **options))
        return opened[-1]

    yield open_page
    for page in opened:
        page.close()
