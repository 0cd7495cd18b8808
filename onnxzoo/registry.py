"""The models that onnxzoo knows: `models.json`, read into frozen dataclasses and checked.

The registry names models and holds what an export needs to build them. What a program needs to run
a model is in the model's artifact (see `onnxzoo.artifact.folder`).
"""

from __future__ import annotations

import difflib
import fnmatch
import functools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, replace
from importlib import resources
from typing import Any, TypeVar

from .datasets import DATASETS
from .errors import InputError, RegistryError, UnknownModelError
from .families import Architecture, family_named
from .families.family import require
from .text import beginning

T = TypeVar("T")

MAX_IMAGE_SIZE = 16384
"""Maximum length of a name in an error message."""
INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "lanczos")


@dataclass(frozen=True, slots=True)
class Preprocess:
    """Evaluation preprocessing of an RGB image, in this order.

    The short side is resized to `resize_size` pixels (the long one to int(round()) of its share) with
    Pillow's antialiased `interpolation`, a `crop_size` square is cut from the centre (offsets floored),
    values 0..255 are divided by 255, then `mean` is subtracted and the result divided by `std`,
    per channel in the order R, G, B. Source: PaddleClas, `ppcls/configs/ImageNet/{PVTV2,SwinTransformerV2}`.
    """

    resize_size: int
    crop_size: int
    interpolation: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def __post_init__(self) -> None:
        for name in ("resize_size", "crop_size"):
            size = getattr(self, name)
            require(
                type(size) is int and 0 < size <= MAX_IMAGE_SIZE, f"{name} must be from 1 to {MAX_IMAGE_SIZE}", size
            )
        for name in ("mean", "std"):
            numbers = getattr(self, name)
            real = isinstance(numbers, tuple) and all(type(n) in (int, float) and math.isfinite(n) for n in numbers)
            require(real, f"{name} must be 3 numbers (R, G, B)", numbers)
        require(
            0 < self.crop_size <= self.resize_size, f"crop_size must be from 1 to {self.resize_size}", self.crop_size
        )
        require(
            self.interpolation in INTERPOLATIONS, f"interpolation must be one of {INTERPOLATIONS}", self.interpolation
        )
        require(len(self.mean) == 3, "mean must have 3 values (R, G, B)", self.mean)
        require(len(self.std) == 3 and min(self.std) > 0, "std must have 3 positive values (R, G, B)", self.std)

    def at_image_size(self, size: int) -> Preprocess:
        """The same preprocessing for crops of `size` pixels a side; `resize_size` scales with it.

        Raises RegistryError for an invalid size.
        """
        if size == self.crop_size:
            return self
        return replace(self, crop_size=size, resize_size=round(size * (self.resize_size / self.crop_size)))


