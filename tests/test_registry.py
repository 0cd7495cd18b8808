"""The registry: every entry as documented, names found exactly, broken registries refused by name."""

from __future__ import annotations

import copy
import json
from importlib import resources
from typing import Any

import pytest

from onnxzoo import registry
from onnxzoo.errors import InputError, RegistryError, UnknownModelError
from onnxzoo.families.pvt_v2.architecture import PvtV2Architecture
from onnxzoo.families.swinv2.architecture import SwinV2Architecture

NAMES = [
    "pvt_v2_b0",
    "pvt_v2_b1",
    "pvt_v2_b2",
    "pvt_v2_b2_linear",
    "pvt_v2_b3",
    "pvt_v2_b4",
    "pvt_v2_b5",
    "swinv2_tiny_w8",
    "swinv2_tiny_w16",
    "swinv2_small_w8",
    "swinv2_small_w16",
    "swinv2_base_w8",
    "swinv2_base_w16",
    "swinv2_base_w24",
    "swinv2_large_w16",
    "swinv2_large_w24",
]

OWN = ["pvt_v2_nano_fashion", "swinv2_nano_fashion"]


@pytest.fixture
def document() -> dict[str, Any]:
    """A copy of models.json that a test may spoil."""
    text = resources.files("onnxzoo").joinpath("models.json").read_text(encoding="utf-8")
    return copy.deepcopy(json.loads(text))


def test_the_sixteen_models_and_our_own():
    assert list(registry.models()) == NAMES + OWN


@pytest.mark.parametrize("name", NAMES + OWN)
def test_every_name_and_alias_finds_its_model_in_any_case(name):
    entry = registry.models()[name]
    for key in (entry.name, *entry.aliases):
        assert registry.find(key) is entry
        assert registry.find(key.upper()) is entry
        assert registry.find(key.lower()) is entry


@pytest.mark.parametrize(
    ("alias", "name"),
    [
        ("SwinTransformerV2_small_patch4_window16_256", "swinv2_small_w16"),
        ("swinv2_base_window12to24_192to384", "swinv2_base_w24"),
        ("swinv2_large_window12to16_192to256", "swinv2_large_w16"),
        ("PVT_V2_B2_Linear", "pvt_v2_b2_linear"),
        ("pvt_v2_b2_li", "pvt_v2_b2_linear"),
    ],
)
def test_the_names_of_other_projects(alias, name):
    assert registry.find(alias).name == name


@pytest.mark.parametrize("name", NAMES)
def test_every_entry_is_complete(name):
    entry = registry.models()[name]
    assert entry.architecture.num_features > 0
    assert len(registry.labels(entry.labels)) == 1000
    assert entry.source.url.startswith("https://")
    assert entry.source.url.endswith("_pretrained.pdparams")
    assert entry.source.timm_repo.startswith("timm/")
    kind = {"swinv2": SwinV2Architecture, "pvt_v2": PvtV2Architecture}[entry.family]
    assert isinstance(entry.architecture, kind)


@pytest.mark.parametrize("name", OWN)
def test_our_own_models_are_not_mistaken_for_imagenet_ones(name):
    entry = registry.models()[name]
    assert entry.dataset == "Fashion-MNIST, 10,000 test images"
    assert len(registry.labels(entry.labels)) == 10
    assert entry.source.url is None
    assert entry.source.timm_repo is None
    assert entry.source.sha256 is not None
    assert entry.params_m <= 0.5
    assert entry.preprocess.resize_size == entry.preprocess.crop_size == entry.image_size


def test_our_own_models_have_what_makes_their_families():
    pvt = registry.find("pvt_v2_nano_fashion").architecture
    swin = registry.find("swinv2_nano_fashion").architecture
    assert isinstance(pvt, PvtV2Architecture)
    assert isinstance(swin, SwinV2Architecture)
    assert max(pvt.sr_ratios) > 1
    sides = [48 // (swin.patch_size * 2**stage) for stage in range(3)]
    shifted = [s for s, d in zip(sides, swin.depths, strict=True) if d > 1 and s > swin.window_size]
    assert len(shifted) >= 2


def test_the_three_models_whose_checkpoints_have_another_name():
    special = [name for name in NAMES if "_22kto1k_pretrained" in registry.find(name).source.url]
    assert special == ["swinv2_base_w24", "swinv2_large_w16", "swinv2_large_w24"]
    for name in NAMES:
        architecture = registry.find(name).architecture
        if isinstance(architecture, SwinV2Architecture):
            expected = (12, 12, 12, 6) if name in special else (0, 0, 0, 0)
            assert architecture.pretrained_window_sizes == expected


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*", NAMES + OWN),
        ("swin*_W8", ["swinv2_tiny_w8", "swinv2_small_w8", "swinv2_base_w8"]),
        ("SwinTransformerV2_tiny*", ["swinv2_tiny_w8", "swinv2_tiny_w16"]),
        ("pvt_v2_b[01]", ["pvt_v2_b0", "pvt_v2_b1"]),
        ("resnet*", []),
        ("", []),
    ],
)
def test_listing_by_pattern(pattern, expected):
    assert registry.list_models(pattern) == expected


