"""The versions of everything that a server needs, as installed here: what was tried is what an image gets."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import metadata

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from ..errors import MissingDependencyError


def pinned(package: str, extra: str) -> dict[str, str]:
    """Package -> version of all requirements of `package[extra]` for this Python and system, by name.

    The package itself is not among them. Raises MissingDependencyError for a requirement that is not installed.
    """
    found: dict[str, str] = {}
    seen: set[tuple[str, str]] = set()
    waiting = [(package, extra)]
    while waiting:
        name, wanted = waiting.pop()
        for requirement in _requirements(name, wanted):
            needed = canonicalize_name(requirement.name)
            try:
                found[needed] = metadata.version(needed)
            except metadata.PackageNotFoundError:
                raise MissingDependencyError(
                    f"{needed} is not installed, and the image is to get the versions that are installed here: pip "
                    f"install '{package}[{extra}]'"
                ) from None
            for one in (needed, ""), *((needed, extra) for extra in requirement.extras):
                if one not in seen:
                    seen.add(one)
                    waiting.append(one)
    found.pop(canonicalize_name(package), None)
    return dict(sorted(found.items()))


def _requirements(name: str, extra: str) -> Iterator[Requirement]:
    """The requirements of an installed package that apply here, with this extra of it, or "" for none."""
    for text in metadata.requires(name) or ():
        try:
            requirement = Requirement(text)
        except InvalidRequirement:  # of an old package, whose requirements pip would not understand either
            continue
        if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
            yield requirement
