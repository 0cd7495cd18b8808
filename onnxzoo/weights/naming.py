"""Convert the weights of Paddle, timm and transformers to Paddle's names and layout.

Three things differ between them: the names, the layout of linear weights (Paddle [in, out], PyTorch [out, in]),
and whether query, key and value are one matrix. Convolutions are [out, in, kh, kw] everywhere. In both families
every 2-D parameter named `weight` is a linear layer's. The names were read from PaddleClas release/2.5.1,
timm 1.0.31 and transformers 5.23.

timm's files come with timm's own names or with those of the papers' authors. The authors' names are Paddle's
names, so there only the layout tells the two apart; it is read from the shapes, never from the names.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from ..errors import CheckpointError
from ..families import FAMILIES, Architecture, family_named
from ..families.family import Naming

Array: TypeAlias = npt.NDArray[Any]

BUFFERS: frozenset[str] = frozenset().union(*(family.names.buffers for family in FAMILIES.values()))
"""Last parts of the names of constants, which models compute and never read from a file."""

MAX_WRAPPERS = 8
"""Maximum number of prefix parts that are recognised; two or three occur in practice."""


_SIGNATURES = tuple(
    (family.name, naming, re.compile(pattern))
    for family in FAMILIES.values()
    for naming, pattern in family.names.signatures.items()
)
"""Names that only one family in one naming has."""


def without_prefix(state: Mapping[str, Array]) -> tuple[dict[str, Array], str]:
    """The arrays without the parts that every name begins with before a known naming starts, and these parts.

    Wrappers of models prepend such parts to all names: `module.` (data parallel), `_layers.` (Paddle's), `model.`,
    `backbone.`, `Student.` (distillation), `_orig_mod.` (torch.compile), also nested. Nothing is removed, and the
    prefix is "", if that does not lead to a known naming.
    """
    # The common prefix of the smallest and the largest name is shared by all names between them.
    shared = os.path.commonprefix([min(state, default=""), max(state, default="")])  # noqa: RUF071 - no paths
    place = 0
    for _ in range(MAX_WRAPPERS + 1):
        if any(pattern.match(name, place) for name in state for _, _, pattern in _SIGNATURES):
            return {name[place:]: array for name, array in state.items()}, shared[:place]
        place = shared.find(".", place) + 1
        if not place:
            break
    return dict(state), ""


def wrappers(state: Mapping[str, Array]) -> dict[str, int]:
    """The prefixes before a known naming in the names of `state`, "" for none, with their numbers of names.

    `without_prefix` removes a prefix common to all names. Several prefixes mean several models, or half of one.
    """
    found: Counter[str] = Counter()
    for name in state:
        place = 0
        for _ in range(MAX_WRAPPERS + 1):
            if any(pattern.match(name, place) for _, _, pattern in _SIGNATURES):
                found[name[:place]] += 1
                break
            place = name.find(".", place) + 1
            if not place:
                break
    return dict(found)


def to_paddle(state: Mapping[str, Array], family: str, architecture: Architecture) -> tuple[dict[str, Array], Naming]:
    """The parameters of `state` under Paddle's names, linear weights as [in, out], and the naming that it came in.

    `state` maps names to arrays; element types are kept, buffers are left out. Names that do not belong to a known
    parameter are kept, so that loading the state reports them.

    Raises CheckpointError if the names do not follow a known naming of `family`, if two names map to one
    parameter, if parts of a joined parameter are missing or differ in shape, or if the layout contradicts itself.
    """
    renamed, naming = _renamed(state, family, architecture)
    parameters = {name: array for name, array in renamed.items() if not _is_buffer(name)}
    layout = _linear_layout(parameters)
    if layout == "torch" or (layout is None and naming != "paddle"):
        parameters = {
            name: np.ascontiguousarray(array.T) if name.endswith(".weight") and array.ndim == 2 else array
            for name, array in parameters.items()
        }
        naming = "timm" if naming == "paddle" else naming
    if naming == "transformers":
        parameters = _fused(parameters, family)
    return parameters, naming


def from_paddle(state: Mapping[str, Array], family: str, naming: Naming) -> dict[str, Array]:
    """Convert parameters from Paddle's names and layout to timm's or transformers', the inverse of `to_paddle`.

    Linear weights become [out, in]; for transformers, query, key and value are separate matrices.
    """
    names = family_named(family).names
    parameters = dict(state)
    for whole, parts in names.joined if naming == "transformers" else ():
        for name in [name for name in parameters if name.endswith(f".attn.{whole}")]:
            prefix = name.removesuffix(whole)
            pieces = np.split(parameters.pop(name), len(parts), axis=-1)
            parameters |= {prefix + part: piece for part, piece in zip(parts, pieces, strict=True)}
    renamed = {}
    for name, array in parameters.items():
        for pattern, replacement in names.inverse[naming]:
            name = re.sub(pattern, replacement, name)
        renamed[name] = np.ascontiguousarray(array.T) if name.endswith(".weight") and array.ndim == 2 else array
    return renamed


def buffers(state: Mapping[str, Array], family: str, architecture: Architecture) -> dict[str, Array]:
    """The buffers of `state` under Paddle's names. Only their shapes are of use; raises like `to_paddle`."""
    renamed, _ = _renamed(state, family, architecture)
    return {name: array for name, array in renamed.items() if _is_buffer(name)}


def _is_buffer(name: str) -> bool:
    return name.rpartition(".")[2] in BUFFERS


def _recognised(state: Mapping[str, Array], family: str) -> Naming:
    found = {(of, naming) for name in state for of, naming, pattern in _SIGNATURES if pattern.match(name)}
    namings = [naming for of, naming in found if of == family]
    parts = wrappers(state)
    if len(parts) > 1:
        listed = ", ".join(f"{ascii(part[:60]) if part else 'nothing'} ({count})" for part, count in parts.items())
        raise CheckpointError(
            f"the weights' names have different prefixes: {listed}; keep those of one model, "
            "and remove the prefix from all of them"
        )
    if len(namings) == 1:
        return namings[0]
    if len(namings) > 1:
        raise CheckpointError(f"the weights mix the names of {' and '.join(sorted(namings))}; expected one naming")
    if found:
        others = " and ".join(sorted({of for of, _ in found}))
        raise CheckpointError(f"the weights are of {others}, expected {family}; choose a {others} model for them")
    sample = ", ".join(ascii(name[:60]) for name in list(state)[:3]) or "none"
    raise CheckpointError(
        f"the weights do not have the names of {family} in Paddle, timm or transformers (first names: {sample}); "
        "give the checkpoint of an image classifier of this family"
    )


def _renamed(state: Mapping[str, Array], family: str, architecture: Architecture) -> tuple[dict[str, Array], Naming]:
    naming = _recognised(state, family)
    rules = [(re.compile(pattern), replacement) for pattern, replacement in family_named(family).names.rules[naming]]
    names = {}
    for name in state:
        paddle = name
        for pattern, replacement in rules:
            paddle = pattern.sub(replacement, paddle)
        names[name] = paddle
    names, naming = family_named(family).names.settled(names, naming, architecture)
    owners: dict[str, str] = {}
    for name, paddle in names.items():
        if paddle in owners:
            raise CheckpointError(f"the weights hold {paddle!r} twice, as {owners[paddle]!r} and as {name!r}")
        owners[paddle] = name
    return {paddle: state[name] for name, paddle in names.items()}, naming


def _linear_layout(parameters: Mapping[str, Array]) -> Literal["paddle", "torch"] | None:
    """Which axis of the linear weights is the output: the one as long as the bias. None if all are square."""
    evidence: dict[Literal["paddle", "torch"], str] = {}
    for name, weight in parameters.items():
        bias = parameters.get(f"{name.removesuffix('.weight')}.bias")
        if not name.endswith(".weight") or weight.ndim != 2 or bias is None or weight.shape[0] == weight.shape[1]:
            continue
        if bias.shape == weight.shape[1:]:
            evidence.setdefault("paddle", name)
        elif bias.shape == weight.shape[:1]:
            evidence.setdefault("torch", name)
    if len(evidence) == 2:
        raise CheckpointError(
            f"the weights have two layouts: {evidence['paddle']!r} is [in, out] and {evidence['torch']!r} is "
            "[out, in]; expected one throughout"
        )
    return next(iter(evidence), None)


def _fused(parameters: Mapping[str, Array], family: str) -> dict[str, Array]:
    """Join transformers' query, key and value as Paddle does; weights are [in, out] already."""
    result = dict(parameters)
    for prefix in [name[: -len("query.weight")] for name in parameters if name.endswith(".attn.query.weight")]:
        for whole, parts in family_named(family).names.joined:
            present = [prefix + part for part in parts if prefix + part in result]
            if not present:
                continue  # a model without this bias; loading the state checks whether it needs one
            if len(present) < len(parts):
                missing = sorted({prefix + part for part in parts} - set(present))
                raise CheckpointError(f"the weights have {present[0]!r} but lack {', '.join(missing)}")
            arrays = [result.pop(name) for name in present]
            if len({array.shape for array in arrays}) > 1 or arrays[0].ndim == 0:
                shapes = ", ".join(f"{name} {array.shape}" for name, array in zip(present, arrays, strict=True))
                raise CheckpointError(f"the weights of one attention differ in shape: {shapes}")
            result[prefix + whole] = np.concatenate(arrays, axis=-1)
    return result
