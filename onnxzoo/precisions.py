"""The precisions, as data: one record each. Each engine lists the precisions that it supports (its `FILES`).

Other modules derive their tables of precisions from these records. Importing this module loads nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

FP32, FP16, BF16, INT8 = "fp32", "fp16", "bf16", "int8"

AUTO_PRECISION = "auto"
"""Not a precision: requests the fastest one that the engine and the artifact's files offer."""


@dataclass(frozen=True, slots=True)
class Precision:
    """A precision that engines compute in, and the ONNX file that holds a model in it.

    `file`: its path in an artifact; None for a precision that engines derive from another precision's file.
    `element_types`: the codes of its numbers in ONNX (TensorProto.DataType). `dtype`: their name in NumPy.
    `rounding`: the largest relative error of rounding an fp32 number to it, half a unit in the last place; None for
    integers with a scale, whose error depends on the scale. `smallest`: the magnitude to which converters raise smaller
    numbers other than 0.
    `tolerance` and `snr_db`: what its outputs must meet, see `onnxzoo.comparison.tolerances.Tolerance`.
    `layer_noise`: order of magnitude of the rms of a layer's rounding errors, relative to the rms of its values.
    `instruction_sets`: those of `onnxzoo.cpu.INSTRUCTION_SETS` that each have instructions for it.
    """

    name: str
    file: str | None
    element_types: frozenset[int]
    dtype: str
    rounding: float | None
    tolerance: float
    snr_db: float | None
    layer_noise: float
    smallest: float = 0.0
    instruction_sets: frozenset[str] = frozenset()


# The tolerances.
#
# fp32: 24 significant bits round with u = 2^-24 = 6e-8. Some hundred roundings in a row and sums over thousands of
# products give 2e-6 to 6e-6 on logits of a few units (measured, all sixteen models); 1e-4 leaves other orders of
# summation a factor of 16, and is still 1/40 of what one bf16 rounding does.
#
# Below fp32, single values are a weak test, as their errors are noise that depends on the depth and the spread of the
# outputs. Its power can be predicted. The error of rounding to p bits is up to u = 2^-p, or u / sqrt(3) rms, which is
# 71 dB below the signal for fp16 (p = 11) and 53 for bf16 (p = 8). int8 has 255 equal steps over a range of about 8
# standard deviations: step / sqrt(12), 41 dB below. The noise powers of L independent roundings add up, 10 log10(L) dB:
# 15 dB for the 30 that matter in a small model (56, 38, 26; measured on the shipped models: fp16 58, bf16 39, int8 35
# to 38 on real images), and 26 dB for 400, more than in the deepest model here. This gives the limits for fp16 and
# bf16, 45 and 27 dB.
#
# For int8 the limit would be 15 dB, and a wrong file would pass. Without VNNI, products of uint8 activations and
# weights with all 8 bits saturate in 16 bits, and the shipped models reach 8.3 to 18.7 dB on the recorded inputs. 7-bit
# weights cannot saturate, and layers whose outputs are not rounded again are 3 dB less noisy. Files of `onnxzoo
# quantize` reach 25.7 dB and more on the recorded inputs and on the noise and plain images that a validation adds (both
# models, both engines, three seeds), and 35 and 38 dB on real images. The limit, 23 dB, is 4 dB above the highest ratio
# of a wrong file. It can be met for inputs within the ranges of the calibration, which therefore includes the recorded
# inputs; the activations of other inputs are clipped (14 dB).
#
# A model with the same outputs for every image has 0 dB. But many single faults (a shift mask of zeros, a missing
# bias) are smaller than the noise of int8 itself. Those are found by comparing the file's constants with those of the
# fp32 file (`validators/low_precision.py`). `tolerance` bounds any single value: 7.5 times the noise at the limit,
# which is 5 deviations (one value in a million) where outputs spread by 1.5.
_RECORDS = (
    Precision(
        FP32,
        file="onnx/model.onnx",
        element_types=frozenset({1}),
        dtype="float32",
        rounding=0.0,
        tolerance=1e-4,
        snr_db=None,
        layer_noise=1e-6,
    ),
    Precision(
        FP16,
        file="onnx/model_fp16.onnx",
        element_types=frozenset({10}),
        dtype="float16",
        rounding=2.0**-11,
        smallest=2e-7,
        tolerance=0.04,
        snr_db=45.0,
        layer_noise=1e-3,
        instruction_sets=frozenset({"avx512_fp16", "amx_fp16", "fp16"}),
    ),
    Precision(
        BF16,
        file=None,
        element_types=frozenset({16}),
        dtype="bfloat16",
        rounding=2.0**-8,
        tolerance=0.33,
        snr_db=27.0,
        layer_noise=8e-3,
        instruction_sets=frozenset({"avx512_bf16", "amx_bf16", "bf16"}),
    ),
    Precision(
        INT8,
        file="onnx/model_int8.onnx",
        element_types=frozenset({2, 3}),  # activations are uint8
        dtype="int8",
        rounding=None,
        tolerance=0.54,
        snr_db=23.0,
        layer_noise=3e-2,
        instruction_sets=frozenset({"avx512_vnni", "avx_vnni", "amx_int8", "dotprod", "i8mm"}),
    ),
)

PRECISIONS: Mapping[str, Precision] = {one.name: one for one in _RECORDS}
"""By name, from the finest and slowest to the coarsest and fastest."""

LOW_PRECISIONS = tuple(name for name in PRECISIONS if name != FP32)

REQUESTS = (FP32, AUTO_PRECISION, *LOW_PRECISIONS)
"""The valid values of `precision`, in the order in which messages list them."""


def quantize_hint(precision: str, model: str) -> str:
    """How to make a missing file in this precision, to end a message; empty for one that `quantize` does not make."""
    made = precision != FP32 and precision in PRECISIONS and PRECISIONS[precision].file is not None
    return f"; make one: onnxzoo quantize {model} --precision {precision}" if made else ""
