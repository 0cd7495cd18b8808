"""Converts constants to a checked ONNX file: runs the converters one after the other, then our clean-up."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from ..errors import ExportError
from ..families import ModelSpec, constants, family_of
from ..families.family import State
from ..temporary import scratch_folder
from .child import run_step

STEPS_PACKAGE = f"{__package__}.steps"

TITLES = (
    "build the static Paddle program",
    "convert with paddle2onnx",
    "simplify with onnxsim",
    "check the graph",
)


def convert(
    spec: ModelSpec, state: State, metadata: Mapping[str, str], target: Path, begin: Callable[[str], object]
) -> int:
    """Write the checked ONNX file `target` for these parameters; returns its operator set version.

    `state`: under PaddleClas's names, float32. `metadata`: for the file's metadata. `begin`: called with each of TITLES
    when its step begins. Raises ExportError with the log of the failed tool.
    """

    def started(number: int) -> str:
        begin(TITLES[number])
        return TITLES[number]

    with scratch_folder("export") as work:
        spec_file, constants_file = work / "spec.json", work / "constants.npz"
        document = {
            "family": family_of(spec.architecture).name,
            "architecture": spec.architecture.to_dict(),
            "image_size": spec.image_size,
            "num_classes": spec.num_classes,
        }
        spec_file.write_text(json.dumps(document), encoding="utf-8")
        np.savez(constants_file, **constants(spec, state))
        program, parameters = work / "model.json", work / "model.pdiparams"
        converted, simplified = work / "converted.onnx", work / "simplified.onnx"
        run_step(f"{STEPS_PACKAGE}.static_program", started(0), [spec_file, constants_file, work], program)
        constants_file.unlink()  # up to 800 MB, which the next steps do not need
        run_step(f"{STEPS_PACKAGE}.paddle_to_onnx", started(1), [program, parameters, converted], converted)
        run_step(f"{STEPS_PACKAGE}.simplify", started(2), [converted, simplified], simplified)
        started(3)
        return _finish(spec, metadata, simplified, target)


def _finish(spec: ModelSpec, metadata: Mapping[str, str], simplified: Path, target: Path) -> int:
    import onnx

    from .check import check_graph
    from .finish import finish
    from .steps import OPSET

    model = onnx.load(simplified)
    try:
        finish(model, metadata)
    except ValueError as error:
        raise ExportError(f"the converted graph does not have the expected form: {error}") from error
    check_graph(model, spec, OPSET)
    onnx.save(model, target)
    return OPSET