def test_listing_by_several_patterns_and_without_some():
    assert registry.list_models(["swinv2_tiny*", "PVT_V2_B0"]) == ["pvt_v2_b0", "swinv2_tiny_w8", "swinv2_tiny_w16"]
    assert registry.list_models("swinv2*", exclude="*w8") == [
        name for name in registry.list_models("swinv2*") if not name.endswith("w8")
    ]
    # An alias, such as timm's name, excludes as well.
    assert registry.list_models("pvt*", exclude=["pvt_v2_b2_li", "pvt_v2_b[3-5]", "*nano*"]) == [
        "pvt_v2_b0", "pvt_v2_b1", "pvt_v2_b2"
    ]  # fmt: skip
    assert registry.list_models([]) == []
    for wrong in ({"exclude": 3}, {"pattern": ["swin*", None]}, {"pattern": None}):
        with pytest.raises(InputError, match="a pattern is a text such as"):
            registry.list_models(**wrong)


def test_an_unknown_name_lists_the_closest():
    with pytest.raises(UnknownModelError, match="did you mean swinv2_small_w16 or"):
        registry.find("swinv2_smal_w16")
    with pytest.raises(UnknownModelError, match=r"unknown model 'resnet50' \('onnxzoo list' shows all 18\)"):
        registry.find("resnet50")


def set_in(entry: dict[str, Any], path: str, value: Any) -> None:
    *parents, last = path.split(".")
    for parent in parents:
        entry = entry.setdefault(parent, {})
    if value is None:
        del entry[last]
    else:
        entry[last] = value


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("accuracy", None, "'accuracy' is missing"),
        ("family", None, "'family' is missing"),
        ("params_m", None, r"missing \['params_m'\]"),
        ("colour", "blue", r"unknown \['colour'\]"),
        ("family", "resnet", "'resnet' is missing"),
        ("architecture.depths", [2, 2, 2], "all stages must be described, got .*'depths': 3"),
        ("architecture.depths", [], "all stages"),
        ("architecture.depths", 3, "depths must be a list, got 3"),
        ("architecture.num_heads", [1, 2, 5, 7], "num_heads must divide 256, got 7"),
        ("architecture.num_heads", [1, 2, 5, 0], r"num_heads must be whole numbers from 1 to 1024"),
        ("architecture.width", 3, r"unknown \['width'\]"),
        ("image_size", 225, "multiple of 32, got 225"),
        ("image_size", 256, "crop_size must equal image_size, got 224"),
        ("image_size", "224", "not all arguments|unsupported|must"),
        ("preprocess.resize_size", 200, r"crop_size must be from 1 to 200, got 224"),
        ("preprocess.interpolation", "cubic", "interpolation must be one of"),
        ("preprocess.mean", [0.5], "mean must have 3 values"),
        ("preprocess.std", [0.2, 0.2, 0], "3 positive values"),
        ("accuracy.top1", 70.5, "accuracies must be fractions"),
        ("gmacs", 0, "must be positive"),
    ],
)
def test_an_inconsistent_entry_is_named(document, path, value, message):
    set_in(document["models"][0], path, value)
    with pytest.raises(RegistryError, match=rf"models\.json, entry 'pvt_v2_b0': .*({message})"):
        registry.parse_models(document)


@pytest.mark.parametrize("alias", ["pvt_v2_b1", "PVT_V2_b1"])
def test_a_name_of_two_models_is_refused(document, alias):
    document["models"][0]["aliases"].append(alias)
    with pytest.raises(RegistryError, match="is used by both 'pvt_v2_b0' and 'pvt_v2_b1'"):
        registry.parse_models(document)


def test_a_model_listed_twice(document):
    document["models"].append(document["models"][0])
    with pytest.raises(RegistryError, match="is used by both 'pvt_v2_b0' and 'pvt_v2_b0'"):
        registry.parse_models(document)


@pytest.mark.parametrize("broken", [[], {}, {"models": {}, "defaults": {}}, {"models": ["x"], "defaults": {}}, None])
def test_a_document_of_another_shape(broken):
    with pytest.raises(RegistryError, match=r"models\.json"):
        registry.parse_models(broken)


def test_labels_by_class_id():
    labels = registry.labels("imagenet1k")
    assert labels[0] == "tench, Tinca tinca"
    assert "tabby" in labels[281]
    assert labels[134] == labels[517].partition(",")[0] == "crane"
