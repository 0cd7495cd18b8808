"""Gates of machines as tests want them, and results that nobody measured."""

from __future__ import annotations

from onnxzoo.bench.result import Accuracy, Group, Limit, Row, Speed
from onnxzoo.bench.timing import Gate


class SteadyGate(Gate):
    """A machine whose matrix product takes these seconds, in turn, the last of them for ever; it never waits."""

    def __init__(self, *seconds: float) -> None:
        self.left = list(seconds)
        self.best = min(seconds)

    def check(self) -> float:
        return self.left.pop(0) if len(self.left) > 1 else self.left[0]

    def settle(self) -> None:
        pass


def busy() -> SteadyGate:
    """A machine that was fast once and never again."""
    gate = SteadyGate(0.9)
    gate.best = 0.02
    return gate


ACCURACY = Accuracy(0.9183, 0.9988, 10000, "Fashion-MNIST", "openvino")


def made_up_group() -> Group:
    """An engine in two precisions, one of them never in a healthy moment, a peer, and one that failed."""
    speed = Speed(9.5, 10.0, 11.0, 12.5, 100.0, 300, 9, 10)
    ours = Row(
        "pvt_v2_b0", "openvino", "openvino", "CPU", "2026.4", "fp32", 1, speed, 0.5, 0.012, 126.4, ACCURACY, 125.6,
        106.0, 200.0, 0.53,
    )  # fmt: skip
    low = Row(
        "pvt_v2_b0", "openvino", "openvino", "CPU", "2026.4", "int8", 1, Speed(4.5, 5.0, 6.0, 7.0, 200.0, 300, 0, 20),
        0.7, 0.01, 140.0, None, 31.5,
    )  # fmt: skip
    peer = Row("pvt_v2_b0", "paddle2onnx", "onnxruntime", "CPU", "1.31", "fp32", 1, speed, snr_db=120.0)
    failed = Row("pvt_v2_b0", "torch-compile", "torch", "", "", "fp32", 1, error="no C++ compiler")
    return Group("pvt_v2_b0", 1, (ours, low, peer, failed), (Limit("openvino", "fp32", 200.0),))
