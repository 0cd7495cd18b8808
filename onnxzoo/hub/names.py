"""What users write for a model on the Hub: USER/NAME, USER/NAME@REVISION, and where the registry's models are."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from ..errors import InputError

ENDPOINT_VARIABLE = "HF_ENDPOINT"
NAMESPACE_VARIABLE = "ONNXZOO_NAMESPACE"
DEFAULT_REVISION = "main"

_REPO_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9_][\w.-]*", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}")
# What git forbids in the name of a branch or tag (git check-ref-format).
_NO_REVISION = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|^[/-]|[/.]$|^$|\.lock$")


@dataclass(frozen=True, slots=True)
class HubName:
    """A Hub repo at a revision (branch, tag or commit; None: `main`, and not pinned).

    `known_as` is the registry's name when that is how it was found.
    """

    repo_id: str
    revision: str | None
    known_as: str | None = None

    def __post_init__(self) -> None:
        require_endpoint()  # whoever has such a name imports huggingface_hub next

    def __str__(self) -> str:
        return self.repo_id if self.revision is None else f"{self.repo_id}@{self.revision}"

    @property
    def wanted(self) -> str:
        """The revision to ask for."""
        return self.revision or DEFAULT_REVISION

    @property
    def pinned(self) -> bool:
        """Whether the revision is a commit: what it holds never changes."""
        return is_commit(self.wanted)

    @property
    def argument(self) -> str:
        """How users name it on the command line."""
        return str(self) if self.known_as is None else self.known_as

    @property
    def otherwise(self) -> str:
        """How to get the model without the Hub; empty for a model that this project does not know."""
        return "" if self.known_as is None else export_hint(self.known_as)


def require_endpoint() -> None:
    """Refuse an HF_ENDPOINT that is not a URL; huggingface_hub reads it when it is imported, and fails there.

    Raises InputError. The value is not shown, as it may hold a password.
    """
    value = os.environ.get(ENDPOINT_VARIABLE, "https://huggingface.co")
    try:
        address = urlsplit(value)
        known = address.scheme in ("http", "https") and address.hostname is not None and address.port != 0
    except ValueError:
        known = False
    if not known or not value.isprintable():
        raise InputError(f"{ENDPOINT_VARIABLE} is not a valid Hub URL; expected one like https://HOST, or unset it")


def export_hint(name: str) -> str:
    """How to make the artifact of a registry model oneself."""
    return f"export it: pip install 'onnxzoo[export]', then onnxzoo export {name}"


def namespace() -> str | None:
    """The Hub user or organisation whose repos the names of the registry mean: ONNXZOO_NAMESPACE; None without it.

    There is no default: whoever registers a name that nobody has claimed could publish anything under it.
    Raises InputError when it cannot be the name of one.
    """
    value = os.environ.get(NAMESPACE_VARIABLE) or None
    if value is not None and not is_repo_id(f"{value}/name"):
        raise InputError(f"{NAMESPACE_VARIABLE} is {value!r}, expected the name of a Hub user or organisation")
    return value


def of_known_model(name: str, revision: str | None = None) -> HubName | None:
    """Where a model of the registry is on the Hub; None where ONNXZOO_NAMESPACE does not say."""
    owner = namespace()
    if owner is None:
        return None
    return HubName(f"{owner}/{name}", checked_revision(revision), known_as=name)


def parse(text: str, revision: str | None = None) -> HubName | None:
    """USER/NAME or USER/NAME@REVISION; None for what is neither.

    Raises InputError for an impossible revision, or two that differ.
    """
    repo_id, at, stated = text.partition("@")
    if not is_repo_id(repo_id):
        return None
    return HubName(repo_id, one_revision(stated if at else None, revision))


def is_repo_id(text: str) -> bool:
    """Whether it may be the name of a Hub repo: USER/NAME."""
    odd = ".." in text or "--" in text or text.endswith((".", "-", ".git"))
    return _REPO_ID.fullmatch(text) is not None and not odd


def one_revision(stated: str | None, given: str | None) -> str | None:
    """The revision of `NAME@stated` and revision=given, which must not contradict each other."""
    if stated is not None and given is not None and stated != given:
        raise InputError(f"two revisions: {stated!r} after the @ and {given!r}; give only one")
    return checked_revision(given if stated is None else stated)


def checked_revision(revision: str | None) -> str | None:
    """The revision; raises InputError when it cannot be a branch, tag or commit."""
    if revision is not None and not is_revision(revision):
        raise InputError(
            f"{revision!r} is not a valid revision; expected a branch, a tag or a commit of the Hub repository"
        )
    return revision


def is_revision(value: object) -> bool:
    """Whether it is text that may name a branch, tag or commit."""
    return isinstance(value, str) and _NO_REVISION.search(value) is None


def is_commit(value: object) -> bool:
    """Whether it is the hash of a commit: 40 lowercase hexadecimal digits."""
    return isinstance(value, str) and _COMMIT.fullmatch(value) is not None
