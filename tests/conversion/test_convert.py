"""Conversions to other formats: the results in their own libraries, and everything that can go wrong on the way."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from artifacts import PVT, SWIN, configure, copy_shipped

import onnxzoo
from onnxzoo.artifact.folder import CONFORMANCE_FILE, read_artifact
from onnxzoo.artifact.vectors import read_vectors
from onnxzoo.child_process import run_module
from onnxzoo.conversion import convert as converting
from onnxzoo.conversion.convert import Limits, convert
from onnxzoo.conversion.description import FILE, LABELS_FILE
from onnxzoo.conversion.target import Job
from onnxzoo.conversion.targets import TARGETS, target_of
from onnxzoo.data.photos import photo
from onnxzoo.errors import (
    ArtifactError,
    ConversionError,
    InputError,
    MissingDependencyError,
    ModelNotFoundError,
)
from onnxzoo.files import sha256_of
from onnxzoo.hub import SHIPPED_DIR
from onnxzoo.image import preprocess
from onnxzoo.results import Array
from onnxzoo.source import resolve

CONVERSIONS = [
    ("ort", "fp32", SWIN),
    ("ort", "int8", PVT),
    ("openvino-ir", "fp32", SWIN),
    ("openvino-ir", "fp16", PVT),
    ("mnn", "fp32", SWIN),
    ("mnn", "int8", PVT),
    ("ncnn", "fp32", SWIN),
    ("ncnn", "fp16", PVT),
]


def require(target: str) -> None:
    """Skip the test, by name, if the library of this format is not installed."""
    try:
        TARGETS[target].require_modules()
    except MissingDependencyError as error:
        pytest.skip(str(error))


def outputs(target: str, job: Job, images: Array, work: Path) -> dict[str, Array]:
    """The outputs of a converted model, run in a process of its own, one image at a time."""
    job.write(work / "job.json")
    np.save(work / "images.npy", images)
    arguments = ["run", target, work / "job.json", str(2**40), work / "images.npy", work / "outputs.npz", "1"]
    ended = run_module(converting.CHILD, arguments)
    assert ended.failure is None, ended.output
    with np.load(work / "outputs.npz") as found:
        return dict(found)


@pytest.mark.slow
@pytest.mark.parametrize(("target", "precision", "model"), CONVERSIONS)
def test_a_converted_model_classifies_as_the_artifact_does(
    target: str, precision: str, model: str, tmp_path: Path
) -> None:
    require(target)
    before = sorted(resolve(model).artifact.folder.rglob("*"))
    done = convert(resolve(model), target, tmp_path / "out", precision=precision)
    assert sorted(resolve(model).artifact.folder.rglob("*")) == before
    assert sorted(path.name for path in done.folder.iterdir()) == sorted(
        [*TARGETS[target].files, FILE, LABELS_FILE, "preprocessor_config.json"]
    )
    document = json.loads((done.folder / FILE).read_text(encoding="utf-8"))
    assert document == done.document
    for name, file in document["files"].items():
        assert file == {"sha256": sha256_of(done.folder / name), "bytes": (done.folder / name).stat().st_size}
    artifact = resolve(model).artifact
    assert document["made_from"]["sha256"] == artifact.required_model(TARGETS[target].forms[precision].source).sha256
    assert document["check"]["max_abs"] == done.max_abs < document["check"]["tolerance"]
    assert (document["check"]["inputs"], document["check"]["batch_sizes"]) == (6, [1] if target == "ncnn" else [1, 6])
    copied, own = (folder / "preprocessor_config.json" for folder in (done.folder, artifact.folder))
    assert copied.read_bytes() == own.read_bytes()
    # As an app does it: pixels by model.json, the converted file, the best class by labels.txt.
    pictures = [photo(name) for name in ("coffee.jpg", "rocket.jpg", "retina.jpg")]
    images = np.stack([preprocess(picture, artifact.preprocess) for picture in pictures])
    logits = outputs(target, Job("", str(done.folder), precision, artifact.image_size), images, tmp_path)["logits.1"]
    names = (done.folder / LABELS_FILE).read_text(encoding="utf-8").splitlines()
    with onnxzoo.load(model, engine="onnxruntime", precision=precision) as loaded:
        expected = loaded.logits(images)
        best = [one.label for one in loaded.predict(pictures)]
    assert [names[number] for number in logits.argmax(axis=1)] == best
    tolerance = TARGETS[target].forms[precision].tolerance.value
    np.testing.assert_allclose(logits, expected, rtol=tolerance, atol=tolerance)


def test_what_is_not_a_format_or_a_precision_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"models are converted to ort, openvino-ir.*; got 'tflite'"):
        convert(resolve(PVT), "tflite", tmp_path / "out")
    with pytest.raises(InputError, match="ort is made in fp32, fp16, int8, got 'bf16'; it holds the graph"):
        convert(resolve(PVT), "ort", tmp_path / "out", precision="bf16")
    source = resolve(str(copy_shipped(tmp_path / "model")))
    with pytest.raises(InputError, match="ort in int8 is made from the int8 file, and pvt_v2_nano_fashion has only fp"):
        convert(source, "ort", tmp_path / "out", precision="int8")
    assert not (tmp_path / "out").exists()


def test_mnn_reports_nothing_to_its_maker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require("mnn")
    # What `mnnconvert` would install and import to send its report.
    (tmp_path / "aliyun").mkdir()
    (tmp_path / "aliyun" / "__init__.py").write_text(f"open({str(tmp_path / 'reported')!r}, 'w')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert run_module("aliyun.__init__", []).failure is None
    (tmp_path / "reported").unlink()
    convert(resolve(PVT), "mnn", tmp_path / "out")
    assert not (tmp_path / "reported").exists()


def test_a_missing_library_is_named_with_its_installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modules = {"no_such_library": "pip install no-such-library", "other_one": "pip install other", "json": "-"}
    lacking = dataclasses.replace(target_of("ort"), modules=modules)
    monkeypatch.setattr(converting, "target_of", lambda name: lacking)
    with pytest.raises(
        MissingDependencyError,
        match=r"needs no_such_library, other_one, .* with: pip install no-such-library && pip install other$",
    ):
        convert(resolve(PVT), "ort", tmp_path / "out")


def test_a_folder_that_is_taken_stays_as_it_is(tmp_path: Path) -> None:
    full = tmp_path / "full"
    full.mkdir()
    (full / "notes.txt").write_text("mine")
    for place, words in ((full, "is not empty and stays as it is"), (full / "notes.txt", "is a file, expected a new")):
        with pytest.raises(InputError, match=words):
            convert(resolve(PVT), "ort", place)
    with pytest.raises(InputError, match=r"cannot be created in .*notes\.txt"):
        convert(resolve(PVT), "ort", full / "notes.txt" / "out")
    with pytest.raises(ArtifactError, match="is part of the installed package"):
        convert(resolve(PVT), "ort", resolve(PVT).artifact.folder / "ort")
    assert [path.name for path in full.iterdir()] == ["notes.txt"]


def test_an_artifact_without_recorded_outputs_cannot_be_converted(tmp_path: Path) -> None:
    folder = copy_shipped(tmp_path / "model")
    (folder / CONFORMANCE_FILE).unlink()
    with pytest.raises(ModelNotFoundError, match="a converted model is compared with them"):
        convert(resolve(str(folder)), "ort", tmp_path / "out")


def test_a_damaged_model_is_not_converted(tmp_path: Path) -> None:
    folder = copy_shipped(tmp_path / "model")
    data = bytearray((folder / "onnx/model.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (folder / "onnx/model.onnx").write_bytes(data)
    with pytest.raises(ArtifactError, match=r"model\.onnx"):
        convert(resolve(str(folder)), "ort", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan"), float("inf")])
def test_a_time_limit_is_positive_and_finite(seconds: float) -> None:
    with pytest.raises(InputError, match="time limit must be a positive number of seconds"):
        Limits(seconds)


# A child process that behaves as a converter does on a bad day.
ODD = """
import json, os, signal, sys, time
import numpy as np
step, target, job_file, memory, *more = sys.argv[1:]
job = json.load(open(job_file))
folder = job["folder"]
if step == "convert":
    print("the converter's own words")
    open(os.path.join(folder, "model.ort"), "w").write("model")
