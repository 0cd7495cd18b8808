"""Whether a run goes on with what an earlier one left: their descriptions (`rows.describe_run`) are compared."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from ..errors import InputError
from ..text import beginning

SHOWN_DIFFERENCES = 3
SHOWN_VALUE = 40

MEANINGS = {"source.sha256": "other names or sizes of images: source.sha256"}
"""What a difference means, where its name does not say it."""


def require_same(earlier: Mapping[str, Any], now: Mapping[str, Any], what: str) -> None:
    """Raise InputError if two descriptions of runs differ; `what`: where the earlier one is from."""
    before, after = dict(_flat(earlier)), dict(_flat(now))
    names = [name for name in sorted(before | after) if before.get(name) != after.get(name)]
    if names:
        shown = [
            f"{MEANINGS.get(name, name)} {_shown(before.get(name))}, now {_shown(after.get(name))}"
            for name in names[:SHOWN_DIFFERENCES]
        ]
        more = f" and {len(names) - SHOWN_DIFFERENCES} more" if len(names) > SHOWN_DIFFERENCES else ""
        raise InputError(
            f"{what} with {'; '.join(shown)}{more}; repeat the earlier command to go on with it, name another output, "
            "or begin anew with --restart (restart=True)"
        )


def _shown(value: Any) -> str:
    return beginning(json.dumps(value), SHOWN_VALUE)


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """The values of nested objects, under names such as `model.sha256`."""
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from _flat(item, f"{name}.{key}" if name else key)
    else:
        yield name, value
