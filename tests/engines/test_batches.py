"""How a batch is split into pieces of compiled sizes."""

from __future__ import annotations

import pytest

from onnxzoo.engines.batches import BatchSplitter, batch_sizes


@pytest.mark.parametrize(
    ("largest", "few", "sizes"),
    [
        (1, False, (1,)),
        (2, False, (2, 1)),
        (7, False, (7, 1)),
        (8, False, (8, 2, 1)),
        (32, False, (32, 8, 2, 1)),
        (1000, False, (1000, 250, 62, 1)),
        (8, True, (8, 1)),
        (1, True, (1,)),
    ],
)
def test_a_few_sizes_down_to_one(largest, few, sizes):
    assert batch_sizes(largest, few=few) == sizes


@pytest.mark.parametrize("first", [0, -1])
@pytest.mark.parametrize("largest", [1, 2, 5, 8, 32])
def test_the_pieces_make_up_the_batch_whatever_was_cut_before(largest, first):
    sizes = batch_sizes(largest)
    splitter, ready = BatchSplitter(sizes), {sizes[first]}
    for count in (*range(1, 70), *range(69, 0, -1)):
        pieces = list(splitter.split(count, ready))
        assert [index for piece in pieces for index in range(piece.start, piece.stop)] == list(range(count))
        assert all(0 <= piece.size - (piece.stop - piece.start) <= 8 for piece in pieces)
        assert {piece.size for piece in pieces} <= set(sizes)
        ready |= {piece.size for piece in pieces}


def sizes_of(splitter: BatchSplitter, count: int, ready: set[int]) -> list[int]:
    return [piece.size for piece in splitter.split(count, ready)]


def test_a_rest_is_filled_up_once_and_compiled_for_when_it_comes_again():
    splitter = BatchSplitter((8, 2, 1))
    assert sizes_of(splitter, 11, {8}) == [8, 8]
    assert sizes_of(splitter, 11, {8}) == [8, 2, 1]
    # With the size 1 at hand, nothing is filled up.
    assert sizes_of(BatchSplitter((8, 2, 1)), 11, {1, 8}) == [8, 1, 1, 1]
    # The largest size is no exception, where a smaller one was compiled first.
    splitter = BatchSplitter((8, 2, 1))
    assert sizes_of(splitter, 16, {1}) == [1] * 16
    assert sizes_of(splitter, 16, {1}) == [8, 8]
    # Two were never wanted as long as eight were.
    assert sizes_of(splitter, 3, {1, 8}) == [1, 1, 1]
    assert sizes_of(splitter, 3, {1, 8}) == [2, 1]
    # One image is not worth 32.
    assert sizes_of(BatchSplitter((32, 8, 2, 1)), 1, {32}) == [1]
    assert sizes_of(BatchSplitter((32, 8, 2, 1)), 25, {32}) == [32]
