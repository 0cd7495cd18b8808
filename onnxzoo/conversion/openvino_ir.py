"""OpenVINO's intermediate representation: a graph in XML and its weights."""

from __future__ import annotations

from importlib import metadata
from typing import TYPE_CHECKING, Any

from ..artifact.folder import INPUT_NAME, OUTPUT_NAMES
from ..comparison.tolerances import tolerance_of
from ..precisions import FP16, FP32, INT8
from .target import Form, Job, Target

if TYPE_CHECKING:
    from ..results import Array
    from .target import Run

NAME = "openvino"
FILES = ("model.xml", "model.bin")
SETTINGS = {"INFERENCE_PRECISION_HINT": "f32"}


def write(job: Job) -> None:
    """Save the graph; in fp16 the weights are stored in 16 bits, and computed with in whatever the device does."""
    library = _library()
    model = library.Core().read_model(job.model)
    library.save_model(model, job.target_folder / FILES[0], compress_to_fp16=job.precision == FP16)


def open_(job: Job) -> Run:
    """The model, compiled for the CPU, in fp32 arithmetic as the recorded outputs."""
    settings: dict[str, Any] = {**SETTINGS, "INFERENCE_NUM_THREADS": job.threads}
    model = _library().Core().compile_model(job.target_folder / FILES[0], "CPU", settings)

    def run(images: Array) -> dict[str, Array]:
        found = model({INPUT_NAME: images})
        return {name: found[name] for name in OUTPUT_NAMES}

    return run


def _library() -> Any:
    from ..engines.openvino_module import import_openvino  # the engines' package loads numpy

    return import_openvino()


TARGET = Target(
    name="openvino-ir",
    title="OpenVINO IR",
    modules={NAME: f"pip install {NAME}"},
    files=FILES,
    forms={
        FP32: Form(FP32, tolerance_of(FP32), SETTINGS),
        FP16: Form(FP32, tolerance_of(FP16), SETTINGS),
        INT8: Form(INT8, tolerance_of(INT8), SETTINGS),
    },
    no_form="fp16 is made from the fp32 file, int8 from the artifact's int8 file",
    batch=None,
    input_name=INPUT_NAME,
    output_names={name: name for name in OUTPUT_NAMES},
    write=write,
    open=open_,
    version=lambda: f"{NAME} {metadata.version(NAME)}",
    settings_why="by default OpenVINO computes in bf16 on CPUs that have it, and in fp16 on GPUs",
)
