"""Compares the parameters in an ONNX file with the checkpoint's, by name.

This detects errors that no output shows: a change of one value in a million by 1 % is below the rounding of the logits.
Constants that exports compute from several parameters (FOLDED) are checked only by the outputs. Any other parameter
must be in the file, under its name, or under another if equal ones are stored once or names were changed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..families import Architecture
from ..families.pvt_v2.architecture import PvtV2Architecture
from .graph_probes import GraphProbes
from .onnx_file import reading

Values = npt.NDArray[np.float64]

SHOWN = 3
ROUNDING = 2.0**-22
"""Largest relative difference of values that count as equal: two roundings to float32."""


FOLDED = ("attn.logit_scale", "attn.q_bias", "attn.v_bias", "attn.cpb_mlp.")
"""Parameters from which exports compute other constants (SwinV2's `qk_scale`, `qkv.bias` and `position_bias`; none of
PVTv2). They may be absent, as may a bias of zeros."""


@dataclass(frozen=True, slots=True)
class ParameterCheck:
    """`problems`: a line for every parameter that differs or is missing; true if there is none.

    `equal`: number of parameters found under their name with the checkpoint's values. `elsewhere`: names of those whose
    values are in the file under another name. `absent`: names of those from which other constants were computed.
    `saturating`: names of int8 weights of more than 7 bits, whose products saturate on CPUs without VNNI.
    """

    equal: int
    elsewhere: tuple[str, ...]
    absent: tuple[str, ...]
    problems: tuple[str, ...]
    saturating: tuple[str, ...] = ()

    @property
    def summary(self) -> str:
        """A description of the result."""
        parts = [f"{self.equal} equal"]
        if self.elsewhere:
            parts.append(f"{len(self.elsewhere)} equal under another name: {_listing(self.elsewhere)}")
        if self.absent:
            parts.append(
                f"{len(self.absent)} not in the file, as others are computed with them: {_listing(self.absent)}"
            )
        if self.saturating:
            parts.append(
                f"{len(self.saturating)} use all 8 bits, and their products saturate on CPUs without VNNI (quantise "
                f"with reduce_range): {_listing(self.saturating)}"
            )
        return "; ".join(parts)

    def __bool__(self) -> bool:
        return not self.problems


def check_parameters(
    model_file: Path,
    state: Mapping[str, npt.NDArray[np.float32]],
    architecture: Architecture,
    epsilons: Mapping[str, float] | None = None,
) -> ParameterCheck:
    """Compare the initializers of an fp32 ONNX file with a checkpoint's `state` (Paddle's names and layouts).

    `epsilons`: of the reference's norms by name, compared with those of the operators LayerNormalization.

    Weights may have only the layout that the operator using them needs (for a linear layer a product from either side,
    a convolution or a Gemm), so a transposed square weight differs. Those of PVTv2's queries may include the scale of
    the scores. Raises MissingDependencyError without onnx, ValidationError if the file cannot be read.
    """
    with reading(model_file, "parameters") as onnx:
        graph = onnx.load(str(model_file), load_external_data=False).graph
        tensors = {tensor.name: tensor for tensor in graph.initializer}
        stored = {name: onnx.numpy_helper.to_array(tensors[name]) for name in state if name in tensors}
        # Only a file with renamed parameters needs more than a few of these.
        absent = [name for name in state if name not in stored and not _may_be_absent(name, state[name])]
        sizes = {state[name].size for name in absent}
        others = [onnx.numpy_helper.to_array(t) for t in graph.initializer if absent and math.prod(t.dims) in sizes]
    anchors = GraphProbes(graph, ()).anchors
    problems, equal = [], 0
    for name in state:
        if name in stored:
            wanted = _as_used(state[name], anchors.get(name.removesuffix(".weight"), []), name)
            factors = (1.0, _folded_scale(name, architecture))
            found = stored[name].astype(np.float64)
            if any(_same(found, form * factor) for form in wanted for factor in factors):
                equal += 1
            else:
                problems.append(_difference(name, found, wanted[0], factors))
    elsewhere = []
    for name in absent:
        factors = (1.0, _folded_scale(name, architecture))
        wanted = [form * factor for form in _any_layout(state[name]) for factor in factors]
        if any(_same(other.astype(np.float64), form) for other in others for form in wanted):
            elsewhere.append(name)
        else:
            problems.append(f"{name} is not in the ONNX file, neither its name nor its values")
    for name, wanted_epsilon in (epsilons or {}).items():
        found_epsilons = [_epsilon(node) for node in anchors.get(name, []) if node.op_type == "LayerNormalization"]
        problems += [
            f"{name} has the epsilon {found_epsilon:.3g}, expected {wanted_epsilon:.3g}"
            for found_epsilon in found_epsilons
            if abs(found_epsilon / wanted_epsilon - 1) > ROUNDING
        ]
    folded = tuple(name for name in state if name not in stored and name not in absent)
    return ParameterCheck(equal, tuple(elsewhere), folded, tuple(problems))


def _may_be_absent(name: str, value: npt.NDArray[np.float32]) -> bool:
    return any(part in name for part in FOLDED) or (name.endswith(".bias") and not value.any())


def _any_layout(value: npt.NDArray[np.float32]) -> list[Values]:
    """A parameter in all layouts that an operator may need."""
    exact = value.astype(np.float64)
    if value.ndim == 2 or (value.ndim == 4 and value.shape[2:] == (1, 1)):
        return [exact, exact.T if value.ndim == 2 else exact.transpose(1, 0, 2, 3)]
    return [exact]


def _as_used(value: npt.NDArray[np.float32], nodes: list[Any], name: str) -> list[Values]:
    """A parameter in the layouts of the operators that use it, or in the checkpoint's if none is known."""
    exact = value.astype(np.float64)
    if value.ndim == 1:
        return [exact]
    if value.ndim == 4 and value.shape[2:] != (1, 1):
        return [exact]
    # [in, out], the layout for a product from the right.
    linear = exact if value.ndim == 2 else exact[:, :, 0, 0].T
    forms = []
    for node in nodes:
        if node.op_type == "Conv":
            forms.append(linear.T[:, :, None, None])
        elif node.op_type == "Gemm":
            transposed = any(attribute.name == "transB" and attribute.i for attribute in node.attribute)
            forms.append(linear.T if transposed else linear)
        elif name in node.input:
            forms.append(linear if list(node.input).index(name) == 1 else linear.T)
        else:
            # It is used through another operator, such as a Transpose of the constant.
            forms += [linear, linear.T]
    return forms or [exact]


