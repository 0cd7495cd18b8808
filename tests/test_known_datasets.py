"""Data sets are one record each: whoever reads them finds all that a data set needs."""

from __future__ import annotations

import dataclasses
from importlib import resources

import pytest

from onnxzoo import registry
from onnxzoo.cli import eval as eval_command
from onnxzoo.datasets import DATASETS, dataset_described
from onnxzoo.errors import InputError
from onnxzoo.evaluation.record import data_in_words

LABEL_FILES = [path.name for path in resources.files("onnxzoo").joinpath("labels").iterdir()]


@pytest.mark.parametrize("name", DATASETS)
def test_a_record_is_whole(name):
    one = DATASETS[name]
    assert one.name == name
    assert one.images > 0
    assert one.title
    assert one.split in ("validation", "test", "train")  # the Hub's usual names of splits
    owner, _, repo = one.hub_id.partition("/")
    assert owner
    assert repo
    assert len(registry.labels(name)) > 1
    assert f"{name}" in next(option.help for option in eval_command.command.params if option.name == "record")
    assert one.published_by is None or one.published_by[1].startswith("https://")
    with pytest.raises(dataclasses.FrozenInstanceError):
        one.images = 1


def test_every_file_of_class_names_belongs_to_a_data_set():
    assert sorted(LABEL_FILES) == sorted(f"{name}.txt" for name in DATASETS)


@pytest.mark.parametrize("key", ["title", "hub_id", "description"])
def test_no_two_records_share_what_tells_them_apart(key):
    values = [getattr(one, key) for one in DATASETS.values()]
    assert len(set(values)) == len(values)


@pytest.mark.parametrize("name", DATASETS)
def test_a_description_leads_back_to_its_record(name):
    words = data_in_words(name)
    assert dataset_described(words) is DATASETS[name]
    assert data_in_words(words) == words
    assert dataset_described(name) is None  # the name is no description
    assert dataset_described(f"{words}, shuffled") is None


def test_the_descriptions_are_those_that_config_files_have():
    assert [one.description for one in DATASETS.values()] == [
        "ImageNet-1k, 50,000 validation images",
        "Fashion-MNIST, 10,000 test images",
    ]


def test_a_mistake_lists_the_names():
    with pytest.raises(InputError, match=f"or name one of {', '.join(DATASETS)}$"):
        data_in_words(" ")


@pytest.mark.parametrize("entry", registry.models().values(), ids=lambda entry: entry.name)
def test_every_model_is_of_a_known_data_set(entry):
    assert entry.dataset == DATASETS[entry.labels].description
    assert (entry.source.url is None) == (DATASETS[entry.labels].published_by is None)
