"""The command `zoo-predict`: Python's answers, and its refusals of wrong usage and damaged artifacts."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import run
from cpp_client import SOURCE, CppClient
from pictures import encoded, photo
from tiny import LABELS, SIZE, tiny_graph, write_artifact

import onnxzoo
import onnxzoo.data
from onnxzoo.artifact.folder import read_artifact
from onnxzoo.image import preprocess_batch
from onnxzoo.strict_json import parse_json

pytestmark = pytest.mark.slow

PHOTOS = sorted((Path(onnxzoo.data.__file__).parent / "photos").glob("*.jpg"))
SHIPPED = sorted(folder for folder in (Path(onnxzoo.__file__).parent / "shipped").iterdir() if folder.is_dir())


def require_engine(cpp: CppClient, engine: str) -> None:
    if engine not in cpp.engines:
        pytest.skip("no headers of ONNX Runtime: set ONNXRUNTIME_ROOT to a folder with its include/ and lib/")


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
@pytest.mark.parametrize("artifact", SHIPPED, ids=lambda folder: folder.name)
def test_the_answers_are_pythons(cpp: CppClient, artifact: Path, engine: str) -> None:
    require_engine(cpp, engine)
    done = cpp.run("predict", "--json", "--logits", "--top-k", "3", "--engine", engine, artifact, *PHOTOS)
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert found["model"] == artifact.name
    assert (found["engine"]["name"], found["engine"]["precision"]) == (engine, "fp32")
    with onnxzoo.load(str(artifact), engine=engine) as model:
        predictions = model.predict(PHOTOS, top_k=3)
        logits = model.logits(preprocess_batch(PHOTOS, read_artifact(artifact).preprocess))
    got = np.array([result["logits"] for result in found["results"]])
    np.testing.assert_allclose(got, logits, rtol=1e-5, atol=1e-5)
    for path, result, prediction in zip(PHOTOS, found["results"], predictions, strict=True):
        assert result["image"] == str(path)
        assert [(one["class_id"], one["label"]) for one in result["top"]] == [
            (one.class_id, one.label) for one in prediction.top
        ]
        np.testing.assert_allclose(
            [one["score"] for one in result["top"]], [one.score for one in prediction.top], atol=1e-5
        )


def test_text_for_people_looks_as_in_python(cpp: CppClient, tiny: Path) -> None:
    done = cpp.run("predict", tiny, PHOTOS[0], "--top-k", "2")
    expected = run("predict", tiny, PHOTOS[0], "--top-k", "2")
    assert (done.returncode, done.stdout) == (0, expected.stdout)


def test_an_unreadable_image_is_reported_the_others_are_classified(cpp: CppClient, tiny: Path, tmp_path: Path) -> None:
    bad = tmp_path / "two\nlines.jpg"
    bad.write_bytes(b"no image")
    done = cpp.run("predict", "--json", tiny, PHOTOS[0], bad, PHOTOS[1])
    assert done.returncode == 1
    assert done.stderr.startswith("zoo-predict: error: ")
    assert done.stderr.count("\n") == 1
    results = parse_json(done.stdout.encode())["results"]
    assert [sorted(result) for result in results] == [["image", "top"], ["error", "image"], ["image", "top"]]
    assert results[1]["image"] == str(bad)


def test_names_that_are_not_unicode_or_look_like_options(cpp: CppClient, tiny: Path, tmp_path: Path) -> None:
    strange = tmp_path / "caf\udce9 \x1b[31m.png"
    strange.write_bytes(encoded(photo()))
    done = cpp.run("predict", tiny, strange)
    assert done.returncode == 0
    assert "\x1b" not in done.stdout
    assert parse_json(cpp.run("predict", "--json", tiny, strange).stdout.encode())
    assert "--x.jpg does not exist" in cpp.run("predict", tiny, "--", "--x.jpg").stderr


def test_wrong_usage(cpp: CppClient, tiny: Path) -> None:
    image = PHOTOS[0]
    for arguments, reason in {
        (): "expected an artifact's folder and at least one image",
        (tiny,): "expected an artifact's folder and at least one image",
        (tiny, image, "--top-k", "0"): "--top-k must be a whole number from 1",
        (tiny, image, "--top-k=-1"): "--top-k must be a whole number from 1",
        (tiny, image, "--top-k", "99999999999999999999"): "--top-k must be a whole number from 1",
        (tiny, image, "--top-k"): "--top-k needs a value",
        (tiny, image, "--json=1"): "takes a value",
        (tiny, image, "--fast"): "there is no option --fast",
        (tiny, image, "--logits"): "--logits needs --json",
        (tiny, image, "--engine", "paddle"): "--engine must be openvino or onnxruntime, got 'paddle'",
        (tiny, image, "--max-pixels", "many"): "--max-pixels must be a whole number from 1",
    }.items():
        done = cpp.run("predict", *arguments)
        assert (done.returncode, done.stdout) == (2, ""), arguments
        assert reason in done.stderr
    assert cpp.run("predict", "--help").stdout.startswith("usage: zoo-predict")
    wrong = cpp.run("predict", tiny, image, ONNXZOO_MAX_PIXELS="x")
    assert (wrong.returncode, "ONNXZOO_MAX_PIXELS must be" in wrong.stderr) == (2, True)


def test_the_limit_of_pixels(cpp: CppClient, tiny: Path) -> None:
    for done in (
        cpp.run("predict", "--max-pixels", "1000", tiny, PHOTOS[0]),
        cpp.run("predict", tiny, PHOTOS[0], ONNXZOO_MAX_PIXELS="1000"),
    ):
        assert done.returncode == 1
        assert "is too large: " in done.stderr
        assert "the limit is 1000 in all" in done.stderr


def test_an_engine_that_was_not_built_in_is_missing(cpp: CppClient, tiny: Path) -> None:
    if "onnxruntime" in cpp.engines:
        pytest.skip("both engines were built in")
    done = cpp.run("predict", tiny, PHOTOS[0], "--engine", "onnxruntime")
    assert done.returncode == 3
    assert "the engine onnxruntime was not built in; built in: openvino" in done.stderr


# Artifacts


def config_changed(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        path = folder / "config.json"
        config = json.loads(path.read_text(encoding="utf-8"))
        change(config)
        path.write_text(json.dumps(config), encoding="utf-8")

    return apply


def changed(**values: object) -> Callable[[Path], None]:
    """Values of the document; those of objects in it are given as `preprocess__std`."""

    def change(config: dict[str, Any]) -> None:
        for key, value in values.items():
            *path, last = key.split("__")
            inner = config
            for part in path:
                inner = inner[part]
            if value is None:
                del inner[last]
            else:
                inner[last] = value

    return config_changed(change)


def text(data: bytes) -> Callable[[Path], None]:
    return lambda folder: (folder / "config.json").write_bytes(data) and None


def file_moved(path: str) -> Callable[[Path], None]:
    return config_changed(lambda config: config["files"].update({path: config["files"].pop("onnx/model.onnx")}))


def appended(folder: Path) -> None:
    with (folder / "onnx" / "model.onnx").open("ab") as file:
        file.write(b"\0")


def flipped(folder: Path) -> None:
    path = folder / "onnx" / "model.onnx"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def relabelled(folder: Path, **labels: str) -> None:
    changed(id2label=labels)(folder)


DAMAGED: dict[str, tuple[Callable[[Path], object], str]] = {
    "no config.json": (lambda folder: (folder / "config.json").unlink(), "is not an artifact: it has no config.json"),
    "model missing": (lambda folder: (folder / "onnx" / "model.onnx").unlink(), "is missing, though config.json"),
    "model longer": (appended, "bytes, expected"),
    "model altered": (flipped, "was altered: its sha256 is"),
    "newer schema": (changed(schema_version=2), "has schema version 2"),
    "schema as text": (changed(schema_version="1"), "schema_version must be 1"),
    "no schema": (changed(schema_version=None), "has no schema_version"),
    "a list": (text(b"[]"), "has no schema_version"),
    "empty": (text(b" "), "cannot be read"),
    "cut": (text(b'{"schema_version": 1'), "cannot be read"),
    "not UTF-8": (text(b'{"\xff": 1}'), "byte 2 is not UTF-8"),
    "NaN": (text(b'{"schema_version": NaN}'), "cannot be read"),
    "a key twice": (text(b'{"schema_version": 1, "schema_version": 1}'), "occurs twice"),
    "nested deeply": (text(b"[" * 200_000), "nested more than 100 deep"),
    "half a surrogate pair": (text(b'{"schema_version": "\\ud800"}'), "surrogate"),
    "huge number": (text(b'{"schema_version": 1e999}'), "too large for a float64"),
    "many digits": (text(b'{"schema_version": ' + b"1" * 50 + b"}"), "50 digits"),
    "too large": (text(b" " * (2 * 2**20 + 1)), "has more than 2097152 bytes"),
    "no name": (changed(name=""), "name must be text of 1 to 1000 characters"),
    "std of 0": (changed(preprocess__std=[0.1, 0, 0.1]), "std must have 3 positive values"),
    "two means": (changed(preprocess__mean=[0.1, 0.2]), "mean must"),
    "mean as text": (changed(preprocess__mean=["a", "b", "c"]), "mean must be 3 numbers"),
    "crop above resize": (changed(preprocess__crop_size=37), "crop_size must be"),
    "resize too large": (changed(preprocess__resize_size=20000), "resize_size must be"),
    "true for a number": (changed(image_size=True), "image_size must be"),
    "float for a number": (changed(image_size=32.0), "image_size must be"),
    "another image size": (changed(image_size=64), "image_size must equal crop_size 32"),
    "filter": (changed(preprocess__interpolation="area"), "interpolation must be"),
    "no preprocessing": (changed(preprocess=None), "'preprocess' is missing"),
    "labels with a gap": (changed(id2label={"0": "a", "2": "b"}), "id2label must have the keys 0, 1, 2, ..."),
    "labels with zeros": (changed(id2label={"00": "a"}), "id2label must have the keys 0, 1, 2, ..."),
    "no labels": (changed(id2label={}), "id2label must have the keys 0, 1, 2, ..."),
    "label as number": (changed(id2label={"0": 1}), "must be text of 0 to 1000 characters"),
    "count of classes": (changed(num_classes=5), "num_classes must be 4"),
    "path outside": (file_moved("../model.onnx"), "leads outside the artifact's folder"),
    "absolute path": (file_moved("/model.onnx"), "leads outside the artifact's folder"),
    "path of Windows": (file_moved("..\\model.onnx"), "leads outside the artifact's folder"),
    "not ONNX": (file_moved("onnx/model.txt"), "must be an ONNX file, named *.onnx"),
    "hash": (changed(files={"onnx/model.onnx": {"sha256": "xyz", "bytes": 5, "precision": "fp32"}}), "64 lower-case"),
    "one label too many": (
        lambda folder: relabelled(folder, **{str(number): "x" for number in range(len(LABELS) + 1)}),
        f"{len(LABELS)}",
    ),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGED)
def test_damaged_artifacts_are_refused_as_in_python(cpp: CppClient, damage: str, tiny: Path) -> None:
    apply, reason = DAMAGED[damage]
    apply(tiny)
    done, expected = cpp.run("predict", tiny, PHOTOS[0]), run("predict", tiny, PHOTOS[0])
    assert (done.returncode, done.stdout) == (1, "")
    assert reason in done.stderr
    assert done.stderr.startswith("zoo-predict: error: ")
    assert done.stderr.count("\n") == 1
    assert expected.exit_code == done.returncode, expected.stderr


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_files_that_are_no_model_are_refused(cpp: CppClient, engine: str, tmp_path: Path) -> None:
    require_engine(cpp, engine)
    other = tiny_graph(input_name="image")
    external = tiny_graph()
    external.graph.initializer[0].data_location = 1
    external.graph.initializer[0].external_data.add(key="location", value="../../secret")
    square = tiny_graph()
    square.graph.input[0].type.tensor_type.shape.dim[3].dim_value = SIZE + 4
    for number, model in enumerate((other, external, square)):
        folder = write_artifact(tmp_path / str(number), model=model)
        done = cpp.run("predict", "--engine", engine, folder, PHOTOS[0])
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.count("\n") == 1


def test_a_folder_that_does_not_exist_is_missing(cpp: CppClient, tmp_path: Path) -> None:
    done = cpp.run("predict", tmp_path / "nothing", PHOTOS[0])
    assert done.returncode == run("predict", tmp_path / "nothing", PHOTOS[0]).exit_code == 3
    assert f"there is no folder {tmp_path}/nothing" in done.stderr


CONSUMER = """
cmake_minimum_required(VERSION 3.18)
project(consumer LANGUAGES CXX)
find_package(onnxzoo 0.1 REQUIRED)
add_executable(consumer main.cpp)
target_link_libraries(consumer PRIVATE onnxzoo::onnxzoo)
"""
PROGRAM = """
#include <onnxzoo/artifact.hpp>
#include <onnxzoo/decode.hpp>
#include <onnxzoo/preprocess.hpp>
#include <cstdio>
int main(int, char** arguments) {
    const auto artifact = onnxzoo::read_artifact(arguments[1]);
    const auto image = onnxzoo::decode_file(arguments[2]);
    std::printf("%zu", onnxzoo::preprocess(image, artifact.preprocess, arguments[2]).size());
}
"""


def test_an_installed_library_is_found_by_find_package(cpp: CppClient, tiny: Path, tmp_path: Path) -> None:
    """Without our flags, and with those that change floating-point arithmetic where a compiler may choose."""
    prefix, source, build = tmp_path / "prefix", tmp_path / "consumer", tmp_path / "build"
    source.mkdir()
    (source / "CMakeLists.txt").write_text(CONSUMER, encoding="utf-8")
    (source / "main.cpp").write_text(PROGRAM, encoding="utf-8")
    for command in (
        [cpp.cmake, "--install", cpp.build, "--prefix", prefix],
        [cpp.cmake, "-S", source, "-B", build, f"-DCMAKE_PREFIX_PATH={prefix}", f"-DCMAKE_CXX_COMPILER={cpp.compiler}"],
        [cpp.cmake, "--build", build],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    assert (prefix / "bin" / "zoo-predict").is_file()
    done = subprocess.run([build / "consumer", tiny, PHOTOS[0]], capture_output=True, text=True, check=True)
    assert done.stdout == str(3 * SIZE * SIZE)


def test_the_headers_compile_together_without_warnings(cpp: CppClient) -> None:
    headers = sorted((SOURCE / "include" / "onnxzoo").glob("*.hpp"))
    assert len(headers) > 10
    engines = {"openvino.hpp", "onnxruntime.hpp"}
    code = "".join(f"#include <onnxzoo/{header.name}>\n" for header in headers if header.name not in engines)
    code += '#include "fuzz_decoder.cpp"\n'  # which only Clang can link
    folders = [f"-I{SOURCE / 'include'}", f"-I{SOURCE / 'tests'}"]
    strict = ["-std=c++17", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", *folders, "-x", "c++", "-"]
    done = subprocess.run([cpp.compiler, *strict], input=code, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    if (other := shutil.which("clang++")) is not None:
        done = subprocess.run([other, *strict], input=code, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
