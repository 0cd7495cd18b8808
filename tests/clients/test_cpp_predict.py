"""The command `zoo-predict`: Python's answers, and its refusals of wrong usage and damaged artifacts."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from client_artifacts import DAMAGED
from client_images import PHOTOS
from command_line import run
from cpp_client import SOURCE, CppClient
from pictures import encoded, photo
from tiny import SIZE, tiny_graph, write_artifact

import onnxzoo
import onnxzoo.data
from onnxzoo.artifact.folder import read_artifact
from onnxzoo.image import preprocess_batch
from onnxzoo.strict_json import parse_json

pytestmark = pytest.mark.slow

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
