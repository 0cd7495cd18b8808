"""Which layers go back to fp32: by prediction, then by measurement."""

from __future__ import annotations

from collections.abc import Collection

import pytest

from onnxzoo.errors import QuantizationError
from onnxzoo.quantization.noise import Noise
from onnxzoo.quantization.search import noisiest, search

WEIGHTS = {"stem": 10, "a": 100, "b": 100, "c": 100, "head": 40}
ALONE: dict[str, Noise] = {
    "stem": (8e-4, 1e-4),
    "a": (1e-5, 2e-5),
    "b": (1e-5, 9e-4),
    "c": (1e-5, 2e-5),
    "head": (1e-4, 1e-5),
}


def additive(fp32_layers: Collection[str], factor: float = 1.0) -> Noise:
    left = [noise for name, noise in ALONE.items() if name not in fp32_layers]
    return tuple(factor * sum(values) for values in zip(*left, strict=True))


class Measured:
    """Measures as told to, and remembers what it was asked."""

    def __init__(self, factor: float = 1.0) -> None:
        self.asked: list[tuple[str, ...]] = []
        self.factor = factor

    def __call__(self, fp32_layers: Collection[str]) -> Noise:
        self.asked.append(tuple(fp32_layers))
        return additive(fp32_layers, self.factor)


def test_nothing_goes_back_where_the_limits_hold_already() -> None:
    measure = Measured()
    found = search(WEIGHTS, ALONE, (1e-3, 2e-3), measure, additive(()))
    assert (found.fp32_layers, found.candidates, measure.asked) == ((), 1, [])


def test_layers_that_are_in_fp32_from_the_start_stay_there() -> None:
    measure = Measured()
    found = search(WEIGHTS, ALONE, (1e-3, 2e-3), measure, additive(("head",)), ("head",))
    assert (found.fp32_layers, measure.asked) == (("head",), [])
    found = search(WEIGHTS, ALONE, (1e-2, 2e-4), measure, additive(("head",)), ("head",))
    assert (found.fp32_layers, measure.asked) == (("head", "b"), [("head", "b")])


def test_the_noisiest_layers_go_back_and_one_measurement_confirms_it() -> None:
    measure = Measured()
    found = search(WEIGHTS, ALONE, (1e-4, 2e-3), measure, additive(()))
    assert found.fp32_layers == ("stem", "head"), "130e-6 without the stem, 30e-6 without the head, too"
    assert found.noise == additive(("stem", "head"))
    assert (found.candidates, measure.asked) == (2, [("stem", "head")])


def test_every_set_of_images_has_a_limit_of_its_own() -> None:
    found = search(WEIGHTS, ALONE, (1e-2, 2e-4), Measured(), additive(()))
    assert found.fp32_layers == ("b",), "noisy on the second set only"


def test_what_prediction_got_wrong_is_put_right_by_measuring_again() -> None:
    measure = Measured()

    def worse(fp32_layers: Collection[str]) -> Noise:
        # The layers that are left make more noise together than alone, so long as two of the three are there.
        held_out, recorded = measure(fp32_layers)
        return (held_out * (4 if len(fp32_layers) < 3 else 1), recorded)

    found = search(WEIGHTS, ALONE, (1e-4, 2e-3), worse, additive(()))
    assert worse(found.fp32_layers)[0] <= 1e-4
    assert [len(each) for each in measure.asked[:-1]] == [2, 3]
    assert (found.candidates, len(found.fp32_layers)) == (3, 3)


def test_answers_that_are_wrong_ask_for_less_noise_than_there_is() -> None:
    measure = Measured()
    found = search(
        WEIGHTS, ALONE, (1e-2, 1e-2), measure, additive(()), (), lambda: "head" in (measure.asked or [()])[-1]
    )
    assert found.fp32_layers == ("stem", "head"), "one after the other"
    assert (found.candidates, measure.asked) == (3, [("stem",), ("stem", "head")])


def test_a_file_that_would_be_mostly_fp32_is_refused() -> None:
    with pytest.raises(QuantizationError, match=r"cannot be kept: with \d of 5 layers in fp32 .* \(expected 80.0\)"):
        search(WEIGHTS, ALONE, (1e-8, 1e-8), Measured(), additive(()))


@pytest.mark.parametrize(
    ("limits", "advice"),
    [((1e-8, 0.1), r"ask for less \(--min-snr\), or calibrate"), ((0.1, 1e-8), "fp32; calibrate on more images")],
)
def test_a_refusal_names_both_ratios_and_advises_what_can_help(limits: Noise, advice: str) -> None:
    expected = ["10.0" if limit == 0.1 else "80.0" for limit in limits]
    with pytest.raises(QuantizationError, match=advice) as caught:
        search(WEIGHTS, ALONE, limits, Measured(), additive(()))
    message = str(caught.value)
    assert f"dB for the logits on held-out images (expected {expected[0]})" in message
    assert f"dB for the noisiest output on the recorded inputs (expected {expected[1]}, which its valid" in message


def test_a_refusal_for_wrong_answers_advises_about_these() -> None:
    with pytest.raises(QuantizationError, match=r"ask for less \(--max-drop\), or calibrate"):
        search(WEIGHTS, ALONE, (1, 1), Measured(), additive(()), (), lambda: False)


def test_prediction_scales_what_layers_do_alone_to_what_they_did_together() -> None:
    assert noisiest(ALONE, additive(()), (1e-3, 2e-3)) == []
    assert noisiest(ALONE, additive((), 2), (1e-3, 1)) == ["stem"], "twice the sum was measured"
    assert noisiest({}, (), (1e-3, 1e-3)) == []
    assert noisiest({"still": (0.0, 0.0)}, (0.0, 0.0), (1e-9, 1e-9)) == []
