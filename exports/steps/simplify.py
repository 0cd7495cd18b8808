"""Step: simplifies the graph by onnxsim.

python -m onnxzoo.exports.steps.simplify IN.onnx OUT.onnx
"""

from __future__ import annotations

import sys

import onnx
import onnxsim

from ...signals import end_with_parent

SKIPPED_OPTIMIZERS = [
    # They would turn every linear layer over tokens into Reshape + Gemm + Reshape, with more nodes, and OpenVINO could
    # not compile the quantised model.
    "fuse_matmul_add_bias_into_gemm",
    "fuse_matmul_add_bias_into_gemm_batched",
    # It would move the last factor of a GELU into the next convolution, so that engines would not recognise the GELU.
    "fuse_preceding_mul_into_conv",
]


def main(source: str, target: str) -> None:
    """Remove and fuse unnecessary nodes.

    Constants are not folded. The export form computes only the position bias and the shift mask, which should stay
    small in the file, and folding would lose the names of the weights.

    onnxsim's own comparison is disabled, as it would compare the graph with itself. `onnxzoo validate` compares the
    outputs with the reference.
    """
    model, _ = onnxsim.simplify(onnx.load(source), skipped_optimizers=SKIPPED_OPTIMIZERS, skip_constant_folding=True)
    onnx.save(model, target)


if __name__ == "__main__":
    end_with_parent()
    main(*sys.argv[1:])
