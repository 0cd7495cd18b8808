"""Files of class names, for exports, evaluation and training alike.

A line is `id name`, as in PaddleClas's label lists, separated by spaces or tabs; lines may be in any order, and blank
lines are ignored. Ids start from 0, or from 1, in which case id 1 is the first class. A file without ids has one name
per line, in the order of the class ids. Ambiguous files are refused.

Two ids may have the same name: in ImageNet-1k `crane` is a bird and a machine.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from ..artifact.folder import CONFIG_FILE, read_artifact
from ..errors import ArtifactError, RegistryError
from .encoding import read_text

_ID_AND_NAME = re.compile(r"(\d{1,9})[ \t]+(\S.*)", re.ASCII)
_OTHER_SEPARATOR = re.compile(r"\d{1,9}\s*[,;:|=.)\]-]\s*\S.*", re.ASCII)
MAX_LINE = 1000
"""Characters of an id and its name, as many as an artifact takes for a name."""
_ADVICE = "write 'id name' in every line, with ids from 0"


def read_labels(file: Path) -> tuple[str, ...]:
    """Class names by class id from such a file or an artifact's config.json.

    Raises RegistryError, which names the file and the line, if the file is invalid or ambiguous.
    """
    try:
        if file.name == CONFIG_FILE:
            return read_artifact(file.parent).id2label
        return parse_labels(read_text(file), str(file))
    except (OSError, ValueError) as error:
        if isinstance(error, RegistryError):
            raise
        if isinstance(error, ArtifactError):
            raise RegistryError(str(error)) from None
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise RegistryError(f"cannot read the labels in {file}: {reason}") from None


def parse_labels(text: str, where: str) -> tuple[str, ...]:
    """Class names by class id from the text of such a file; `where` names it in errors.

    Raises RegistryError for an empty or ambiguous text.
    """
    lines = [line.strip() for line in text.splitlines()]
    while lines and not lines[-1]:
        lines.pop()
    written = {number: line for number, line in enumerate(lines, start=1) if line}
    if not written:
        raise RegistryError(f"{where} contains no labels; expected lines '<id> <name>'")
    for number, line in written.items():
        if len(line) > MAX_LINE:
            raise RegistryError(f"{where}, line {number}: got {len(line)} characters, expected at most {MAX_LINE}")
    keyed = {number: match for number, line in written.items() if (match := _ID_AND_NAME.fullmatch(line))}
    if len(keyed) == len(written):
        return _by_id({number: (int(match[1]), match[2]) for number, match in keyed.items()}, where)
    for number, match in keyed.items():
        # Behind 'cat' and 'dog', '7 up' is a name. '2 up' may be the id 2.
        if int(match[1]) in (number - 1, number):
            other = next(number for number in written if number not in keyed)
            raise RegistryError(
                f"{where}: line {number} may begin with a class id ({written[number][:40]!r}), "
                f"line {other} does not ({written[other][:40]!r}); {_ADVICE}"
            )
    return _in_order(lines, where)


def _by_id(rows: dict[int, tuple[int, str]], where: str) -> tuple[str, ...]:
    """The names of lines `id name`, given by line number."""
    counts = Counter(class_id for class_id, _ in rows.values())
    count = len(rows)
    for number, (class_id, name) in rows.items():
        if counts[class_id] > 1:
            raise RegistryError(f"{where}, line {number}: the class id {class_id} ({name[:40]!r}) occurs twice")
    first = 1 if 0 not in counts else 0
    for number, (class_id, name) in rows.items():
        if not first <= class_id < first + count:
            missing = next(value for value in range(first, first + count) if value not in counts)
            raise RegistryError(
                f"{where}, line {number}: got the class id {class_id} ({name[:40]!r}), expected {first} to "
                f"{first + count - 1}, of which {missing} is missing; {_ADVICE}"
            )
    if first == 1 and count > 1 and len({name for _, name in rows.values()}) == 1:
        only = next(iter(rows.values()))[1]
        raise RegistryError(f"{where}: its numbers may be ids or parts of the names, all {only[:40]!r}; {_ADVICE}")
    names = {class_id - first: name for class_id, name in rows.values()}
    return tuple(names[class_id] for class_id in range(count))


def _in_order(lines: Sequence[str], where: str) -> tuple[str, ...]:
    """The names of lines without ids."""
    for number, line in enumerate(lines, start=1):
        if not line:
            raise RegistryError(f"{where}, line {number}: blank between names without ids; {_ADVICE}")
    if all(_OTHER_SEPARATOR.fullmatch(line) for line in lines):
        raise RegistryError(f"{where}: {lines[0][:40]!r} may be an id and a name; {_ADVICE}")
    values = [int(line) for line in lines if line.isascii() and line.isdigit() and len(line) < 10]
    numberings = [list(range(first, first + len(lines))) for first in (0, 1)]
    if len(values) == len(lines) > 1 and sorted(values) in numberings and values not in numberings:
        raise RegistryError(f"{where}: its lines may be class ids or names, and are not in order; {_ADVICE}")
    return tuple(lines)
