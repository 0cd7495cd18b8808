"""Recipes, schedules and augmentation against closed forms; no Paddle."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pytest
from onnxzoo.training.augment import augmented, erase, normalised, random_area, random_crop, shifted
from onnxzoo.training.batches import BatchPlan
from onnxzoo.training.images import KeptImages
from onnxzoo.training.mixing import draw_mix, mixed_images, smoothed
from onnxzoo.training.randaugment import OPERATIONS, rand_augment
from onnxzoo.training.recipe import Recipe, decays, default_recipe
from onnxzoo.training.schedule import learning_rate
from onnxzoo.training.streams import IMAGE, ORDER, stream
from PIL import Image

from onnxzoo.errors import DatasetError, InputError
from onnxzoo.image import preprocess
from onnxzoo.registry import Preprocess, find

SPEC = Preprocess(8, 8, "bicubic", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
ALL = slice(None)


def pixels(count: int = 2, side: int = 8, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, 3)).astype(np.uint8)


# Recipe and schedule


def test_the_defaults_are_those_of_paddleclas() -> None:
    recipe = default_recipe(find("pvt_v2_b0"))
    assert (recipe.lr, recipe.batch_size, recipe.weight_decay, recipe.lr_min, recipe.drop_path) == (
        1e-3,
        1024,
        0.05,
        1e-5,
        0.1,
    )
    for name in ("swinv2_base_w16", "swinv2_tiny_w8"):
        recipe = default_recipe(find(name))
        assert (recipe.lr_min, recipe.lr_start, recipe.clip_norm) == (1e-5, 1e-6, 0.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, "epochs must be at least 1, got 0"),
        ({"lr": 0.0}, "lr must be positive"),
        ({"lr": math.nan}, "lr must be a number"),
        ({"lr_min": 1.0}, "lr_min must be between 0 and lr, 0.001, got 1.0"),
        ({"seed": 2**56}, r"seed must be below 2\^56, got 72057594037927936"),
        ({"epochs": 3}, "warmup_epochs must be below epochs"),
        ({"flip": 1.5}, r"flip must be in \[0, 1\]"),
        ({"ema": 1.0}, r"ema must be in \[0, 1\)"),
        ({"crop": "centre"}, "crop must be one of"),
        ({"mixup": -0.1}, "mixup must not be negative"),
        ({"rand_magnitude": 11.0}, "rand_magnitude must be in"),
    ],
)
def test_recipes_that_make_no_sense(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Recipe(**changes)  # type: ignore[arg-type]


def test_the_learning_rate_rises_linearly_then_follows_a_cosine() -> None:
    recipe = Recipe(epochs=10, warmup_epochs=2, lr=1.0, lr_min=0.1, lr_start=0.2, lr_batch_size=0, batch_size=8)
    rates = [learning_rate(recipe, step, 5) for step in range(51)]
    assert rates[0] == pytest.approx(0.2)
    assert rates[5] == pytest.approx(0.6)
    assert rates[10] == pytest.approx(1.0)
    assert rates[30] == pytest.approx(0.55)
    assert rates[50] == pytest.approx(0.1)
    assert rates[20] == pytest.approx(0.1 + 0.9 * (1 + math.cos(math.pi / 4)) / 2)
    assert all(a > b for a, b in itertools.pairwise(rates[10:]))


def test_the_learning_rate_scales_with_the_batch() -> None:
    recipe = Recipe(batch_size=256)
    assert recipe.lr_factor == 0.25
    assert learning_rate(recipe, 20 * 7, 7) == pytest.approx(2.5e-4)


def test_no_warm_up() -> None:
    assert learning_rate(Recipe(epochs=1, warmup_epochs=0, lr_batch_size=0), 0, 3) == pytest.approx(1e-3)


@pytest.mark.parametrize(
    ("name", "shape", "expected"),
    [
        ("head.weight", (64, 10), True),
        ("patch_embed.proj.weight", (96, 3, 4, 4), True),
        ("head.bias", (10,), False),
        ("norm.weight", (64,), False),
        ("layers.0.blocks.0.attn.logit_scale", (3, 1, 1), False),
        ("layers.0.blocks.0.attn.cpb_mlp.0.weight", (2, 512), False),
        ("layers.0.blocks.0.attn.q_bias", (96,), False),
    ],
)
def test_what_weight_decay_acts_on(name: str, shape: tuple[int, ...], expected: bool) -> None:
    assert decays(name, shape) is expected


def test_streams_depend_on_all_their_arguments() -> None:
    first = stream(IMAGE, 0, 1, 2).random(4)
    np.testing.assert_array_equal(first, stream(IMAGE, 0, 1, 2).random(4))
    for other in (stream(ORDER, 0, 1, 2), stream(IMAGE, 1, 1, 2), stream(IMAGE, 0, 2, 2), stream(IMAGE, 0, 1, 3)):
        assert not np.array_equal(first, other.random(4))


# One image


def test_normalising_is_that_of_evaluation() -> None:
    images = pixels()
    np.testing.assert_array_equal(normalised(images, SPEC)[1], preprocess(images[1], SPEC))


def test_a_shift_moves_and_repeats_the_border() -> None:
    image = np.arange(9, dtype=np.uint8).reshape(1, 3, 3, 1).repeat(3, axis=3)
    one, none, no = np.array([1]), np.array([0]), np.array([False])
    assert shifted(image, none, one, no)[0, :, :, 0].tolist() == [[1, 2, 2], [4, 5, 5], [7, 8, 8]]
    assert shifted(image, -one, none, no)[0, :, :, 0].tolist() == [[0, 1, 2], [0, 1, 2], [3, 4, 5]]
    np.testing.assert_array_equal(shifted(image, none, none, ~no), image[:, :, ::-1])
    np.testing.assert_array_equal(shifted(image, none, none, no), image)


def test_shifts_differ_within_a_batch() -> None:
    images = pixels(3)
    moved = shifted(images, np.array([0, 2, -1]), np.array([0, 1, 3]), np.array([False, True, False]))
    for index, (row, column, flip) in enumerate([(0, 0, False), (2, 1, True), (-1, 3, False)]):
        alone = shifted(images[index : index + 1], np.array([row]), np.array([column]), np.array([flip]))
        np.testing.assert_array_equal(moved[index], alone[0])


@pytest.mark.parametrize("size", [(100, 100), (300, 40), (40, 300), (1, 1), (5, 1)])
def test_random_areas_lie_within_the_image(size: tuple[int, int]) -> None:
    random = np.random.default_rng(0)
    for _ in range(200):
        left, top, right, bottom = random_area(size, 0.08, random)
        assert 0 <= left < right <= size[0]
        assert 0 <= top < bottom <= size[1]


def test_random_areas_have_the_shares_and_aspects_asked_for() -> None:
    random = np.random.default_rng(0)
    boxes = np.array([random_area((400, 400), 0.25, random) for _ in range(500)])
    width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    assert (width * height / 400**2).min() > 0.24
    assert (width / height).min() > 0.74
    assert (width / height).max() < 1.35


def test_a_crop_has_the_size_of_the_model() -> None:
    assert random_crop(Image.new("RGB", (50, 30)), 0.08, SPEC, np.random.default_rng(0)).size == (8, 8)


def test_erasing_changes_one_rectangle_of_at_most_a_third() -> None:
    shares = []
    for seed in range(100):
        values = np.full((3, 32, 32), 9.0, dtype=np.float32)
        erase(values, np.random.default_rng(seed))
        changed = (values != 9.0).all(axis=0)
        rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
        assert changed[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
        shares.append(changed.mean())
    assert min(shares) > 0.015
    assert max(shares) < 0.36


@pytest.mark.parametrize("number", range(len(OPERATIONS)))
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_every_operation_keeps_size_and_mode(number: int, sign: float) -> None:
    image = Image.fromarray(pixels(1, 16)[0])
    for strength in (0.0, 0.5, 1.0):
        changed = OPERATIONS[number](image, strength, sign, (124, 116, 104))
        assert (changed.size, changed.mode) == ((16, 16), "RGB")


def test_rand_augment_is_fixed_by_its_stream() -> None:
    image = Image.fromarray(pixels(1, 16)[0])
    results = [
        rand_augment(image, 2, 9.0, 0.5, SPEC.mean, np.random.default_rng(seed)).tobytes() for seed in (1, 1, 2, 3, 4)
    ]
    assert results[0] == results[1]
    assert len(set(results)) > 2


def test_an_augmented_image_without_any_augmentation_is_the_image() -> None:
    recipe = Recipe(flip=0.0, rand_layers=0, erase=0.0)
    image = pixels(1)[0]
    values = augmented(Image.fromarray(image), recipe, SPEC, np.random.default_rng(0))
    np.testing.assert_array_equal(values, preprocess(image, SPEC))


# Batches


def test_smoothed_targets() -> None:
    targets = smoothed(np.array([1, 0]), 4, 0.1)
    np.testing.assert_allclose(targets, [[0.025, 0.925, 0.025, 0.025], [0.925, 0.025, 0.025, 0.025]], rtol=1e-6)
    assert targets.dtype == np.float32


def test_mixup_adds_and_cutmix_cuts() -> None:
    own, others = np.zeros((4, 3, 16, 16), np.float32), np.ones((4, 3, 16, 16), np.float32)
    kinds = set()
    for step in range(30):
        mix = draw_mix(Recipe(), 0, step, 4, 16)
        assert mix is not None
        kinds.add(mix.box is None)
        mixed = mixed_images(own, others, mix)
        # What the targets are told is what the pixels show.
        np.testing.assert_allclose(mixed.mean(axis=(1, 2, 3)), 1 - mix.share, atol=1e-6)
        assert sorted(mix.partners.tolist()) == [0, 1, 2, 3]
    assert kinds == {True, False}
    assert not own.any()


def test_no_mixing() -> None:
    assert draw_mix(Recipe(mixup=0.0, cutmix=0.0), 0, 0, 4, 16) is None
    assert draw_mix(Recipe(), 0, 0, 1, 16) is None
    assert all((m := draw_mix(Recipe(cutmix=0.0), 0, s, 4, 16)) is not None and m.box is None for s in range(9))


@pytest.mark.parametrize("recipe", [Recipe(mixup=0.0, cutmix=0.0, batch_size=10), Recipe(batch_size=10)])
def test_the_parts_of_a_batch_are_the_batch(recipe: Recipe) -> None:
    kept = KeptImages(pixels(25), np.ones(25, dtype=np.bool_), recipe, SPEC)
    labels = np.arange(25) % 3
    whole = BatchPlan(kept, labels, 3, 8, recipe, slice(None))
    assert whole.steps == 2
    parts = [dataclasses.replace(whole, part=part) for part in (slice(0, 3), slice(3, 7), slice(7, 10))]
    for batch, *shares in zip(whole.epoch(1, 0), *(part.epoch(1, 0) for part in parts), strict=True):
        for field in ("images", "targets", "labels"):
            np.testing.assert_array_equal(
                np.concatenate([getattr(share, field) for share in shares]), getattr(batch, field)
            )
        assert batch.readable == 10


def test_an_epoch_takes_every_image_once_and_can_be_entered_anywhere() -> None:
    recipe = Recipe(mixup=0.0, cutmix=0.0, batch_size=5, label_smoothing=0.0)
    kept = KeptImages(pixels(20), np.ones(20, dtype=np.bool_), recipe, SPEC)
    plan = BatchPlan(kept, np.arange(20), 20, 8, recipe, slice(None))
    labels = [batch.labels for batch in plan.epoch(0, 0)]
    assert sorted(np.concatenate(labels).tolist()) == list(range(20))
    assert [batch.labels.tolist() for batch in plan.epoch(0, 2)] == [labels[2].tolist(), labels[3].tolist()]
    assert np.concatenate([batch.labels for batch in plan.epoch(1, 0)]).tolist() != np.concatenate(labels).tolist()


def test_the_order_follows_the_seed_and_the_epoch() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        recipe = Recipe(mixup=0.0, cutmix=0.0, batch_size=5, seed=seed)
        plan = BatchPlan(KeptImages(pixels(20), np.ones(20, np.bool_), recipe, SPEC), np.arange(20), 20, 8, recipe, ALL)
        return [int(label) for batch in plan.epoch(epoch, 0) for label in batch.labels]

    assert order(0, 0) == order(0, 0)
    orders = [order(seed, epoch) for seed in (0, 1) for epoch in (0, 1)]
    assert all(sorted(one) == list(range(20)) for one in orders)
    assert len({tuple(one) for one in orders}) == 4, "each seed and epoch has an order of its own"
    assert list(range(20)) not in orders


def test_unreadable_images_count_for_nothing() -> None:
    recipe = Recipe(batch_size=20)
    readable = np.ones(20, dtype=np.bool_)
    readable[4] = False
    plan = BatchPlan(KeptImages(pixels(20), readable, recipe, SPEC), np.arange(20) % 2, 2, 8, recipe, slice(None))
    (batch,) = plan.epoch(0, 0)
    # With mixing, the image that it is the partner of is left out, too.
    assert batch.readable in (18, 19)
    assert (batch.labels == -1).sum() == 20 - batch.readable
    assert not batch.targets[batch.labels == -1].any()
    np.testing.assert_allclose(batch.targets[batch.labels >= 0].sum(axis=1), 1, rtol=1e-6)


def test_an_error_of_the_reading_thread_reaches_the_training() -> None:
    class Broken:
        def load(self, _indices: object, _epoch: int) -> tuple[np.ndarray, np.ndarray]:
            raise DatasetError("broken")

    plan = BatchPlan(Broken(), np.zeros(20, dtype=np.int64), 2, 8, Recipe(batch_size=5), slice(None))
    with pytest.raises(DatasetError, match="broken"):
        list(plan.epoch(0, 0))
