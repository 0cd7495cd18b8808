"""What the fuzzer feeds: for each format, whole files to begin with, the mutators that know it, and who reads it.

A reader goes through the door that users go through, takes the result as far as they would, and raises what they
would see. Formats whose readers need an extra that is not here are left out.
"""

from __future__ import annotations

import functools
import gzip
import io
import json
import pickle
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from fuzz_mutators import (
    BLIND,
    Mutator,
    mutate_json,
    mutate_lines,
    mutate_npz,
    mutate_pickle,
    mutate_png,
    mutate_safetensors,
)
from fuzz_onnx import mutate_graph, mutate_protobuf

from onnxzoo.artifact.folder import CONFIG_FILE, CONFORMANCE_FILE, MODEL_FILES, read_artifact
from onnxzoo.files import sha256_of
from onnxzoo.hub import SHIPPED_DIR
from onnxzoo.registry import ModelEntry, Preprocess, find

SHIPPED = SHIPPED_DIR / "pvt_v2_nano_fashion"
SPEC = Preprocess(36, 32, "bicubic", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
READ = "read"


@dataclass(frozen=True, slots=True)
class Format:
    """A kind of file. `share`: of a hundred mutants; `wholes`: good files; `known`: mutators that know the format.

    `reader(folder)` is called once a process with an empty folder and gives the function that reads a mutant.
    """

    share: int
    wholes: Callable[[], Sequence[bytes]]
    known: tuple[Mutator, ...]
    reader: Callable[[Path], Callable[[bytes], None]]
    needs: tuple[str, ...] = ()

    @property
    def here(self) -> bool:
        """Whether what its reader needs is installed."""
        return all(find_spec(name) is not None for name in self.needs)


# Images

EXIF = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
"""That the picture lies on its side."""
IMAGES: Sequence[tuple[str, str, dict[str, Any]]] = (
    ("PNG", "RGB", {}),
    ("PNG", "P", {"transparency": 3}),
    ("PNG", "LA", {}),
    ("PNG", "I;16", {}),
    ("PNG", "1", {}),
    ("JPEG", "RGB", {}),
    (
        "JPEG",
        "RGB",
        {"progressive": True, "exif": EXIF},
    ),
    ("JPEG", "CMYK", {}),
    ("JPEG", "L", {}),
    ("GIF", "P", {}),
    ("WEBP", "RGB", {}),
    ("WEBP", "RGBA", {"lossless": True}),
    ("BMP", "RGB", {}),
    ("BMP", "P", {}),
    ("TIFF", "RGB", {}),
    ("TIFF", "RGB", {"compression": "tiff_lzw"}),
    ("TIFF", "L", {"compression": "tiff_adobe_deflate"}),
    ("TIFF", "I;16", {}),
    ("TIFF", "F", {}),
    ("ICO", "RGBA", {}),
    ("PPM", "RGB", {}),
    ("TGA", "RGB", {"compression": "tga_rle"}),
    ("JPEG2000", "RGB", {}),
    ("AVIF", "RGB", {}),
    ("PCX", "P", {}),
    ("SGI", "RGB", {}),
    ("DDS", "RGBA", {}),
    ("ICNS", "RGBA", {}),
    ("EPS", "RGB", {}),
    ("XBM", "1", {}),
)


@functools.cache
def images() -> Sequence[bytes]:
    """Small pictures in the formats that Pillow writes here."""
    from PIL import Image

    rows, columns = np.mgrid[0:40, 0:48]
    photo = Image.fromarray(np.stack([rows * 6, columns * 5, (rows * columns) % 256], axis=2).astype(np.uint8))
    found = []
    for kind, mode, options in IMAGES:
        image = Image.fromarray(rows.astype(np.uint16) * 1600) if mode == "I;16" else photo.convert(mode)
        stream = io.BytesIO()
        try:
            image.save(stream, kind, **options)
        except (OSError, ValueError, KeyError):
            continue  # this Pillow was built without it
        found.append(stream.getvalue())
    stream = io.BytesIO()
    photo.save(stream, "GIF", save_all=True, append_images=[photo.rotate(90)] * 3)
    return [*found, stream.getvalue()]


def mutate_image(data: bytes, random: Any) -> bytes:
    return mutate_png(data, random) if data.startswith(b"\x89PNG") else random.choice(BLIND)(data, random)


def image_reader(_folder: Path) -> Callable[[bytes], None]:
    from onnxzoo.image import preprocess

    def read(data: bytes) -> None:
        values = preprocess(data, SPEC)
        _require(values.shape == (3, 32, 32) and bool(np.isfinite(values).all()), "an image became other numbers")

    return read


# Archives and lists of images


def zips() -> Sequence[bytes]:
    import zipfile

    found = []
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2):
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w", method) as archive:
            for number, image in enumerate(images()[:4]):
                archive.writestr(zipfile.ZipInfo(f"{number}.png"), image, method)
            archive.writestr(zipfile.ZipInfo("0.json"), "{}")
        found.append(stream.getvalue())
    return found