def _listing(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def _epsilon(node: Any) -> float:
    """The epsilon of a LayerNormalization; 1e-5 is the operator's default."""
    return next((float(attribute.f) for attribute in node.attribute if attribute.name == "epsilon"), 1e-5)


def _folded_scale(name: str, architecture: Architecture) -> float:
    """The factor that a parameter may include: 1 / sqrt(width of a head) for the queries of PVTv2, else 1."""
    block, _, rest = name.partition(".attn.")
    if isinstance(architecture, PvtV2Architecture) and rest in ("q.weight", "q.bias"):
        stage = int(block.removeprefix("block").partition(".")[0]) - 1
        return float((architecture.embed_dims[stage] // architecture.num_heads[stage]) ** -0.5)
    return 1.0


def _same(found: Values, wanted: Values) -> bool:
    return _fits(found, wanted) and not _differing(found, wanted).any()


def _fits(found: Values, wanted: Values) -> bool:
    """Whether the shapes agree except for axes of length one, as a bias may be a column."""
    return [size for size in found.shape if size != 1] == [size for size in wanted.shape if size != 1]


def _differing(found: Values, wanted: Values) -> npt.NDArray[np.bool_]:
    flat, expected = found.reshape(-1), wanted.reshape(-1)
    # Negated, so that NaN counts as different.
    return ~(np.abs(flat - expected) <= ROUNDING * np.abs(expected) + np.finfo(np.float32).tiny)


def _difference(name: str, found: Values, wanted: Values, factors: tuple[float, ...]) -> str:
    if not _fits(found, wanted):
        return f"{name} has the shape {list(found.shape)} in the ONNX file, expected {list(wanted.shape)}"
    factor = min(factors, key=lambda factor: int(_differing(found, wanted * factor).sum()))
    expected = (wanted * factor).reshape(found.shape)
    bad = _differing(found, expected)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = (found / expected).reshape(-1)[bad]
        distance = np.abs(found - expected).reshape(-1)
    worst = int(np.where(np.isfinite(distance), distance, np.inf).argmax())
    place = [int(index) for index in np.unravel_index(worst, found.shape)]
    line = (
        f"{name}: {int(bad.sum())} of {bad.size} values differ from the checkpoint's, most at {place}: "
        f"{found.reshape(-1)[worst]:.7g}, expected {expected.reshape(-1)[worst]:.7g}"
    )
    constant = np.isfinite(ratios).all() and bad.sum() > 1 and np.ptp(ratios) <= 1e-4 * np.abs(ratios).max()
    return f"{line}; all of them by a factor of {np.median(ratios):.4g}" if constant else line
