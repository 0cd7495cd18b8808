"""`onnxzoo info --hub`: shows the published revisions of one model."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from .. import registry
from ..errors import InputError, ModelNotFoundError, UnknownModelError
from .output import print_json, say

if TYPE_CHECKING:
    from ..hub.listing import Edition, Listing
    from ..hub.names import HubName

SHOWN_COMMITS = 10


def print_published(model: str, *, as_json: bool) -> None:
    """Print the revisions of a registry model or USER/NAME on the Hub; raises as `onnxzoo.hub.listing.published`."""
    name = _on_the_hub(model)
    from ..hub.listing import published

    listing = published(name)
    if as_json:
        print_json(_as_dict(listing))
        return
    say(*_lines(listing))


def _on_the_hub(model: str) -> HubName:
    from ..hub import names

    plain, at, revision = model.partition("@")
    try:
        known = registry.find(plain).name
    except UnknownModelError:
        if (name := names.parse(model)) is not None:
            return name
        if "/" in model:
            raise InputError(f"{model!r} is not a repository on the Hub; expected USER/NAME") from None
        raise
    name = names.of_known_model(known, revision if at else None)
    if name is None:
        raise ModelNotFoundError(
            f"{known} is not the name of a Hub repository; give USER/{known}, or set {names.NAMESPACE_VARIABLE} to the "
            "user or organisation that has it"
        )
    return name


def _lines(listing: Listing) -> list[str]:
    notes = {note.sha: note for note in listing.history}
    lines = [listing.repo_id, f"  {'url':<15}{listing.url}"]
    for edition in listing.editions:
        note = notes.get(edition.commit)
        when = f", {note.date:%Y-%m-%d}, {note.title}" if note else ""
        lines += [f"{edition.kind} {edition.name}", f"  {'commit':<15}{edition.commit}{when}"]
        lines += [f"  {caption:<15}{value}" for caption, value in _rows(edition)]
    lines.append("history of main")
    lines += [f"  {note.sha[:12]:<15}{note.date:%Y-%m-%d}  {note.title}" for note in listing.history[:SHOWN_COMMITS]]
    if len(listing.history) > SHOWN_COMMITS:
        lines.append(f"  and {len(listing.history) - SHOWN_COMMITS} older commits")
    return lines


def _rows(edition: Edition) -> list[tuple[str, str]]:
    artifact = edition.artifact
    if artifact is None:
        return [("holds", edition.problem)]
    rows = [("model", f"{artifact.name}, {artifact.num_classes} classes, image size {artifact.image_size}")]
    for file in artifact.files.values():
        if file.precision is None:
            continue
        rows.append((file.precision, f"{file.path}, {file.bytes:,} bytes, sha256 {file.sha256}"))
        records = artifact.validated(file.precision)
        for one in records:
            engine = f"{one.engine} {one.version} ({one.device})"
            figures = f"{one.inputs} images, largest difference {one.max_abs:.1e}, tolerance {one.tolerance:g}"
            rows.append(("  validated", f"{engine} against {one.reference}: {figures}, {one.date}"))
        if not records:
            rows.append(("  validated", "no"))
    return rows


def _as_dict(listing: Listing) -> dict[str, Any]:
    return {
        "repo_id": listing.repo_id,
        "url": listing.url,
        "revisions": [
            {
                "name": one.name,
                "kind": one.kind,
                "commit": one.commit,
                "problem": one.problem or None,
                "precisions": []
                if one.artifact is None
                else [
                    {**dataclasses.asdict(file), "validations": [*map(dataclasses.asdict, one.artifact.validated(p))]}
                    for file in one.artifact.files.values()
                    if (p := file.precision)
                ],
            }
            for one in listing.editions
        ],
        "commits": [{"commit": n.sha, "date": n.date.isoformat(), "title": n.title} for n in listing.history],
    }
