"""A step: the graph simplified by onnxsim.

python -m onnxzoo.exports.steps.simplify IN.onnx OUT.onnx
"""

from __future__ import annotations

import sys

import onnx
import onnxsim

from ...signals import end_with_parent

SKIPPED_OPTIMIZERS = [
    # They would turn every linear layer over tokens into Reshape + Gemm + Reshape: more nodes, and OpenVINO then cannot
    # compile the quantised model.
    "fuse_matmul_add_bias_into_gemm",
    "fuse_matmul_add_bias_into_gemm_batched",
    # It would move the last factor of a GELU into the convolution after it; engines then no longer see a GELU.
    "fuse_preceding_mul_into_conv",
]


def main(source: str, target: str) -> None:
    """Drop and fuse what is not needed.

    Constants are not folded: the export form computes none but the position bias and the shift mask, which are
    to stay small in the file, and folding would lose the names of the weights.

    onnxsim's own comparison is left out: it would compare the graph with the graph. Whether the numbers are
    the reference's is for `onnxzoo validate` to say.
    """
    model, _ = onnxsim.simplify(onnx.load(source), skipped_optimizers=SKIPPED_OPTIMIZERS, skip_constant_folding=True)
    onnx.save(model, target)


if __name__ == "__main__":
    end_with_parent()
    main(*sys.argv[1:])