def tars() -> Sequence[bytes]:
    import tarfile

    found = []
    for layout in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT):
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w:", format=layout) as archive:
            for number, image in enumerate(images()[:4]):
                info = tarfile.TarInfo(f"{'folder/' * 10 * number}{number}.png")
                info.size, info.mtime = len(image), 1.5 if layout == tarfile.PAX_FORMAT else 1
                archive.addfile(info, io.BytesIO(image))
        found.append(stream.getvalue())
    return found


def compressed_tars() -> Sequence[bytes]:
    return [gzip.compress(tar, mtime=0) for tar in tars()]


def lists() -> Sequence[bytes]:
    return [b'id,path\n1,a.png\n2,"b c.png"\n', b"path;label\r\na.png;1\r\n", "path\nä.png\n".encode("utf-16")]


def source_reader(name: str) -> Callable[[Path], Callable[[bytes], None]]:
    """A source is listed twice with the same names, whatever it holds, and each of its images is read."""

    def reader(folder: Path) -> Callable[[bytes], None]:
        from onnxzoo.batch.sources import open_source
        from onnxzoo.errors import ImageError
        from onnxzoo.image import preprocess

        file = folder / name
        for image in ("a.png", "b c.png", "ä.png"):  # of the lists
            (folder / image).write_bytes(images()[0])

        def read(data: bytes) -> None:
            file.write_bytes(data)
            source = open_source([str(file)])
            entries = list(source)
            _require(
                [entry.path for entry in source] == [entry.path for entry in entries], "other names the second time"
            )
            _require(len({entry.path for entry in entries}) == len(entries), "a name occurs twice")
            json.dumps(source.identity())
            errors = []
            for entry in entries:
                try:
                    if isinstance(entry.image, ImageError):
                        raise entry.image
                    preprocess(entry.image, SPEC)
                except ImageError as error:
                    errors.append(error)
            if errors:
                raise errors[0]

        return read

    return reader


# Checkpoints


