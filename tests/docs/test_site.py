"""The site of `make docs`: it builds without a warning, loads nothing from elsewhere, and is complete."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import click
import pytest
from documentation import DOCS, ROOT

import onnxzoo
from onnxzoo import errors
from onnxzoo.cli import main

pytest.importorskip("mkdocs", reason="comes with the extra docs")
pytestmark = pytest.mark.slow  # the site is built once
LOADS = {
    "script": "src",
    "img": "src",
    "iframe": "src",
    "source": "src",
    "audio": "src",
    "video": "src",
    "object": "data",
}
"""Elements that make a browser fetch something, and the attribute that says from where; `link` depends on its rel."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site."""
    folder = tmp_path_factory.mktemp("site")
    mkdocs = Path(sys.executable).with_name("mkdocs")
    command = [mkdocs, "build", "--strict", "--quiet", "--config-file", ROOT / "mkdocs.yml", "--site-dir", folder]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return folder


class Loaded(HTMLParser):
    """Collects what a page makes a browser fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.urls: list[str] = []
        self.ids: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if "id" in given:
            self.ids.add(given["id"])
        if tag == "link" and not {"prev", "next", "canonical"} & set(given.get("rel", "").split()):
            self.urls.append(given["href"])
        elif LOADS.get(tag, "") in given:
            self.urls.append(given[LOADS[tag]])
        self.urls += [part.split()[0] for part in given.get("srcset", "").split(",") if part]
        self.urls += urls_of_css(given.get("style", ""))


def urls_of_css(text: str) -> Iterator[str]:
    for quoted in re.findall(r"url\(([^)]*)\)|@import\s+([^;]+);", text):
        yield "".join(quoted).strip("'\" ")


def foreign(urls: list[str]) -> list[str]:
    return [url for url in urls if re.match(r"(?!data:)[a-z]+:|//", url)]


def loaded(page: Path) -> Loaded:
    parser = Loaded()
    parser.feed(page.read_text(encoding="utf-8"))
    return parser


def test_pages_load_nothing_from_elsewhere(site: Path) -> None:
    found = {page.name: foreign(loaded(page).urls) for page in site.rglob("*.html")}
    assert len(found) > 10
    assert {name: urls for name, urls in found.items() if urls} == {}
    for sheet in site.rglob("*.css"):
        assert foreign(list(urls_of_css(sheet.read_text(encoding="utf-8")))) == []


def test_what_is_loaded_from_elsewhere_would_be_found() -> None:
    parser = Loaded()
    parser.feed('<link rel="stylesheet" href="//a.example/x.css"><img src="https://b.example/y"><script src="z.js">')
    assert foreign(parser.urls) == ["//a.example/x.css", "https://b.example/y"]
    assert foreign(list(urls_of_css("a { b: url('https://c.example/d') } @import 'https://e.example/f';"))) == [
        "https://c.example/d",
        "https://e.example/f",
    ]


def test_no_page_wakes_the_parts_of_the_theme_that_ask_other_sites(site: Path) -> None:
    """The theme asks api.github.com about a repository, and unpkg.com for Mermaid, where a page has these elements."""
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert 'data-md-component="source"' not in text
        assert 'class="mermaid"' not in text


def test_every_command_is_on_its_page(site: Path) -> None:
    ids = loaded(site / "reference" / "command_line.html").ids
    context = click.Context(main)
    assert {f"onnxzoo-{name}" for name in main.list_commands(context)} <= ids
    assert {"onnxzoo-deploy-docker", "onnxzoo-cache-list"} <= ids


def test_every_environment_variable_is_on_the_page_of_the_commands() -> None:
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "onnxzoo").rglob("*.py")]
    variables = {name for source in sources for name in re.findall(r'"(ONNXZOO_[A-Z_]+)"', source)}
    text = (DOCS / "reference" / "command_line.md").read_text(encoding="utf-8")
    assert {name for name in variables if f"`{name}`" not in text} == set()
    assert len(variables) > 4


def test_every_error_is_on_its_page(site: Path) -> None:
    text = (site / "reference" / "errors.html").read_text(encoding="utf-8")
    listed = set(re.findall(r"<td><code>(\w+)</code></td>\n<td><code>\w+</code></td>\n<td>[123]</td>", text))
    assert {errors.OnnxzooError.__name__, *listed} == {
        name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, Exception)
    }


def test_every_public_name_is_in_the_reference_of_the_api(site: Path) -> None:
    ids = loaded(site / "reference" / "api.html").ids
    places = {value.__module__ + "." + value.__qualname__ for value in map(onnxzoo.__getattr__, onnxzoo._LAZY)}
    assert {place for place in places if not place.endswith("version")} <= ids


def test_the_commands_are_where_their_mark_was(site: Path) -> None:
    mark = "<!-- the commands -->"
    assert any(mark in page.read_text(encoding="utf-8") for page in DOCS.rglob("*.md"))
    for page in site.rglob("*.html"):
        assert mark not in page.read_text(encoding="utf-8"), page


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "docs/index.md"])
def test_links_lead_to_files_and_headings_that_there_are(site: Path, name: str) -> None:
    """Those of the site's pages are checked by MkDocs; here those of the repository, of which README is not in it."""
    page = ROOT / name
    links = re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))
    assert links
    for link in links:
        path, _, anchor = link.partition("#")
        if ":" in path:
            continue
        target = (page.parent / path).resolve()
        assert target.exists(), link
        if anchor:
            built = site / target.relative_to(DOCS).with_suffix(".html")
            assert anchor in loaded(built).ids, link
