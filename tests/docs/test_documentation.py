"""How pages are read: their code blocks, the comments before them, and the commands in them."""

from __future__ import annotations

from pathlib import Path

import pytest
from documentation import Block, Command, blocks, commands

TEXT = """# Page

```python
a = 1
```

<!-- prints -->
```text
1
```

- A list:
    <!-- not run: it needs a GPU -->
    ```console
    $ onnxzoo predict swin a.jpg \\
        --top-k 3   # best three
    one
    two

    $ onnxzoo doctor | head -1
    ```
"""


@pytest.fixture
def page(tmp_path: Path) -> Path:
    path = tmp_path / "page.md"
    path.write_text(TEXT, encoding="utf-8")
    return path


def test_blocks_have_their_language_their_line_and_what_the_comment_says(page: Path) -> None:
    python, text, console = blocks(page)
    assert (python.language, python.line, python.code, python.reason) == ("python", 3, "a = 1\n", "")
    assert text.prints
    assert (console.reason, console.line) == ("it needs a GPU", 14)


def test_commands_are_read_with_their_output(page: Path) -> None:
    first, second = commands(blocks(page)[-1])
    assert first.words == ["onnxzoo", "predict", "swin", "a.jpg", "--top-k", "3"]
    assert first.output.split() == ["one", "two"]
    assert not first.needs_shell
    assert second.needs_shell


@pytest.mark.parametrize("text", ["echo $(pwd)", "a > b", "a && b", "a | b", "A=$HOME b", "b &"])
def test_what_only_a_shell_understands(text: str) -> None:
    assert Command(text, "").needs_shell


@pytest.mark.parametrize("text", ["onnxzoo predict swin 'scans/**/*.png' -", "onnxzoo info a --x=1  # a | b"])
def test_what_is_a_program_with_arguments(text: str) -> None:
    assert not Command(text, "").needs_shell


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("```python\na", "not closed"),
        ("<!-- prints -->\nText", "is not before a block"),
        ("<!-- exit code 1 -->", "is not before a block"),
    ],
)
def test_a_page_that_cannot_be_read_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "page.md"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(AssertionError, match=rf"page\.md.*{message}"):
        blocks(path)


def test_a_console_block_begins_with_a_command(page: Path) -> None:
    with pytest.raises(AssertionError, match="begins with"):
        commands(Block(Path(__file__), 1, "console", "onnxzoo list\n"))
