"""Measuring accuracy: what is right is counted, what cannot be read is named, classes are never guessed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny import COLOURS, LABELS, tiny_outputs

from onnxzoo.artifact.folder import read_artifact
from onnxzoo.data.layouts import open_dataset
from onnxzoo.engines.fake import FakeEngine
from onnxzoo.errors import DatasetError, InputError
from onnxzoo.evaluation.accuracy import Evaluation, evaluate, match_classes, wilson_interval
from onnxzoo.hub import shipped_models
from onnxzoo.loading import load
from onnxzoo.model import Model, top_classes

SAMPLE = Path(__file__).parents[1] / "data" / "fashion_mnist_sample"


def colour(name: str) -> np.ndarray:
    return np.full((40, 48, 3), COLOURS[name], dtype=np.uint8)


@dataclass(frozen=True)
class Colours:
    """A dataset in memory: `truth[i]` is what image i is labelled, `shown[i]` the colour it has."""

    truth: tuple[str, ...]
    shown: tuple[str, ...]
    classes: tuple[str, ...] = LABELS

    @property
    def labels(self) -> np.ndarray:
        return np.array([self.classes.index(name) for name in self.truth], dtype=np.int64)

    def __len__(self) -> int:
        return len(self.truth)

    def image(self, index: int) -> object:
        shown = self.shown[index]
        return colour(shown) if shown in COLOURS else b"no image"

    def name(self, index: int) -> str:
        return f"image {index}"


@pytest.fixture
def model(tiny: Path) -> Model:
    return Model(read_artifact(tiny), FakeEngine(tiny_outputs))


# Counting


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_every_colour_is_recognised(tiny, engine):
    with load(tiny, engine=engine) as model:
        result = evaluate(model, Colours(LABELS * 5, LABELS * 5), batch_size=3)
    assert (result.model, result.engine.name, result.images) == ("tiny", engine, 20)
    assert (result.top1, result.top5, result.correct) == (1.0, 1.0, 20)
    assert result.seconds > 0
    assert result.images_per_second == 20 / result.seconds
    assert result.unreadable == ()
    assert [(row.label, row.images, row.top1, row.confused_with) for row in result.classes] == [
        (label, 5, 1.0, None) for label in LABELS
    ]


def test_the_table_says_what_a_class_is_taken_for(model):
    truth = ("red",) * 6 + ("green",) * 2
    shown = ("red", "red", "red", "blue", "blue", "green", "green", "black")
    result = evaluate(model, Colours(truth, shown))
    red, green = result.classes
    assert (red.class_id, red.label, red.images, red.correct, red.top1) == (1, "red", 6, 3, 0.5)
    assert (red.confused_with, red.confused) == ("blue", 2)
    assert (green.correct, green.confused_with, green.confused) == (1, "black", 1)
    assert (result.correct, result.top1) == (4, 0.5)
    assert result.top1_interval == wilson_interval(4, 8)


def test_of_two_equal_confusions_the_lower_id_is_named(model):
    (row,) = evaluate(model, Colours(("red",) * 2, ("blue", "green"))).classes
    assert (row.confused_with, row.confused, row.correct) == ("green", 1, 0)


def test_top5_counts_the_best_five():
    # Ten classes would need another artifact; the rule itself is in top_classes.
    logits = np.array([[0, 9, 8, 7, 6, 5, 4], [1, 1, 1, 1, 1, 1, 1]], dtype=np.float32)

    def best(values: np.ndarray) -> list[list[int]]:
        return [[one.class_id for one in each.top] for each in top_classes(values, ["x"] * 7, 5)]

    assert best(logits) == [[1, 2, 3, 4, 5], [0, 1, 2, 3, 4]]
    assert best(logits[:, :2]) == [[1, 0], [0, 1]]


def test_the_batch_size_changes_nothing_but_the_runs(tiny):
    engine = FakeEngine(tiny_outputs)
    data = Colours(LABELS * 2, ("red",) * 8)
    model = Model(read_artifact(tiny), engine)
    first = evaluate(model, data, batch_size=3)
    assert engine.batches == [3, 3, 2]
    second = evaluate(model, data, batch_size=100)
    assert engine.batches[3:] == [8]
    assert (first.correct, first.classes) == (second.correct, second.classes)


def test_a_limit_takes_images_from_all_over_the_data(model):
    data = Colours(("black",) * 50 + ("red",) * 50, ("black",) * 50 + ("red",) * 50)
    result = evaluate(model, data, limit=10)
    assert [(row.label, row.images) for row in result.classes] == [("black", 5), ("red", 5)]
    assert evaluate(model, data, limit=1000).images == 100


def test_progress_counts_to_the_end(model):
    seen: list[tuple[int, int]] = []
    evaluate(model, Colours(LABELS, LABELS), batch_size=3, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(3, 4), (4, 4)]


@pytest.mark.parametrize("options", [{"batch_size": 0}, {"limit": 0}])
def test_nothing_to_do_is_refused(model, options):
    with pytest.raises(InputError, match="must be at least 1"):
        evaluate(model, Colours(LABELS, LABELS), **options)


# Images that cannot be read


def test_a_corrupt_image_is_named_and_left_out(model):
    result = evaluate(model, Colours(LABELS, ("black", "corrupt", "green", "blue")), batch_size=3)
    assert result.images == 3
    assert result.top1 == 1.0
    assert [image.name for image in result.unreadable] == ["image 1"]
    assert "not an image" in result.unreadable[0].reason
    assert [row.label for row in result.classes] == ["black", "green", "blue"]


def test_files_are_read_and_the_corrupt_one_is_named(model, tmp_path):
    tmp_path = tmp_path / "data"
    tmp_path.mkdir()
    for name, value in COLOURS.items():
        (tmp_path / name).mkdir()
        for number in range(3):
            Image.new("RGB", (48, 40), value).save(tmp_path / name / f"{number}.png")
    bad = tmp_path / "green" / "1.png"
    bad.write_bytes(bad.read_bytes()[:50])
    result = evaluate(model, open_dataset(tmp_path, "val"))
    assert (result.images, result.correct) == (11, 11)
    assert [image.name for image in result.unreadable] == [str(bad)]
    # The data's classes are sorted by name, the rows by the model's ids.
    assert [(row.label, row.images) for row in result.classes] == [
        ("black", 3),
        ("red", 3),
        ("green", 2),
        ("blue", 3),
    ]


def test_no_readable_image_is_an_error(model):
    with pytest.raises(DatasetError, match=r"none of the 2 images can be read; the first: .*not an image"):
        evaluate(model, Colours(("red", "blue"), ("x", "x")))


# Which class is which


def test_the_same_names_are_matched_in_any_order_and_number():
    assert match_classes(LABELS, LABELS) == (0, 1, 2, 3)
    assert match_classes(("blue", "black"), LABELS) == (3, 0)


def test_folder_names_stand_for_names_that_no_folder_can_have():
    labels = ("T-shirt/top", "Ankle boot", "tench, Tinca tinca")
    assert match_classes(("ankle_boot", "tench_tinca_tinca", "T-shirt_top"), labels) == (1, 2, 0)


def test_synsets_count_in_sorted_order():
    assert match_classes(("n01443537", "n01440764", "n01484850"), ("tench", "goldfish", "shark")) == (1, 0, 2)


def test_numbers_are_ids():
    assert match_classes(("3", "0"), LABELS) == (3, 0)
    assert match_classes(("class 0", "class 1", "class 2", "class 3"), LABELS) == (0, 1, 2, 3)


def test_a_model_without_names_takes_the_order_of_the_data():
    assert match_classes(("Pullover", "Bag"), ("class 0", "class 1")) == (0, 1)


def test_a_name_shared_by_two_classes_needs_the_full_list():
    labels = ("crane", "dog", "crane")
    assert match_classes(labels, labels) == (0, 1, 2)
    with pytest.raises(DatasetError, match="'crane'"):
        match_classes(("crane", "dog"), labels)


@pytest.mark.parametrize(
    "classes",
    [
        ("red", "green", "purple"),
        ("cat", "dog", "bird", "fish"),  # as many as the model has, but not its classes
        ("n01440764", "n01443537"),  # two synsets of a model of four: which two?
        ("4",),
        ("1", "class 1"),
        ("red", "RED"),
    ],
)
def test_other_classes_are_refused_naming_both_sides(classes):
    with pytest.raises(DatasetError, match=r"classes \(.*\) are not the model's 4 \('black', 'red'") as info:
        match_classes(classes, LABELS)
    assert repr(classes[0]) in str(info.value)


# The confidence interval


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [
        # R. G. Newcombe, Two-sided confidence intervals for the single proportion, Statistics in Medicine 17 (1998),
        # table I, method 3 (score without continuity correction).
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_the_interval_has_the_published_values(successes, trials, low, high):
    assert wilson_interval(successes, trials) == pytest.approx((low, high), abs=5e-5)


def test_the_interval_stays_in_range_and_mirrors():
    assert wilson_interval(0, 10)[0] == 0.0
    assert wilson_interval(10, 10)[1] == 1.0
    low, high = wilson_interval(3, 10)
    assert wilson_interval(7, 10) == pytest.approx((1 - high, 1 - low))
    for wrong in ((1, 0), (-1, 5), (6, 5)):
        with pytest.raises(InputError, match="successes"):
            wilson_interval(*wrong)


# The sample that ships for tests and the demo


def test_the_sample_has_fifty_readable_images_of_every_class():
    from onnxzoo.registry import labels

    data = open_dataset(SAMPLE, "val")
    assert len(data) == 500
    assert np.bincount(data.labels).tolist() == [50] * 10
    assert sorted(match_classes(data.classes, labels("fashion_mnist"))) == list(range(10))
    assert {Image.open(data.image(i)).size for i in range(500)} == {(28, 28)}  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.skipif(not shipped_models(), reason="no model ships with this checkout")
@pytest.mark.parametrize("folder", shipped_models(), ids=lambda folder: folder.name)
def test_what_ships_is_right_about_the_sample_on_every_engine(folder):
    data = open_dataset(SAMPLE, "val")
    correct = {}
    for engine in ("openvino", "onnxruntime"):
        with load(folder.name, engine=engine) as model:
            result = evaluate(model, data, batch_size=50)
        correct[engine] = result.correct
        assert result.top1 > 0.86  # the issue asks for 0.89 on the whole test set; 500 images scatter by 0.014
        assert result.top5 > 0.98
    assert abs(correct["openvino"] - correct["onnxruntime"]) <= 2


def test_results_are_frozen(model):
    result = evaluate(model, Colours(LABELS, LABELS))
    assert isinstance(result, Evaluation)
    with pytest.raises(AttributeError):
        result.correct = 3  # type: ignore[misc]
