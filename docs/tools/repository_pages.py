"""Pages of the repository outside docs/ that the site has, too: READMEs and results, to which pages link as on GitHub.

In Markdown, links are relative paths in the repository. In the site, the pages of `FOLDERS` and `PAGES` are at the same
place below `repository/`; a link to any other file outside docs/ becomes its text, as the site does not have the file.
"""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
PLACE = PurePosixPath("repository")
FOLDERS = ("benchmarks/results",)
PAGES = (
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "benchmarks/README.md",
    "benchmarks/gpu_first_hour.md",
    "clients/cpp/README.md",
    "clients/web/README.md",
    "examples/kuberay_job.yaml",
    "exports/README.md",
    "exports/window_order.svg",
    "training/checkpoints/README.md",
    "validators/README.md",
)

_LINK = re.compile(r"(?P<image>!?)\[(?P<text>[^\]]*)\]\((?P<target>[^)\s#]+)(?P<anchor>#[^)\s]*)?\)")


def taken() -> list[str]:
    """The files of the repository that the site has, as paths from its root."""
    found = [path.relative_to(ROOT).as_posix() for folder in FOLDERS for path in sorted((ROOT / folder).glob("*.md"))]
    return [*PAGES, *found]


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the files. Called by MkDocs."""
    for name in taken():
        files.append(File.generated(config, str(PLACE / name), abs_src_path=str(ROOT / name)))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Rewrite a page's links to files outside docs/. Called by MkDocs."""
    here = PurePosixPath(page.file.src_uri)
    return _LINK.sub(lambda link: rewritten(link, here), markdown)


def rewritten(link: re.Match[str], here: PurePosixPath) -> str:
    """The link of the page at `here`, a path in the site, as it has to be in the site."""
    target = link["target"]
    if re.match(r"[a-z]+:", target):
        return link[0]
    inside = here.is_relative_to(PLACE)
    source = here.relative_to(PLACE) if inside else PurePosixPath("docs", here)
    path = os.path.normpath(source.parent / target)
    if path.startswith("docs/"):
        place = path.removeprefix("docs/")
    elif path in taken():
        place = str(PLACE / path)
    elif path == "README.md":
        place = "index.md"
    elif (ROOT / path).exists():
        return f"{link['text']} (`{path}` in the repository)"
    else:
        return link[0]  # MkDocs reports that it leads nowhere
    return f"{link['image']}[{link['text']}]({os.path.relpath(place, here.parent)}{link['anchor'] or ''})"
