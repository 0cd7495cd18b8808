"""Packs artifacts with seeded weights into small files, for machines without Paddle and with a slow connection.

    python benchmarks/gpu_pack.py pack NAME ... [--artifacts DIR] [--packs DIR]     export missing ones, and pack
    python benchmarks/gpu_pack.py unpack NAME ... [--artifacts DIR] [--packs DIR]   needs numpy only

A pack is DIR/NAME.zip with the artifact's files, but the ONNX file without its seeded weights. A weight that is the
seeded tensor of its name (`onnxzoo.weights.seeded`), unchanged, transposed or scaled, is removed from the file's bytes
and replaced by a recipe with its computation and its position. Unpacking restores the same bytes, which is checked with
the SHA-256 in the artifact's config.json.
"""

from __future__ import annotations

import argparse
import json
import mmap
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from cold_start import log
from seeded_artifact import SEED, exported

from onnxzoo.artifact.folder import Artifact, is_artifact, read_artifact
from onnxzoo.errors import ArtifactError, OnnxzooError
from onnxzoo.files import atomic_folder, atomic_write
from onnxzoo.registry import find
from onnxzoo.weights.seeded import seeded_state

ARTIFACTS = Path("out/gpu/artifacts")
PACKS = Path("out/gpu/packs")
RECIPE = "recipe.json"
SKELETON = ".skeleton"
# Smaller weights are kept in the file.
SMALLEST_BYTES = 1024


@dataclass(frozen=True)
class Fill:
    """A seeded tensor in the bytes of a file, from `offset` on.

    `shape`: in Paddle. `transposed`: whether the file has its axes in reverse order. `divisor` > 1: the tensor is
    divided by its square root (PVTv2's queries, scaled by the width of a head), in float64.
    """

    offset: int
    name: str
    shape: tuple[int, ...]
    transposed: bool = False
    divisor: int = 1

    def content(self, seed: int) -> bytes:
        """The bytes, float32 little-endian."""
        values: Any = seeded_state({self.name: self.shape}, seed)[self.name]
        if self.divisor > 1:
            values = (values.astype(np.float64) * self.divisor**-0.5).astype(np.float32)
        return np.ascontiguousarray(values.T if self.transposed else values, dtype="<f4").tobytes()


def pack(artifact: Artifact, target: Path, seed: int) -> tuple[int, int]:
    """Write the pack of an artifact with the weights of `seed`; returns the sizes of its ONNX file and of the pack.

    Raises ArtifactError for a damaged artifact, SystemExit if less than half of it is seeded.
    """
    artifact.verify()
    announced = artifact.announced_model("fp32")
    if announced is None:
        raise SystemExit(f"{artifact.folder} has no fp32 model to pack")
    model = artifact.folder / announced.path
    with model.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        fills = list(_fills(model, data, seed))
        cut = sum(4 * int(np.prod(fill.shape)) for fill in fills)
        if 2 * cut < len(data):
            raise SystemExit(
                f"{model}: only {cut} of {len(data)} bytes are seeded weights of seed {seed}; pack what "
                "'gpu_pack.py pack' exported itself"
            )
        recipe = {"seed": seed, "file": announced.path, "fills": [asdict(fill) for fill in fills]}
        with atomic_write(target) as out, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
            archive.writestr(RECIPE, json.dumps(recipe))
            for path in sorted(path for path in artifact.folder.rglob("*") if path.is_file() and path != model):
                archive.write(path, path.relative_to(artifact.folder).as_posix())
            with archive.open(announced.path + SKELETON, "w", force_zip64=True) as skeleton:
                position = 0
                for fill in fills:
                    skeleton.write(data[position : fill.offset])
                    position = fill.offset + 4 * int(np.prod(fill.shape))
                skeleton.write(data[position:])
        return len(data), target.stat().st_size