@dataclass(frozen=True, slots=True)
class WeightsSource:
    """Where the trained weights come from: PaddleClas's `.pdparams` and the same weights as safetensors.

    Both are None for a model that this project trained itself, whose weights ship with it. Only for those is `sha256`,
    of the `.pdparams`, known. `other_url`: where the `.pdparams` are if `url` has nothing, as PaddleClas's own
    documents name both. `timm_license`: of the safetensors, as their repo on the Hub states it. `timm_commit`,
    `timm_sha256`: the commit of that repo to take them from, and the file's hash, if they are pinned
    (`make pin-sources`); without them it is what `main` has.
    """

    url: str | None
    timm_repo: str | None
    sha256: str | None = None
    other_url: str | None = None
    timm_license: str | None = None
    timm_commit: str | None = None
    timm_sha256: str | None = None

    def __post_init__(self) -> None:
        pinned = (self.timm_commit, self.timm_sha256)
        require((pinned[0] is None) == (pinned[1] is None), "timm_commit and timm_sha256 must come together", pinned)
        for name, value, digits in (("timm_commit", pinned[0], 40), ("timm_sha256", pinned[1], 64)):
            fits = value is None or (len(value) == digits and set(value) <= set("0123456789abcdef"))
            require(fits, f"{name} must be {digits} lower-case hexadecimal digits", value)


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Fractions in [0, 1] of the images of `ModelEntry.dataset`.

    For ImageNet-1k as documented by PaddleClas, for others as measured by this project.
    """

    top1: float
    top5: float


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """One model of the registry.

    `params_m`: counted parameters in millions; `gmacs`: counted multiply-accumulates of one image in 10^9.
    """

    name: str
    family: str
    aliases: tuple[str, ...]
    architecture: Architecture
    image_size: int
    labels: str
    preprocess: Preprocess
    source: WeightsSource
    accuracy: Accuracy
    params_m: float
    gmacs: float

    def __post_init__(self) -> None:
        require(
            self.image_size % self.architecture.size_multiple == 0,
            f"image_size must be a multiple of {self.architecture.size_multiple}",
            self.image_size,
        )
        require(
            self.preprocess.crop_size == self.image_size, "crop_size must equal image_size", self.preprocess.crop_size
        )
        require(
            0 <= self.accuracy.top1 <= self.accuracy.top5 <= 1,
            "accuracies must be fractions, top1 <= top5",
            self.accuracy,
        )
        require(
            self.params_m > 0 and self.gmacs > 0, "params_m and gmacs must be positive", (self.params_m, self.gmacs)
        )
        require(self.labels in DATASETS, f"labels must be one of {', '.join(DATASETS)}", self.labels)

    @property
    def dataset(self) -> str:
        """The images that `accuracy` was measured on."""
        return DATASETS[self.labels].description


def architecture_from_dict(family: str, values: Mapping[str, Any]) -> Architecture:
    """Build the architecture of `family` from plain JSON values.

    Raises RegistryError for an unknown family, or a missing, unknown or inconsistent value.
    """
    return _from_dict(family_named(family).architecture, values)


def preprocess_from_dict(values: Mapping[str, Any]) -> Preprocess:
    """Build a `Preprocess` from plain JSON values; raises RegistryError where one is missing or wrong."""
    return _from_dict(Preprocess, values)


@functools.cache
def models() -> Mapping[str, ModelEntry]:
    """Every model of the registry by name, in the order of `models.json`."""
    return parse_models(_document())


def parse_models(document: Mapping[str, Any]) -> dict[str, ModelEntry]:
    """Parse the registry document.

    Raises RegistryError, naming the entry, when a value is missing, unknown or inconsistent, or when
    two models share a name or alias.
    """
    entries: dict[str, ModelEntry] = {}
    owners: dict[str, str] = {}
    for raw in _entries(document):
        name = raw.get("name", "(no name)")
        try:
            defaults = document["defaults"][raw["family"]]
            values = {**defaults, **raw}
            values["architecture"] = architecture_from_dict(
                raw["family"], {**defaults["architecture"], **raw["architecture"]}
            )
            values["preprocess"] = preprocess_from_dict({**defaults["preprocess"], **raw.get("preprocess", {})})
            values["source"] = _from_dict(WeightsSource, raw["source"])
            values["accuracy"] = _from_dict(Accuracy, raw["accuracy"])
            entry = _from_dict(ModelEntry, values)
        except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
            reason = f"{error.args[0]!r} is missing" if type(error) is KeyError else str(error)
            raise RegistryError(f"models.json, entry {name!r}: {reason}") from None
        for key in (entry.name, *entry.aliases):
            owner = owners.setdefault(key.casefold(), entry.name)
            if owner != entry.name or entry.name in entries:
                raise RegistryError(f"models.json: the name {key!r} is used by both {owner!r} and {entry.name!r}")
        entries[entry.name] = entry
    return entries


def list_models(pattern: str | Sequence[str] = "*", *, exclude: str | Sequence[str] = ()) -> list[str]:
    """Names of the models whose name or alias matches a shell pattern, in the order of the registry.

    `pattern`: one pattern or several, of which one must match; `exclude`: of which none may, as in timm. Matching
    ignores case; `*`, `?` and `[...]` are wildcards. Returns [] if nothing matches. Raises InputError for a pattern
    that is not a text.
    """
    wanted, unwanted = _patterns(pattern), _patterns(exclude)
    return [entry.name for entry in models().values() if _matches(entry, wanted) and not _matches(entry, unwanted)]


def _patterns(given: str | Sequence[str]) -> list[str]:
    patterns: list[str] = []
    for pattern in given if isinstance(given, list | tuple) else [given]:
        if not isinstance(pattern, str):
            raise InputError(f"a pattern is a text such as 'swin*', got {type(pattern).__name__}")
        patterns.append(pattern.casefold())
    return patterns


def _matches(entry: ModelEntry, patterns: Sequence[str]) -> bool:
    names = [key.casefold() for key in (entry.name, *entry.aliases)]
    return any(fnmatch.fnmatchcase(name, pattern) for name in names for pattern in patterns)


def find(name: str) -> ModelEntry:
    """The entry with exactly this name or alias, ignoring case.

    Raises UnknownModelError, which lists the closest names, and InputError for a name that is not a text.
    """
    if not isinstance(name, str):
        raise InputError(f"a model's name is a text, got {type(name).__name__}; list_models() returns all")
    wanted = name.casefold()
    names = {key.casefold(): entry for entry in models().values() for key in (entry.name, *entry.aliases)}
    if wanted in names:
        return names[wanted]
    close = difflib.get_close_matches(wanted, names, n=6, cutoff=0.5)
    suggestions = list(dict.fromkeys(names[key].name for key in close))[:3]
    hint = f"; did you mean {' or '.join(suggestions)}?" if suggestions else ""
    raise UnknownModelError(f"unknown model {beginning(name)!r}{hint} ('onnxzoo list' shows all {len(models())})")


@functools.cache
def labels(label_set: str) -> tuple[str, ...]:
    """Class names by class id of the label set, a file `labels/<label_set>.txt` of lines `id names`."""
    text = resources.files(__package__).joinpath("labels").joinpath(f"{label_set}.txt").read_text(encoding="utf-8")
    # The package's own files have their ids in order, which a test asserts; `onnxzoo.data.labels` reads users' files.
    return tuple(line.partition(" ")[2] for line in text.splitlines())


def default_labels(entry: ModelEntry, num_classes: int) -> tuple[str, ...]:
    """Default class names: the model's own if the number of classes fits, else `class 0`, `class 1`, ..."""
    names = labels(entry.labels)
    return names if len(names) == num_classes else tuple(f"class {i}" for i in range(num_classes))


