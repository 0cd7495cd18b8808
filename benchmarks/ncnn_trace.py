"""Where ncnn's numbers for a model leave ONNX Runtime's: the first blob that no tensor of the ONNX graph equals.

    python benchmarks/ncnn_trace.py [NAME|DIR]

It needs ncnn and pnnx (see README), onnx and onnxruntime. Every blob of ncnn is compared with all tensors of the ONNX
graph that have as many values, for the first recorded input. Then each Gather over tokens is replaced by a product with
a permutation matrix, which any runtime computes exactly, and the model is converted again: if its outputs are right
now, nothing else was wrong. Prints markdown.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper

from onnxzoo.artifact.folder import INPUT_NAME
from onnxzoo.conversion import ncnn as ncnn_format
from onnxzoo.conversion.child import run_all
from onnxzoo.conversion.ncnn import TARGET
from onnxzoo.conversion.target import Job
from onnxzoo.results import Array
from onnxzoo.source import resolve

EQUAL = 1e-3
SHOWN_AFTER = 6


@dataclass(frozen=True, slots=True)
class Blob:
    """A layer of ncnn and one of its outputs. `nearest`: the tensor of the ONNX graph with the smallest difference."""

    kind: str
    name: str
    shape: tuple[int, ...]
    nearest: str
    difference: float

    @property
    def equal(self) -> bool:
        """Whether the ONNX graph has this tensor."""
        return self.difference <= EQUAL


def onnx_tensors(file: Path, image: Array) -> dict[str, Array]:
    """All float tensors that ONNX Runtime computes for one image, by name."""
    model = onnx.load(file)
    known = {value.name for value in model.graph.output}
    model.graph.output.extend(
        helper.make_empty_tensor_value_info(name)
        for node in model.graph.node
        for name in node.output
        if name not in known
    )
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {INPUT_NAME: image[None]}), strict=True))


def converted(file: Path, folder: Path, image_size: int) -> Job:
    """The ncnn model of an ONNX file, in `folder`."""
    folder.mkdir()
    job = Job(str(file.resolve()), str(folder.resolve()), "fp32", image_size)
    job.write(folder / "job.json")
    # The process becomes pnnx; the memory limit is that of a large model.
    command = [sys.executable, "-P", "-m", "onnxzoo.conversion.child", "convert", "ncnn", "job.json", str(2**36)]
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return job


def blobs(job: Job, image: Array, tensors: dict[str, Array]) -> Iterator[Blob]:
    """The blobs of ncnn in its order, each with the nearest tensor of as many values."""
    import ncnn

    network = ncnn.Net()
    # In this mode blobs keep their memory, and in this layout their order.
    network.opt.lightmode = network.opt.use_packing_layout = False
    for name in ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic", "use_bf16_storage"):
        setattr(network.opt, name, False)
    network.load_param(str(job.target_folder / ncnn_format.FILES[0]))
    network.load_model(str(job.target_folder / ncnn_format.FILES[1]))
    extractor = network.create_extractor()
    extractor.set_light_mode(False)
    extractor.input(ncnn_format.INPUT, ncnn.Mat(image).clone())
    for line in (job.target_folder / ncnn_format.FILES[0]).read_text().splitlines()[2:]:
        kind, name, given, made, *rest = line.split()
        if kind in ("Input", "MemoryData", "Split"):
            continue
        for blob in rest[int(given) : int(given) + int(made)]:
            _, values = extractor.extract(blob)
            yield nearest(kind, name, np.array(values), tensors)


def nearest(kind: str, name: str, values: Array, tensors: dict[str, Array]) -> Blob:
    """This blob with the ONNX tensor that it equals most."""
    flat = values.ravel()
    found = [
        (float(np.abs(flat - tensor.ravel()).max()), key)
        for key, tensor in tensors.items()
        if tensor.size == flat.size and tensor.dtype == np.float32
    ]
    finite = [one for one in found if np.isfinite(one[0])]
    difference, key = min(finite, default=(float("inf"), "none has this size" if not found else "none has NaN"))
    return Blob(kind, name, values.shape, key, difference)


def without_gathers(file: Path, out: Path) -> tuple[int, int]:
    """Replace each Gather over tokens by a product with a permutation matrix; their number, and the matrices' bytes."""
    model = onnx.load(file)
    constants = {one.name: one for one in model.graph.initializer}
    count = size = 0
    for node in model.graph.node:
        axis = next((one.i for one in node.attribute if one.name == "axis"), 0)
        order = constants.get(node.input[1]) if node.op_type == "Gather" else None
        if order is None or axis != 1 or node.input[0] in constants:
            continue
        tokens = numpy_helper.to_array(order)
        matrix = np.eye(int(tokens.max()) + 1, dtype=np.float32)[tokens]
        name = f"{node.name}.matrix"
        model.graph.initializer.append(numpy_helper.from_array(matrix, name))
        node.CopyFrom(helper.make_node("MatMul", [name, node.input[0]], list(node.output), node.name))
        count, size = count + 1, size + matrix.nbytes
    onnx.save(model, out)
    return count, size


def report(model: str, scratch: Path) -> Iterator[str]:
    """The markdown of one model."""
    source = resolve(model)
    file, vectors = source.open().path, source.vectors()
    side, image = source.artifact.image_size, np.ascontiguousarray(vectors.images[0])
    tensors = onnx_tensors(file, image)
    versions = f"{TARGET.version()}, ONNX Runtime {onnxruntime.__version__}"
    yield f"`{source.artifact.name}`, {versions}; input {vectors.names[0]}."
    yield ""
    yield "| ncnn layer | shape | nearest tensor of the ONNX graph | largest difference |"
    yield "|---|---|---|---|"
    after = SHOWN_AFTER
    for blob in blobs(converted(file, scratch / "first", side), image, tensors):
        shape = " x ".join(map(str, blob.shape))
        match = f"`{blob.nearest}` | {blob.difference:.2g}" if np.isfinite(blob.difference) else f"{blob.nearest} | "
        yield f"| {blob.kind} `{blob.name}` | {shape} | {match} |"
        after -= not blob.equal or after < SHOWN_AFTER
        if not after:
            break
    else:
        yield ""
        yield "Every blob is a tensor of the ONNX graph."
        return
    count, size = without_gathers(file, scratch / "matrices.onnx")
    run = TARGET.open(converted(scratch / "matrices.onnx", scratch / "second", side))
    found = run_all(run, vectors.images, 1)
    worst = max(float(np.abs(found[name] - vectors.outputs[name]).max()) for name in found)
    yield ""
    yield (
        f"With {count} Gathers over tokens replaced by products with permutation matrices ({size / 1e6:.2f} MB of "
        f"them), the outputs of ncnn differ from the recorded ones by at most {worst:.2g}."
    )


def trace(model: str) -> list[str]:
    """The lines of `report`."""
    with tempfile.TemporaryDirectory(prefix="onnxzoo-ncnn-") as scratch:
        return list(report(model, Path(scratch)))


def main(model: str = "swinv2_nano_fashion", *_more: Any) -> None:
    """Print."""
    print("\n".join(trace(model)))


if __name__ == "__main__":
    main(*sys.argv[1:])
