"""Files of class names, as people write them."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny import LABELS

from onnxzoo import registry
from onnxzoo.data.labels import parse_labels, read_labels
from onnxzoo.datasets import DATASETS
from onnxzoo.errors import RegistryError

NAMES = ("T-shirt", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Boot")


def numbered(separator: str = " ", first: int = 0, end: str = "\n") -> str:
    return "".join(f"{number + first}{separator}{name}{end}" for number, name in enumerate(NAMES))


@pytest.mark.parametrize(
    "text",
    [
        numbered(),
        numbered("\t"),
        numbered("   "),
        numbered(first=1),
        numbered(end="\r\n"),
        numbered(end="\n\n"),
        numbered(end="  \n"),
        "\n".join(reversed(numbered().splitlines())),
        numbered().partition("\n")[2] + "0 T-shirt\n",
        "".join(f"{name}\n" for name in NAMES),
    ],
    ids=["ids", "tabs", "spaces", "from 1", "CRLF", "blank lines", "trailing blanks", "reversed", "rotated", "no ids"],
)
def test_names_by_class_id(text: str) -> None:
    assert parse_labels(text, "here") == NAMES


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "gb18030", "gbk"])
def test_encodings(tmp_path: Path, encoding: str) -> None:
    file = tmp_path / "labels.txt"
    for names in (("靴子", "上衣"), ("靴", "靴7"), ("丂靴子", "靴塡")):  # in GBK, a boot is Old Slavonic in UTF-8
        file.write_bytes(f"0 {names[0]}\n1 {names[1]}\n".encode(encoding))
        assert read_labels(file) == names


def test_letters_of_other_scripts_stay_utf_8(tmp_path: Path) -> None:
    names = ("туфля", "χιτών", "naïve", "Ångström")
    file = tmp_path / "labels.txt"
    file.write_text("".join(f"{number} {name}\n" for number, name in enumerate(names)), encoding="utf-8")
    assert read_labels(file) == names


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0\n1\n2\n", ("0", "1", "2")),
        ("10\n20\n50\n", ("10", "20", "50")),
        ("0 0\n1 1\n2 2\n", ("0", "1", "2")),
        ("cola\nlemonade\ntonic\n7 up\n", ("cola", "lemonade", "tonic", "7 up")),
        ("0 3 Series\n1 5 Series\n", ("3 Series", "5 Series")),
        ("crane\ncrane\n", ("crane", "crane")),
        ("0 crane\n1 crane\n", ("crane", "crane")),
        ("one\n", ("one",)),
        ("5\n", ("5",)),
        ("0 tench, Tinca tinca\n1 goldfish\n", ("tench, Tinca tinca", "goldfish")),
    ],
)
def test_names_that_look_like_numbers(text: str, expected: tuple[str, ...]) -> None:
    assert parse_labels(text, "here") == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "contains no labels"),
        ("\n \n", "contains no labels"),
        ("0 cat\n2 dog\n", "line 2: got the class id 2 \\('dog'\\), expected 0 to 1, of which 1 is missing"),
        ("3 Series\n5 Series\n", "line 1: got the class id 3 .*, expected 1 to 2"),
        ("0 cat\n0 dog\n", "line 1: the class id 0 \\('cat'\\) occurs twice"),
        ("0 cat\n1\n", "line 1 may begin with a class id .*, line 2 does not"),
        ("cat\n2 up\ndog\n", "line 2 may begin with a class id"),
        ("cat\n\ndog\n", "line 2: blank between names without ids"),
        ("0,cat\n1,dog\n", "'0,cat' may be an id and a name"),
        ("0: cat\n1: dog\n", "may be an id and a name"),
        ("1 Series\n2 Series\n", "may be ids or parts of the names, all 'Series'"),
        ("1\n2\n0\n", "may be class ids or names, and are not in order"),
    ],
)
def test_what_can_be_read_in_two_ways_is_refused(text: str, message: str) -> None:
    with pytest.raises(RegistryError, match=f"^my labels.*{message}"):
        parse_labels(text, "my labels")


def test_what_is_not_text_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "labels.txt"
    for content in (b"\xff\xfe\x00", b"0 a\x00\n", "0 café\n".encode("latin-1"), "0 a\n".encode("utf-16-le")):
        file.write_bytes(content)
        with pytest.raises(RegistryError, match=r"labels.txt: it is not text in UTF-8, GBK or UTF-16"):
            read_labels(file)
    with pytest.raises(RegistryError, match=r"cannot read the labels .*: No such file"):
        read_labels(tmp_path / "none")
    with pytest.raises(RegistryError, match=r"cannot read the labels .*: Is a directory"):
        read_labels(tmp_path)


@pytest.mark.parametrize("label_set", DATASETS)
def test_the_packages_own_files_have_their_ids_in_order(label_set: str) -> None:
    file = Path(registry.__file__).parent / "labels" / f"{label_set}.txt"
    lines = file.read_text(encoding="utf-8").splitlines()
    assert [line.partition(" ")[0] for line in lines] == [str(number) for number in range(len(lines))]
    assert registry.labels(label_set) == read_labels(file)


def test_a_line_of_any_length_is_refused_by_its_number() -> None:
    with pytest.raises(RegistryError, match=r"^here, line 2: got 5002 characters, expected at most 1000$"):
        parse_labels("0 cat\n1 " + "x" * 5000, "here")


def test_the_config_of_an_artifact_has_them(tiny: Path, tmp_path: Path) -> None:
    assert read_labels(tiny / "config.json") == LABELS
    (tmp_path / "config.json").write_text("0 cat\n1 dog\n", encoding="utf-8")
    with pytest.raises(RegistryError, match=r"config\.json cannot be read"):
        read_labels(tmp_path / "config.json")
