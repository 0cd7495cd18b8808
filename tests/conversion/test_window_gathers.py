"""Gathers over tokens as reshapes, transpositions and rolls: the same tokens, for every order of windows."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import onnx
import pytest
from artifacts import SWIN
from onnx import helper, numpy_helper

from onnxzoo.conversion.window_gathers import Order, applied, rewrite, steps_of, with_features
from onnxzoo.families import ModelSpec
from onnxzoo.families.swinv2.constants import merging_index, reorder_index, stages, window_order
from onnxzoo.registry import find
from onnxzoo.source import resolve


def test_every_change_of_windows_is_found_and_gives_the_same_tokens() -> None:
    side = 12
    orders = [Order(side, window, shift) for window, shift in ((1, 0), (3, 0), (3, 1), (4, 2), (6, 3), (12, 0))]
    tokens = np.random.default_rng(0).standard_normal((side**2, 5))
    for before, after in itertools.product(orders, orders):
        was, now = (window_order(side, one.window, one.shift) for one in (before, after))
        indices = reorder_index(was, now)
        found = steps_of(indices, before)
        assert found is not None
        np.testing.assert_array_equal(applied(with_features(found[0], 5), tokens), tokens[indices])
        np.testing.assert_array_equal(window_order(side, found[1].window, found[1].shift), now)


def test_every_merging_of_four_tokens_is_found_and_gives_the_same_tokens() -> None:
    side = 12
    tokens = np.random.default_rng(0).standard_normal((side**2, 7))
    for before, after in itertools.product((Order(side, 3, 1), Order(side, 4, 0)), (Order(6, 3, 0), Order(6, 6, 0))):
        was, now = (window_order(one.side, one.window, one.shift) for one in (before, after))
        indices = merging_index(side, was, now)
        found = steps_of(indices, before)
        assert found is not None
        np.testing.assert_array_equal(applied(with_features(found[0], 7), tokens), tokens[indices])
        np.testing.assert_array_equal(window_order(6, found[1].window, found[1].shift), now)


@pytest.mark.parametrize(
    "indices", [np.random.default_rng(1).permutation(144), np.arange(143), np.zeros(144, np.int64), np.arange(36)]
)
def test_other_indices_are_not_taken_for_an_order(indices: np.ndarray) -> None:
    assert steps_of(indices, Order(12, 3, 0)) is None


@pytest.mark.parametrize("name", ["swinv2_tiny_w8", "swinv2_small_w16", "swinv2_large_w24", SWIN])
def test_every_gather_of_a_model_is_found(name: str) -> None:
    entry = find(name)
    every = stages(ModelSpec(entry.architecture, entry.preprocess.crop_size, 10))
    order, known, count = np.arange(every[0].side ** 2), Order(every[0].side, 1, 0), 0
    for number, stage in enumerate(every):
        for block in range(stage.depth):
            wanted = stage.order(block)
            if not np.array_equal(order, wanted):
                found = steps_of(reorder_index(order, wanted), known)
                assert found is not None
                known, count = found[1], count + 1
            order = wanted
        if number + 1 < len(every):
            wanted = every[number + 1].order(0)
            found = steps_of(merging_index(stage.side, order, wanted), known)
            assert found is not None
            order, known, count = wanted, found[1], count + 1
    assert count >= 5


def gather(indices: np.ndarray) -> onnx.ModelProto:
    """A graph that gathers tokens [N, 16, 8]."""
    node = helper.make_node("Gather", ["tokens", "order"], ["out"], "odd/Gather", axis=1)
    shape = ["batch", 16, 8]
    ends = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name in ("tokens", "out")]
    order = numpy_helper.from_array(indices, "order")
    return helper.make_model(helper.make_graph([node], "odd", ends[:1], ends[1:], [order]))


def test_an_unknown_gather_is_an_error_that_names_it() -> None:
    with pytest.raises(ValueError, match="odd/Gather does not take tokens from one order of windows to another"):
        rewrite(gather(np.random.default_rng(2).permutation(16)))


def test_a_shipped_graph_keeps_its_outputs_without_gathers_over_tokens(tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    source = resolve(SWIN)
    model = onnx.load(source.open().path)
    assert rewrite(model) == 5
    initializers = {one.name for one in model.graph.initializer}
    assert all(node.input[0] in initializers for node in model.graph.node if node.op_type == "Gather")
    onnx.checker.check_model(model)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    vectors = source.vectors()
    found = session.run(["logits"], {"pixel_values": vectors.images})[0]
    np.testing.assert_allclose(found, vectors.outputs["logits"], atol=1e-4)