@functools.cache
def weights() -> dict[str, np.ndarray]:
    """Some parameters under PaddleClas's names, a hundred values each."""
    random = np.random.default_rng(0)
    shapes = {
        "patch_embed1.proj.weight": (4, 3, 7, 7),
        "patch_embed1.proj.bias": (4,),
        "block1.0.attn.q.weight": (4, 8),
        "block1.0.attn.q.bias": (8,),
        "head.weight": (16, 10),
        "head.bias": (10,),
    }
    return {name: random.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


def pickles() -> Sequence[bytes]:
    state = weights()
    table = {"StructuredToParameterName@@": {name: f"p_{i}" for i, name in enumerate(state)}}
    found = [pickle.dumps({**state, **table}, protocol) for protocol in (2, 3, 4, 5)]
    found.append(pickle.dumps({"state_dict": state, "epoch": 3, "best": 0.7}, 4))
    found.append(pickle.dumps({"model": state, "best_acc": np.float64(0.7)}, 4))
    return [*found, pickle.dumps({name: value.astype(np.float16) for name, value in state.items()}, 2)]


def safetensors_files() -> Sequence[bytes]:
    found = []
    for kind in ("F32", "F16", "BF16"):
        header, data = {}, b""
        for name, value in weights().items():
            upper_half = (value.view(np.uint32) >> 16).astype(np.uint16)
            held = {"F32": value, "F16": value.astype(np.float16), "BF16": upper_half}[kind].tobytes()
            offsets = [len(data), len(data) + len(held)]
            header[name] = {"dtype": kind, "shape": list(value.shape), "data_offsets": offsets}
            data += held
        text = json.dumps({"__metadata__": {"format": "pt"}, **header}).encode()
        found.append(len(text).to_bytes(8, "little") + text + data)
    return found


def checkpoint_reader(name: str) -> Callable[[Path], Callable[[bytes], None]]:
    def reader(folder: Path) -> Callable[[bytes], None]:
        from onnxzoo.weights.checkpoint import read_checkpoint

        entry: ModelEntry = find("pvt_v2_nano_fashion")
        file = folder / name

        def read(data: bytes) -> None:
            file.write_bytes(data)
            found = read_checkpoint(file, entry)
            _require(all(np.isfinite(value).all() for value in found.state.values()), "weights are no numbers")

        return read

    return reader


# Artifacts


def configs() -> Sequence[bytes]:
    from recorded import evaluation, validation

    config = json.loads((SHIPPED / CONFIG_FILE).read_bytes())
    records = {"validations": [validation(SHIPPED)] * 2, "evaluations": [evaluation(SHIPPED)]}
    return [json.dumps(config).encode(), json.dumps(config | records).encode()]


def config_reader(folder: Path) -> Callable[[bytes], None]:
    from onnxzoo.hub.card import model_card

    shutil.copytree(SHIPPED, folder, dirs_exist_ok=True, copy_function=shutil.copyfile)

    def read(data: bytes) -> None:
        (folder / CONFIG_FILE).write_bytes(data)
        artifact = read_artifact(folder)
        _require(artifact.num_classes > 0 and artifact.image_size > 0, "a model without classes or pixels")
        model_card(artifact).encode("utf-8")
        artifact.verify()

    return read


def vectors() -> Sequence[bytes]:
    return [(SHIPPED / CONFORMANCE_FILE).read_bytes()]


def vectors_reader(folder: Path) -> Callable[[bytes], None]:
    from onnxzoo.artifact.vectors import read_vectors

    place = _Announced(folder, SHIPPED)

    def read(data: bytes) -> None:
        place.put(CONFORMANCE_FILE, data)
        read_vectors(read_artifact(folder))

    return read


def graphs() -> Sequence[bytes]:
    from tiny import tiny_attention, tiny_graph

    return [graph.SerializeToString() for graph in (tiny_graph(), tiny_attention(), tiny_graph(batch=1))]


def graph_reader(engine: str) -> Callable[[Path], Callable[[bytes], None]]:
    def reader(folder: Path) -> Callable[[bytes], None]:
        from tiny import write_artifact

        from onnxzoo.loading import load

        place = _Announced(folder, write_artifact(folder / "whole"))
        image = np.zeros((40, 48, 3), np.uint8)

        def read(data: bytes) -> None:
            place.put(MODEL_FILES["fp32"], data)
            with load(folder, engine=engine, threads=1) as model:
                model.predict([image] * 3)
                model.embed(image)

        return read

    return reader


ONNX_MUTATORS = (mutate_protobuf, mutate_graph, mutate_graph)


class _Announced:
    """An artifact folder of which one file changes, and config.json with it: the hash is that of the mutant."""

    def __init__(self, folder: Path, whole: Path) -> None:
        self.folder = folder
        shutil.copytree(whole, folder, dirs_exist_ok=True, copy_function=shutil.copyfile)
        self.config = json.loads((folder / CONFIG_FILE).read_bytes())

    def put(self, name: str, data: bytes) -> None:
        file = self.folder / name
        file.write_bytes(data)
        self.config["files"][name] |= {"sha256": sha256_of(file), "bytes": len(data)}
        (self.folder / CONFIG_FILE).write_text(json.dumps(self.config), encoding="utf-8")


# Labels

LABELS = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")


def label_files() -> Sequence[bytes]:
    plain = "\n".join(LABELS)
    numbered = "\n".join(f"{i} {label}" for i, label in enumerate(LABELS))
    return [plain.encode(), numbered.encode(), numbered.replace(" ", "\t", 10).encode()]


def labels_reader(folder: Path) -> Callable[[bytes], None]:
    from toy_training import separable, write_idx

    from onnxzoo.data.layouts import open_dataset

    write_idx(folder, "val", *separable(20, 10, 0))

    def read(data: bytes) -> None:
        (folder / "labels.txt").write_bytes(data)
        classes = open_dataset(folder, "val").classes
        _require(len(classes) >= 10 and all(isinstance(name, str) for name in classes), "classes without names")

    return read


# What a Hub says


def hub_answers() -> Sequence[bytes]:
    """Nothing is mutated before it is asked for: what the bytes decide is the seed of what the Hub changes then."""
    return [bytes(range(16))]


def hub_reader(folder: Path) -> Callable[[bytes], None]:
    """`onnxzoo info --hub`, a download and a dry run of publishing, with every JSON answer of the Hub mutated."""
    from random import Random

    from found import find_artifact
    from hub_server import Handler, LoopbackHub
    from huggingface_hub import constants, file_download, hf_api
    from huggingface_hub.utils import _detect_agent, _http, disable_progress_bars

    from onnxzoo.errors import OnnxzooError
    from onnxzoo.hub import client, names
    from onnxzoo.hub.listing import published
    from onnxzoo.hub.publish import publish

    hub = LoopbackHub()
    repo = f"someone/{SHIPPED.name}"
    hub.store.add_repo(repo, SHIPPED)
    template = f"{hub.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    constants.HUGGINGFACE_CO_URL_TEMPLATE, constants.ENDPOINT, hf_api.api.endpoint = template, hub.url, hub.url
    constants.HF_HUB_DISABLE_XET, constants.HF_HUB_OFFLINE = True, False
    disable_progress_bars()
    for waiting in (client, _http, file_download):
        waiting.time = _Hasty()
    send, state = Handler.send_json, {"random": Random(0), "share": 0.0}

    def mutated(handler: Any, document: Any, status: int = 200, headers: Any = None) -> None:
        if state["random"].random() >= state["share"]:
            return send(handler, document, status, headers)
        body = mutate_json(json.dumps(document).encode(), state["random"])
        return handler.send_body(body, {"Content-Type": "application/json", **(headers or {})}, status)

    Handler.send_json = mutated

    def read(data: bytes) -> None:
        state["random"] = Random(data)
        state["share"] = state["random"].choice((0.2, 0.5))  # the more answers are sound, the farther it gets
        constants.HF_HUB_CACHE = str(folder / "cache")
        shutil.rmtree(folder / "cache", ignore_errors=True)
        # The client asks for this once a day and once a process.
        Path(constants.AGENT_HARNESSES_PATH).unlink(missing_ok=True)
        _detect_agent._registry = None
        name = names.parse(repo)
        assert name is not None
        steps: tuple[Callable[[], Any], ...] = (
            lambda: repr(published(name)),
            lambda: read_artifact(find_artifact(repo)),
            lambda: publish(SHIPPED, repo, revision="main", dry_run=True, allow_unvalidated=True),
        )
        errors = []
        for step in steps:
            try:
                step()
            except OnnxzooError as error:
                errors.append(error)
        if errors:
            raise max(errors, key=lambda error: len(str(error)))

    return read


class _Hasty:
    """The clock, without waiting."""

    def __getattr__(self, name: str) -> Any:
        import time

        return (lambda _seconds: None) if name == "sleep" else getattr(time, name)


def _require(condition: bool, fault: str) -> None:
    """A mutant that is read as if it were good, and is not."""
    if not condition:
        raise AssertionError(fault)


FORMATS: dict[str, Format] = {
    "image": Format(23, images, (mutate_image,), image_reader),
    "zip": Format(3, zips, (), source_reader("x.zip")),
    "tar": Format(3, tars, (), source_reader("x.tar")),
    "tar.gz": Format(1, compressed_tars, (), source_reader("x.tar.gz")),
    "csv": Format(1, lists, (mutate_lines,), source_reader("x.csv")),
    "pdparams": Format(15, pickles, (mutate_pickle, mutate_pickle), checkpoint_reader("w.pdparams")),
    "safetensors": Format(
        12,
        safetensors_files,
        (mutate_safetensors, mutate_safetensors),
        checkpoint_reader("w.safetensors"),
        ("safetensors",),
    ),
    "config": Format(14, configs, (mutate_json, mutate_json, mutate_json), config_reader),
    "npz": Format(12, vectors, (mutate_npz, mutate_npz, mutate_npz), vectors_reader),
    "onnx-openvino": Format(4, graphs, ONNX_MUTATORS, graph_reader("openvino"), ("onnx",)),
    "onnx-onnxruntime": Format(7, graphs, ONNX_MUTATORS, graph_reader("onnxruntime"), ("onnx", "onnxruntime")),
    "labels": Format(3, label_files, (mutate_lines,) * 3, labels_reader),
    "hub": Format(2, hub_answers, (), hub_reader),
}
assert sum(one.share for one in FORMATS.values()) == 100