def unpack(source: Path, folder: Path) -> Artifact:
    """Restore the artifact `folder` from a pack, byte for byte, or raise ArtifactError without leaving files."""
    try:
        with zipfile.ZipFile(source) as archive, atomic_folder(folder) as building:
            recipe = json.loads(archive.read(RECIPE))
            fills = [Fill(**{**fill, "shape": tuple(fill["shape"])}) for fill in recipe["fills"]]
            skeleton = recipe["file"] + SKELETON
            for name in archive.namelist():
                if name not in (RECIPE, skeleton):
                    archive.extract(name, building)
            model = building / recipe["file"]
            model.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(skeleton) as rest, model.open("wb") as out:
                for fill in fills:
                    out.write(rest.read(fill.offset - out.tell()))
                    if out.tell() != fill.offset:
                        raise ArtifactError(f"{source} ends before {fill.name}: pack the model again")
                    out.write(fill.content(recipe["seed"]))
                out.write(rest.read())
            # This also fails if numpy on this machine computes different numbers from the seed.
            read_artifact(building).verify()
    except (OSError, zipfile.BadZipFile, KeyError, TypeError, ValueError) as error:
        if isinstance(error, ArtifactError):
            raise
        raise ArtifactError(f"{source} is not a pack of gpu_pack.py: {error}") from error
    return read_artifact(folder)


def available(name: str, artifacts: Path, packs: Path) -> Artifact:
    """The artifact of a model with seeded weights: an existing one, unpacked from its pack, or exported now.

    Raises SystemExit with advice if Paddle is needed and not installed.
    """
    folder, packed = artifacts / name, packs / f"{name}.zip"
    if not is_artifact(folder) and packed.is_file():
        log(f"{name}: unpacking")
        return unpack(packed, folder)
    try:
        return _exported(name, artifacts)
    except SystemExit as error:
        raise SystemExit(
            f"{name} is neither in {folder} nor in {packed}, and cannot be exported here (where the extra 'export' is "
            f"installed, run 'gpu_pack.py pack {name}', and bring {packed.name}): {error}"
        ) from None


def _exported(name: str, artifacts: Path) -> Artifact:
    """The existing artifact, or a new export."""
    folder = artifacts / name
    return read_artifact(folder if is_artifact(folder) else exported(name, artifacts))


def _fills(model: Path, data: mmap.mmap, seed: int) -> Iterator[Fill]:
    """The seeded tensors of an ONNX file, in the order of their bytes."""
    import onnx

    position = 0
    for tensor in onnx.load(model).graph.initializer:
        raw, shape = tensor.raw_data, tuple(tensor.dims)
        if tensor.data_type != onnx.TensorProto.FLOAT or len(raw) < SMALLEST_BYTES:
            continue
        offset = data.find(raw, position)
        if offset < 0:
            raise SystemExit(f"{model}: the bytes of {tensor.name} are not where protobuf puts them")
        position = offset + len(raw)
        fill = _seeded(tensor.name, shape, raw, offset, seed)
        if fill is not None:
            yield fill


def _seeded(name: str, shape: tuple[int, ...], raw: bytes, offset: int, seed: int) -> Fill | None:
    """The recipe for the bytes from the seeded tensor of this name; None if they are not from it."""
    candidates = [Fill(offset, name, shape)]
    if shape[2:] == (1, 1):
        candidates.append(Fill(offset, name, shape[1::-1], transposed=True))  # a linear layer as a convolution
    first = np.frombuffer(candidates[0].content(seed), "<f4")[0]
    ratio = float(first) / float(np.frombuffer(raw, "<f4")[0] or np.nan)
    if 1 < ratio**2 < 1e6:
        candidates.append(Fill(offset, name, shape, divisor=round(ratio**2)))
    return next((fill for fill in candidates if fill.content(seed) == raw), None)


def main() -> int:
    """Pack or unpack the named models."""
    parser = argparse.ArgumentParser(description="Artifacts with seeded weights as small files.")
    parser.add_argument("action", choices=("pack", "unpack"))
    parser.add_argument("models", nargs="+", metavar="NAME")
    parser.add_argument("--artifacts", type=Path, default=ARTIFACTS, metavar="DIR", help=f"default {ARTIFACTS}")
    parser.add_argument("--packs", type=Path, default=PACKS, metavar="DIR", help=f"default {PACKS}")
    options = parser.parse_args()
    try:
        for name in [find(name).name for name in options.models]:
            packed, folder = options.packs / f"{name}.zip", options.artifacts / name
            if options.action == "pack":
                sizes = pack(_exported(name, options.artifacts), packed, SEED)
                print(f"{name}: {sizes[0] / 1e6:.1f} MB -> {sizes[1] / 1e6:.2f} MB")
            else:
                unpack(packed, folder)
                print(f"{name}: whole, its files are those of config.json")
    except OnnxzooError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