@functools.cache
def _document() -> dict[str, Any]:
    text = resources.files(__package__).joinpath("models.json").read_text(encoding="utf-8")
    document: dict[str, Any] = json.loads(text)
    return document


def _entries(document: Any) -> list[dict[str, Any]]:
    entries = document.get("models") if isinstance(document, dict) else None
    if not isinstance(entries, list) or not isinstance(document.get("defaults"), dict):
        raise RegistryError("models.json: expected an object with 'defaults' (an object) and 'models' (a list)")
    for number, entry in enumerate(entries):
        if not isinstance(entry, dict):
            raise RegistryError(f"models.json, entry number {number}: expected an object, got {type(entry).__name__}")
    return entries


def _from_dict(cls: type[T], values: Mapping[str, Any]) -> T:
    known = {field.name: field for field in fields(cls)}  # type: ignore[arg-type]
    required = {name for name, field in known.items() if field.default is MISSING}
    missing, unknown = required - values.keys(), values.keys() - known.keys()
    if missing or unknown:
        strange = [beginning(key) for key in sorted(unknown)[:3]]
        raise RegistryError(f"{cls.__name__}: missing {sorted(missing)}, unknown {strange}")
    return cls(**{key: tuple(value) if isinstance(value, list) else value for key, value in values.items()})
