"""The ORT format: ONNX Runtime's own, also for its mobile builds, which read no ONNX files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..artifact.folder import INPUT_NAME, OUTPUT_NAMES
from ..comparison.tolerances import tolerance_of
from ..packages import ONNXRUNTIME_PACKAGES, installed_versions
from ..precisions import FP16, FP32, INT8
from .target import Form, Job, Target

if TYPE_CHECKING:
    from ..results import Array
    from .target import Run

FILE = "model.ort"
INSTALL = "pip install 'onnxzoo[cpu]'"
PROVIDERS = ["CPUExecutionProvider"]


def write(job: Job) -> None:
    """Optimise the graph and save it.

    Level `extended`: its fused operators exist on every processor. The next level would choose the memory layouts of
    this machine's.
    """
    library, options = _library_and_options(job)
    options.graph_optimization_level = library.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(job.target_folder / FILE)
    options.add_session_config_entry("session.save_model_format", "ORT")
    library.InferenceSession(job.model, options, providers=PROVIDERS)


def open_(job: Job) -> Run:
    """A session on the CPU."""
    library, options = _library_and_options(job)
    session = library.InferenceSession(str(job.target_folder / FILE), options, providers=PROVIDERS)

    def run(images: Array) -> dict[str, Array]:
        return dict(zip(OUTPUT_NAMES, session.run(list(OUTPUT_NAMES), {INPUT_NAME: images}), strict=True))

    return run


def version() -> str:
    """Its package and version."""
    return " and ".join(f"{name} {number}" for name, number in installed_versions(ONNXRUNTIME_PACKAGES).items())


def _library_and_options(job: Job) -> tuple[Any, Any]:
    from ..engines.onnxruntime_library import import_onnxruntime, session_options
    from ..engines.options import EngineOptions

    library = import_onnxruntime(INSTALL)
    return library, session_options(library, EngineOptions(threads=job.threads))


TARGET = Target(
    name="ort",
    title="ONNX Runtime's ORT format",
    modules={"onnxruntime": INSTALL},
    files=(FILE,),
    # The file holds the graph that ONNX Runtime makes of the ONNX file in memory: measured, the outputs are the same.
    forms={one: Form(one, tolerance_of(one)) for one in (FP32, FP16, INT8)},
    no_form="it holds the graph of an ONNX file of the artifact in that file's precision",
    batch=None,
    input_name=INPUT_NAME,
    output_names={name: name for name in OUTPUT_NAMES},
    write=write,
    open=open_,
    version=version,
)
