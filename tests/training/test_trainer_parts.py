"""The parts of a training, each against its definition."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

paddle = pytest.importorskip("paddle", reason="needs the export extra")

from onnxzoo.training.ema import Ema
from onnxzoo.training.images import Damaged, KeptImages, ReadImages, evaluation_crops
from onnxzoo.training.network import DenseDepthwiseConv, Network
from onnxzoo.training.optimizer import Optimizer
from toy_runs import FAMILIES, spec
from toy_training import SIDE, toy_entry, toy_recipe

from onnxzoo.data.layouts import open_dataset
from onnxzoo.reference.paddle.build import build_model, load_state
from onnxzoo.reference.paddle.pvt_v2 import DepthwiseConv

pytestmark = pytest.mark.paddle


def test_weight_decay_leaves_norms_biases_and_position_biases_alone() -> None:
    network = Network(spec("swinv2"), toy_recipe(), compiled=False)
    optimizer = Optimizer(network.parameters, toy_recipe(weight_decay=0.5, clip_norm=0.0))
    before = network.state()
    # Adam's own step is zero where the gradient is: what moves is decayed.
    for parameter in network.parameters.values():
        (parameter.sum() * 0.0).backward()
    optimizer.step(0.1)
    after = network.state()
    moved = {name for name in before if not np.array_equal(before[name], after[name])}
    assert "layers.0.blocks.0.attn.qkv.weight" in moved
    assert "patch_embed.proj.weight" in moved
    assert not any("norm" in n or "bias" in n or "logit_scale" in n or "cpb_mlp" in n for n in moved)
    np.testing.assert_allclose(after["head.weight"], before["head.weight"] * (1 - 0.1 * 0.5), rtol=1e-6)


def test_the_average_of_the_weights_against_its_definition() -> None:
    layer = paddle.nn.Linear(1, 1)
    parameters = dict(layer.named_parameters())
    ema = Ema(parameters, 0.9)
    expected = {name: value.numpy().copy() for name, value in parameters.items()}
    for step in range(120):
        layer.weight.set_value(np.full((1, 1), step, np.float32))
        ema.update(step)
        decay = min(0.9, (1 + step) / (10 + step))
        expected["weight"] = decay * expected["weight"] + (1 - decay) * step
    np.testing.assert_allclose(ema.state()["weight"], expected["weight"], rtol=1e-5)


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_network_under_training_is_the_reference(family: str, compiled: bool) -> None:
    recipe = toy_recipe(drop_path=0.0)
    network = Network(spec(family), recipe, compiled=compiled)
    if family == "pvt_v2":
        assert any(isinstance(layer, DenseDepthwiseConv) for layer in network.model.sublayers())
    reference = build_model(spec(family), drop_path_rate=0.0)
    load_state(reference, network.state())
    images = np.random.default_rng(0).standard_normal((3, 3, SIDE, SIDE)).astype(np.float32)
    targets = np.eye(2, dtype=np.float32)[[0, 1, 1]]
    loss, logits = network.loss(images, targets, 1 / 3, None)
    loss.backward()
    expected = reference(paddle.to_tensor(images))
    np.testing.assert_allclose(logits, expected.numpy(), atol=2e-6)
    expected_loss = paddle.nn.functional.cross_entropy(expected, paddle.to_tensor(targets), soft_label=True)
    expected_loss.backward()
    assert float(loss) == pytest.approx(float(expected_loss), rel=1e-5)
    for name, parameter in reference.named_parameters():
        np.testing.assert_allclose(network.parameters[name].grad.numpy(), parameter.grad.numpy(), atol=2e-6)


@pytest.mark.parametrize("side", [1, 2, 5])
def test_the_dense_depthwise_convolution_is_the_convolution(side: int) -> None:
    layer = DepthwiseConv(6, side)
    tokens = paddle.randn([2, side * side, 6])
    np.testing.assert_allclose(DenseDepthwiseConv(layer, side)(tokens).numpy(), layer(tokens).numpy(), atol=1e-5)


def test_stochastic_depth_keeps_the_expectation_and_shards_alike() -> None:
    network = Network(spec("pvt_v2"), toy_recipe(drop_path=0.5), compiled=False)
    kept = network.draw_depths(0, 0, 4000)
    assert kept is not None
    assert kept.shape[1:] == (4000, 1, 1)
    # Rates of the three blocks 0, 0.25 and 0.5, twice each: attention and MLP; the first block has none.
    assert len(kept) == 2
    np.testing.assert_allclose(kept.mean(axis=(1, 2, 3)), 1.0, atol=0.06)
    assert set(np.unique(kept[1]).tolist()) == {0.0, 2.0}


def test_images_kept_in_memory_get_the_pixels_of_evaluation(data: Path) -> None:
    dataset, crop = open_dataset(data, "train"), toy_entry("pvt_v2").preprocess
    damaged = Damaged("stop", print)
    pixels, readable = evaluation_crops(dataset, crop, damaged, threads=2)
    still = toy_recipe(shift=0, flip=0.0, erase=0.0)
    from onnxzoo.image import preprocess

    for source in (KeptImages(pixels, readable, still, crop), ReadImages(dataset, still, crop, damaged, 1)):
        images, _ = source.load(np.array([3, 1]), epoch=0)
        np.testing.assert_array_equal(images[0], preprocess(dataset.image(3), crop))
        np.testing.assert_array_equal(images[1], preprocess(dataset.image(1), crop))


def test_an_image_gets_the_same_augmentation_in_any_batch(data: Path) -> None:
    dataset, crop = open_dataset(data, "train"), toy_entry("pvt_v2").preprocess
    damaged = Damaged("stop", print)
    kept = KeptImages(*evaluation_crops(dataset, crop, damaged, 1), toy_recipe(), crop)
    read = ReadImages(dataset, toy_recipe(crop="resized", rand_layers=2), crop, damaged, 2)
    for source in (kept, read):
        together, _ = source.load(np.arange(20), epoch=1)
        alone, _ = source.load(np.array([7]), epoch=1)
        later, _ = source.load(np.array([7]), epoch=2)
        assert np.array_equal(together[7], alone[0])
        assert not np.array_equal(later[0], alone[0])