else:
    images, outputs, sizes = more
    with np.load({vectors!r}) as recorded:
        names = ("logits", "embedding")
        right = {{f"{{name}}.{{size}}": recorded[name] for name in names for size in sizes.split(",")}}
if step == "convert" or {run!r}:
    exec({convert!r} if step == "convert" else {run!r})
if step == "run" and not os.path.exists(outputs):
    np.savez(outputs, **right)
"""
RIGHT = "np.savez(outputs, **right)"


@pytest.fixture
def odd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Converts with a child process whose steps `convert` and `run` have these bodies besides the right ones."""
    source = resolve(PVT)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(converting, "CHILD", "odd_child")
    out = tmp_path / "results" / "out"

    def run(convert_body: str = "pass", run_body: str = RIGHT, **limits: Any) -> Any:
        vectors = str(source.artifact.folder / CONFORMANCE_FILE)
        text = ODD.format(vectors=vectors, convert=convert_body, run=run_body)
        (tmp_path / "odd_child.py").write_text(text)
        try:
            return convert(source, "ort", out, limits=Limits(**limits))
        finally:
            if not out.exists():
                assert not out.parent.exists() or not any(out.parent.iterdir())

    return run


def test_the_right_outputs_are_taken_from_any_child(odd: Any) -> None:
    done = odd()
    assert done.max_abs == 0
    assert (done.folder / "model.ort").read_text() == "model"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("sys.exit(3)", "the converter for ort failed: exit code 3; its last words: ...the converter's own words"),
        ("sys.stdout.flush(); os.kill(os.getpid(), signal.SIGSEGV)", "was killed by SIGSEGV; its last words"),
        ("raise ValueError('bad op')", "the converter for ort failed: ValueError: bad op"),
        ("raise MemoryError", "failed: MemoryError (it may allocate "),
        ("os.remove(folder + '/model.ort')", "ended without an error, but wrote nothing instead of model.ort"),
        ("open(folder + '/model.ort', 'w')", "ended without an error, but wrote nothing instead of model.ort"),
        ("open(folder + '/more', 'w').write('x')", "but wrote model.ort, more instead of model.ort"),
    ],
)
def test_a_converter_that_fails_leaves_nothing(odd: Any, body: str, words: str) -> None:
    with pytest.raises(ConversionError) as caught:
        odd(body)
    assert words in str(caught.value)
    assert "own words" in caught.value.log


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("sys.exit(1)", "the model converted to ort failed: exit code 1"),
        ("os.abort()", "the model converted to ort was killed by SIGABRT"),
        ("open(outputs, 'wb').write(b'no archive')", "the model converted to ort ended without outputs"),
        ("os._exit(0)", "the model converted to ort ended without outputs"),
        ("right['logits.6'][0] = np.nan; " + RIGHT, "other outputs than those recorded, at batch size 6: 'logits' hol"),
        ("right['embedding.1'] += 1e-3; " + RIGHT, "at batch size 1: 'embedding' differs by up to 0.001"),
        ("del right['embedding.1']; " + RIGHT, "at batch size 1: output 'embedding' is missing"),
        ("np.savez(outputs, nothing=1)", "at batch size 1: it has none of them"),
        ("right['logits.1'] = right['logits.1'][:, :9]; " + RIGHT, "has the shape (6, 9), expected (6, 10)"),
        ("right['logits.1'] = right['logits.1'].astype('f2'); " + RIGHT, "has the dtype float16, expected float32"),
    ],
)
def test_a_result_that_gives_other_outputs_is_not_kept(odd: Any, body: str, words: str) -> None:
    with pytest.raises(ConversionError) as caught:
        odd(run_body=body)
    assert words in str(caught.value)


