"""MNN, Alibaba's runtime for phones.

Its command `mnnconvert` is not used: it installs a package by pip and sends the names and sizes of the models to a
server of Alibaba. The function that converts, in the wheel's module `_tools`, does neither.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import metadata
from typing import TYPE_CHECKING, Any

from ..artifact.folder import INPUT_NAME, OUTPUT_NAMES
from ..comparison.tolerances import Tolerance
from ..precisions import FP16, FP32, INT8
from .target import Form, Job, Target

if TYPE_CHECKING:
    from ..results import Array
    from .target import Run

FILE = "model.mnn"
SETTINGS = {"precision": "high"}
OPTIONS: Mapping[str, list[str]] = {FP32: [], FP16: ["--fp16"], INT8: ["--weightQuantBits", "8"]}

# Measured with MNN 3.6.1 on an AVX512 CPU: the largest |difference| / (1 + |value|) and the smallest ratio of signal to
# noise (`onnxzoo.comparison.figures`) of both outputs, for the recorded inputs.
#
#                                          fp32               fp16               int8
#     pvt_v2_nano_fashion                  9.3e-4  69.5 dB    6.1e-3  51.8 dB    1.4e-2  41.6 dB
#     swinv2_nano_fashion                  9.8e-4  68.0 dB    2.3e-3  55.8 dB    1.8e-2  41.0 dB
#     pvt_v2_b0, untrained weights         2.9e-4  67.8 dB    4.7e-3  44.5 dB    6.5e-2  22.2 dB
#     swinv2_tiny_w8, untrained weights    6.1e-4  64.8 dB    3.8e-3  46.7 dB    7.1e-2  21.4 dB
#
# In fp32 the differences are MNN's approximations of exp, erf and tanh, which its setting `precision` does not change
# on this CPU. The limits leave a factor of 4 and 10 dB, as other processors have other approximations; in int8 6 dB,
# which is still 12 dB above outputs that are wrong.
FORMS: Mapping[str, Form] = {
    FP32: Form(FP32, Tolerance(4e-3, snr_db=55.0), SETTINGS),
    FP16: Form(FP32, Tolerance(2.5e-2, snr_db=35.0), SETTINGS),
    INT8: Form(FP32, Tolerance(0.3, snr_db=15.0), SETTINGS),
}


def write(job: Job) -> None:
    """Convert; `mnnconvert` also returns after errors, which it prints, so the result is judged by its outputs."""
    import _tools

    command = ["MNNConvert", "-f", "ONNX", "--modelFile", job.model, "--MNNModel", str(job.target_folder / FILE)]
    if not _tools.mnnconvert([*command, *OPTIONS[job.precision]]):
        raise RuntimeError("MNN's converter reports a failure")


def open_(job: Job) -> Run:
    """The model on the CPU, in the highest precision that MNN offers."""
    import MNN
    import numpy as np

    settings: dict[str, Any] = {"backend": "CPU", "numThread": job.threads, **SETTINGS}
    manager = MNN.nn.create_runtime_manager((settings,))
    file = str(job.target_folder / FILE)
    module = MNN.nn.load_module_from_file(file, [INPUT_NAME], list(OUTPUT_NAMES), runtime_manager=manager)

    def run(images: Array) -> dict[str, Array]:
        given = MNN.expr.const(images, list(images.shape), MNN.expr.data_format.NCHW)
        # What `read` returns belongs to MNN, which writes the next outputs to it.
        found = [np.array(one.read(), np.float32) for one in module.forward([given])]
        return {name: values.reshape(len(images), -1) for name, values in zip(OUTPUT_NAMES, found, strict=True)}

    return run


INSTALL = "pip install 'onnxzoo[convert]'"

TARGET = Target(
    name="mnn",
    title="MNN",
    modules={"MNN": INSTALL},
    files=(FILE,),
    forms=FORMS,
    no_form="fp16 and int8 store the weights of the fp32 file in 16 and 8 bits",
    batch=None,
    input_name=INPUT_NAME,
    output_names={name: name for name in OUTPUT_NAMES},
    write=write,
    open=open_,
    version=lambda: f"MNN {metadata.version('MNN')}",
    settings_why="by default MNN computes in 16 bits where the processor can",
)
