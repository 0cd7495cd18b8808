"""Names of models on the Hub: USER/NAME, USER/NAME@REVISION, and the repos of the registry's models."""

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
# Text that git forbids in the name of a branch or tag (git check-ref-format).
_NO_REVISION = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|^[/-]|[/.]$|^$|\.lock$")


@dataclass(frozen=True, slots=True)
class HubName:
    """A Hub repo at a revision: a branch, tag or commit, or None for `main`.

    `known_as`: the registry's name, if the repo was found by it.
    """

    repo_id: str
    revision: str | None
    known_as: str | None = None

    def __post_init__(self) -> None:
        require_endpoint()  # the holder of a HubName imports huggingface_hub next

    def __str__(self) -> str:
        return self.repo_id if self.revision is None else f"{self.repo_id}@{self.revision}"

    @property
    def wanted(self) -> str:
        """The revision to request."""
        return self.revision or DEFAULT_REVISION

    @property
    def pinned(self) -> bool:
        """Whether the revision is a commit, whose content never changes."""
        return is_commit(self.wanted)

    @property
    def argument(self) -> str:
        """The argument that users write for it on the command line."""
        return str(self) if self.known_as is None else self.known_as

    @property
    def otherwise(self) -> str:
        """How to get the model without the Hub; empty for a model that is not in the registry."""
        return "" if self.known_as is None else export_hint(self.known_as)


def require_endpoint() -> None:
    """Raise InputError if HF_ENDPOINT is not a URL, because huggingface_hub would fail at import.

    The message does not show the value, as it may contain a password.
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
    """The command that makes the artifact of a registry model."""
    return f"export it: pip install 'onnxzoo[export]', then onnxzoo export {name}"


def namespace() -> str | None:
    """The Hub user or organisation that publishes the registry's models: ONNXZOO_NAMESPACE, or None if it is not set.

    There is no default, because anybody could register an unclaimed name and publish anything under it.
    Raises InputError if it is not a valid name of a user or organisation.
    """
    value = os.environ.get(NAMESPACE_VARIABLE) or None
    if value is not None and not is_repo_id(f"{value}/name"):
        raise InputError(f"{NAMESPACE_VARIABLE} is {value!r}, expected the name of a Hub user or organisation")
    return value


def of_known_model(name: str, revision: str | None = None) -> HubName | None:
    """The Hub repo of a registry model; None if ONNXZOO_NAMESPACE is not set."""
    owner = namespace()
    if owner is None:
        return None
    return HubName(f"{owner}/{name}", checked_revision(revision), known_as=name)


def parse(text: str, revision: str | None = None) -> HubName | None:
    """Parse USER/NAME or USER/NAME@REVISION; None for any other text.

    Raises InputError for an invalid revision, or two different ones.
    """
    repo_id, at, stated = text.partition("@")
    if not is_repo_id(repo_id):
        return None
    return HubName(repo_id, one_revision(stated if at else None, revision))


def is_repo_id(text: str) -> bool:
    """Whether the text is a valid name of a Hub repo, USER/NAME."""
    odd = ".." in text or "--" in text or text.endswith((".", "-", ".git"))
    return _REPO_ID.fullmatch(text) is not None and not odd


def one_revision(stated: str | None, given: str | None) -> str | None:
    """The revision of `NAME@stated` and revision=given; raises InputError if they differ."""
    if stated is not None and given is not None and stated != given:
        raise InputError(f"two revisions: {stated!r} after the @ and {given!r}; give only one")
    return checked_revision(given if stated is None else stated)


def checked_revision(revision: str | None) -> str | None:
    """The revision; raises InputError if it is not a valid name of a branch or tag, or a commit."""
    if revision is not None and not is_revision(revision):
        raise InputError(
            f"{revision!r} is not a valid revision; expected a branch, a tag or a commit of the Hub repository"
        )
    return revision


def is_revision(value: object) -> bool:
    """Whether the value is a valid name of a branch or tag, or a commit."""
    return isinstance(value, str) and _NO_REVISION.search(value) is None


def is_commit(value: object) -> bool:
    """Whether the value is the hash of a commit: 40 lowercase hexadecimal digits."""
    return isinstance(value, str) and _COMMIT.fullmatch(value) is not None