@pytest.mark.parametrize("step", ["convert_body", "run_body"])
def test_a_child_that_hangs_is_killed(odd: Any, step: str) -> None:
    with pytest.raises(ConversionError, match=r"did not end within 0\.5 s and was killed"):
        odd(**{step: "time.sleep(600)"}, timeout_s=0.5)


def test_an_interrupted_conversion_leaves_nothing(odd: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def interrupted(*arguments: Any, **options: Any) -> Any:
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return original(*arguments, **options)

    original = converting.run_module
    monkeypatch.setattr(converting, "run_module", interrupted)
    with pytest.raises(KeyboardInterrupt):
        odd()
    assert len(calls) == 2


def test_the_memory_of_a_child_is_limited(tmp_path: Path) -> None:
    require("ort")
    with pytest.raises(ConversionError, match="the converter for ort"):
        convert(resolve(PVT), "ort", tmp_path / "out", limits=Limits(memory_bytes=2**20))
    assert not (tmp_path / "out").exists()


def test_a_line_break_in_a_label_shifts_no_other(odd: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = copy_shipped(tmp_path / "model")
    names = ["T-shirt", "Trou\nser", "Übergröße", *map(str, range(3, 10))]
    configure(folder, id2label=dict(zip(map(str, range(10)), names, strict=True)))
    odd()  # writes the child
    done = convert(resolve(str(folder)), "ort", tmp_path / "labelled")
    lines = (done.folder / LABELS_FILE).read_text(encoding="utf-8").split("\n")
    assert lines == ["T-shirt", "Trou\\nser", *names[2:], ""]
    assert json.loads((done.folder / FILE).read_text(encoding="utf-8"))["id2label"]["1"] == "Trou\nser"


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_openvinos_numbers_are_those_of_the_settings_that_are_written(tmp_path: Path, precision: str) -> None:
    openvino = pytest.importorskip("openvino")
    done = convert(resolve(SWIN), "openvino-ir", tmp_path / "ir", precision=precision)
    settings = done.document["settings"]
    assert settings == {"INFERENCE_PRECISION_HINT": "f32"}, "without it, a CPU with bf16 is 0.07 off"
    images = read_vectors(read_artifact(SHIPPED_DIR / SWIN)).images
    model = openvino.Core().compile_model(tmp_path / "ir" / "model.xml", "CPU", settings)
    with onnxzoo.load(SHIPPED_DIR / SWIN, engine="openvino", precision=precision) as original:
        np.testing.assert_allclose(model(images)["logits"], original.logits(images), rtol=0, atol=1e-5)


def test_what_an_app_has_to_set_is_named_for_every_format_that_needs_it() -> None:
    needed = {name: bool(target.forms["fp32"].settings) for name, target in TARGETS.items()}
    assert needed == {"ort": False, "openvino-ir": True, "mnn": True, "ncnn": True}
    assert all(bool(target.settings_why) == needed[name] for name, target in TARGETS.items())
