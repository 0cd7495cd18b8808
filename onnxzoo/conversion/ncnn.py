"""ncnn, Tencent's runtime for phones; its converter pnnx is a program."""

from __future__ import annotations

import importlib.util
import os
import sys
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from ..artifact.folder import OUTPUT_NAMES
from ..comparison.tolerances import tolerance_of
from ..precisions import FP16, FP32
from .target import Form, Job, Target

if TYPE_CHECKING:
    from ..results import Array
    from .target import Run

FILES = ("model.ncnn.param", "model.ncnn.bin")
INSTALL = "pip install 'onnxzoo[convert]'"
INPUT, OUTPUTS = "in0", ("out0", "out1")
EXACT = {"use_fp16_packed": False, "use_fp16_storage": False, "use_fp16_arithmetic": False}
"""ncnn's options for fp32."""


def program() -> Path:
    """Where pnnx is; its package cannot be imported without PyTorch, which the program does not need."""
    found = importlib.util.find_spec("pnnx")
    folders = [] if found is None else list(found.submodule_search_locations or ())
    return Path(folders[0] if folders else "", "pnnx.exe" if sys.platform == "win32" else "pnnx")


def command(job: Job) -> list[str]:
    """What converts `model.onnx` in the working directory, into which pnnx also writes its other files."""
    side, folder = job.image_size, job.target_folder
    others = [f"{name}=other.{number}" for number, name in enumerate(("pnnxparam", "pnnxbin", "pnnxpy", "pnnxonnx"))]
    return [
        str(program()), "model.onnx", f"inputshape=[1,3,{side},{side}]f32", f"fp16={int(job.precision == FP16)}",
        "device=cpu", f"ncnnparam={folder / FILES[0]}", f"ncnnbin={folder / FILES[1]}", "ncnnpy=other.py", *others,
    ]  # fmt: skip


def write(job: Job) -> None:
    """Write the graph without Gathers over tokens, and become pnnx, so that what ends this process ends the converter.

    ncnn has no layer that gathers. pnnx writes a Crop to one token in its place, and the layers behind it read beyond
    that (benchmarks/results/convert.md).
    """
    import onnx

    from .window_gathers import rewrite

    model = onnx.load(job.model)
    rewrite(model)
    onnx.save(model, "model.onnx")
    arguments = command(job)
    os.execv(arguments[0], arguments)  # noqa: S606


def open_(job: Job) -> Run:
    """The network on the CPU; it takes one image at a time, without a batch dimension."""
    import ncnn
    import numpy as np

    network = ncnn.Net()
    network.opt.num_threads = job.threads
    network.opt.use_vulkan_compute = False
    # On by default, also on processors that compute in fp32 after it.
    for name in EXACT:
        setattr(network.opt, name, job.precision == FP16)
    network.opt.use_bf16_storage = False
    for load, name in ((network.load_param, FILES[0]), (network.load_model, FILES[1])):
        if load(str(job.target_folder / name)):
            raise RuntimeError(f"ncnn cannot read {name}")

    def run(images: Array) -> dict[str, Array]:
        extractor = network.create_extractor()
        # A Mat of an array borrows its memory.
        extractor.input(INPUT, ncnn.Mat(images[0]).clone())
        found = {}
        for name, blob in zip(OUTPUT_NAMES, OUTPUTS, strict=True):
            code, values = extractor.extract(blob)
            if code:
                raise RuntimeError(f"ncnn returns {code} for {blob}")
            found[name] = np.array(values, np.float32)[None]
        return found

    return run


TARGET = Target(
    name="ncnn",
    title="ncnn",
    # pnnx declares PyTorch (gigabytes), which only its functions for PyTorch's own models need.
    modules={"ncnn": INSTALL, "onnx": INSTALL, "pnnx": "pip install --no-deps pnnx"},
    files=FILES,
    # Measured with ncnn 1.0.20261020 on an AVX512 CPU, both shipped models, pvt_v2_b0 and swinv2_tiny_w8, the largest
    # |difference| / (1 + |value|) and the smallest ratio of signal to noise: fp32 1.7e-6, 115 dB; fp16 2.9e-3, 50.7 dB.
    # With ncnn's defaults, which compute in 16 bits where that is possible, an fp32 file has 7.4e-4.
    forms={FP32: Form(FP32, tolerance_of(FP32), EXACT), FP16: Form(FP32, tolerance_of(FP16))},
    no_form="fp16 stores the weights of the fp32 file in 16 bits; pnnx does not read int8 files",
    batch=1,
    input_name=INPUT,
    output_names=dict(zip(OUTPUT_NAMES, OUTPUTS, strict=True)),
    write=write,
    open=open_,
    version=lambda: f"pnnx {metadata.version('pnnx')}, ncnn {metadata.version('ncnn')}",
    settings_why="by default ncnn computes in 16 bits where the processor can",
)
