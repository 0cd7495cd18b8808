"""The whole way: what an artifact has afterwards, what it keeps when something fails, what is refused."""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import PIL.Image
import pytest
from artifacts import MODEL, SWIN, announce, copy_shipped
from int8 import int8_matrices
from quantizing import fashion_images, plain_images, write_colours
from tiny import COLOURS

from onnxzoo import load
from onnxzoo.artifact.folder import read_artifact
from onnxzoo.data.dataset import Dataset
from onnxzoo.data.layouts import open_dataset
from onnxzoo.errors import ArtifactError, InputError, QuantizationError
from onnxzoo.evaluation.paired import PairedDrop
from onnxzoo.hub import SHIPPED_DIR
from onnxzoo.hub.card import unvalidated
from onnxzoo.quantization import quantize as quantize_module
from onnxzoo.quantization.quantize import Limits, quantize
from onnxzoo.quantization.report import Report
from onnxzoo.quantization.static import StaticQuantizer

pytestmark = pytest.mark.slow

pytest.importorskip("onnxruntime", reason="needs the extra quantize")

INT8 = "onnx/model_int8.onnx"


@pytest.fixture
def colours(tmp_path: Path) -> Path:
    """The colour classifier with recorded outputs, in a folder of the user's."""
    return write_colours(tmp_path / "colours")


@pytest.fixture(scope="module")
def quantized(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """The SwinV2 model that ships, copied and quantised in its place."""
    artifact = read_artifact(copy_shipped(tmp_path_factory.mktemp("swin") / SWIN, SWIN))
    return quantize(artifact, fashion_images(artifact), limits=Limits(39))


def contents(folder: Path) -> dict[str, str]:
    """Every file of a folder with a hash of its bytes."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_the_artifact_has_the_file_and_says_what_it_is(quantized: Report) -> None:
    artifact = read_artifact(quantized.folder)
    artifact.verify()
    assert artifact.precisions == ("fp32", "int8")
    announced = artifact.required_model("int8")
    assert (announced.path, announced.bytes, announced.weights_bits) == (INT8, quantized.bytes, 7)
    assert quantized.share < 0.42
    assert {one.engine for one in artifact.validated("int8")} >= {"onnxruntime"}
    assert INT8 not in unvalidated(artifact)
    assert "model_int8.onnx" in (quantized.folder / "README.md").read_text(encoding="utf-8"), "the card is new, too"
    notes = {one.key: one.value for one in onnx.load(quantized.folder / INT8).metadata_props}
    assert (notes["weights_bits"], notes["name"]) == ("7", SWIN)
    assert notes["fp32_layers"].split() == sorted(quantized.fp32_layers)
    assert not [key for key in notes if key.startswith("onnx.quant")], "nothing of the tool's own is left"


def test_the_report_is_what_the_file_does(quantized: Report) -> None:
    assert all(result.held_out_db >= 38.9 for result in quantized.engines)
    assert all(result.recorded_db >= 25 for result in quantized.engines)
    assert quantized.agreement_db is None or quantized.agreement_db > 40
    assert "patch_embed.proj/Conv" in quantized.fp32_layers, "the noisiest, which has 0.3 % of the weights"
    assert quantized.layers == tuple(sorted(quantized.layers, key=lambda layer: layer.held_out_db))
    assert len(quantized.layers) == 28
    artifact = read_artifact(quantized.folder)
    images = fashion_images(artifact).held_out
    outputs = {}
    for precision in ("fp32", "int8"):
        with load(quantized.folder, engine="onnxruntime", precision=precision) as model:
            outputs[precision] = model.logits(images).astype(np.float64)
    exact = outputs["fp32"]
    noise = ((outputs["int8"] - exact) ** 2).mean()
    measured = next(one for one in quantized.engines if one.engine.name == "onnxruntime").held_out_db
    assert 10 * np.log10(((exact - exact.mean(0)) ** 2).mean() / noise) == pytest.approx(measured, abs=1e-3)
    json.dumps(quantized.as_document(), allow_nan=False)


def test_weights_have_seven_bits_and_layers_in_fp32_are_the_fp32_files(quantized: Report) -> None:
    matrices = int8_matrices(quantized.folder / INT8)
    assert len(matrices) >= 20
    assert all(np.abs(values.astype(int)).max() <= 64 for values in matrices.values())
    made, exact = (onnx.load(quantized.folder / path).graph for path in (INT8, MODEL))
    for name in quantized.fp32_layers:
        nodes = [next(node for node in graph.node if node.name == name) for graph in (made, exact)]
        assert list(nodes[0].input)[:2] == list(nodes[1].input)[:2], name
    # Outputs are what was computed, not what the head's input was rounded to.
    makers = {name: node.op_type for node in made.node for name in node.output}
    assert makers["embedding"] == "ReduceMean"


def test_the_artifact_of_an_earlier_int8_file_gets_another_and_loses_its_records(colours: Path) -> None:
    artifact = read_artifact(colours)
    first = quantize(artifact, plain_images(artifact), limits=Limits(10))
    again = read_artifact(colours)
    second = quantize(again, plain_images(again), limits=Limits(10), weights_bits=8)
    assert (first.replaced, second.replaced) == (False, True)
    renewed = read_artifact(colours)
    assert renewed.required_model("int8").weights_bits == 8
    assert renewed.required_model("int8").sha256 != again.required_model("int8").sha256
    assert renewed.validated("int8") == renewed.validations


def test_a_copy_gets_the_file_and_the_original_stays(colours: Path, tmp_path: Path) -> None:
    before = contents(colours)
    artifact = read_artifact(colours)
    made = quantize(artifact, plain_images(artifact), limits=Limits(10), out=tmp_path / "copy")
    assert contents(colours) == before
    assert (tmp_path / "copy" / INT8).is_file()
    assert made.folder == tmp_path / "copy"
    originals = {path.stat().st_ino for path in colours.rglob("*")}
    assert not originals & {path.stat().st_ino for path in (tmp_path / "copy").rglob("*")}, "edited apart"


def test_a_copy_of_a_part_of_an_artifact_lists_what_it_has(colours: Path, tmp_path: Path) -> None:
    config = json.loads((colours / "config.json").read_text(encoding="utf-8"))
    config["files"]["onnx/model_fp16.onnx"] = {"sha256": "0" * 64, "bytes": 5, "precision": "fp16"}
    (colours / "config.json").write_text(json.dumps(config), encoding="utf-8")
    artifact = read_artifact(colours)
    quantize(artifact, plain_images(artifact), limits=Limits(10), out=tmp_path / "copy")
    assert read_artifact(tmp_path / "copy").precisions == ("fp32", "int8"), "fp16 was not fetched from the Hub"
    before = contents(colours)
    with pytest.raises(ArtifactError, match=r"model_fp16.onnx is missing"):
        quantize(artifact, plain_images(artifact), limits=Limits(10))
    assert contents(colours) == before


def test_a_card_that_was_edited_stays(colours: Path) -> None:
    (colours / "README.md").write_text("mine", encoding="utf-8")
    artifact = read_artifact(colours)
    quantize(artifact, plain_images(artifact), limits=Limits(10))
    assert (colours / "README.md").read_text(encoding="utf-8") == "mine"


def labelled(folder: Path) -> Dataset:
    """Five images of each of the four colours, none of them pure."""
    random = np.random.RandomState(5)
    for name, colour in COLOURS.items():
        (folder / name).mkdir(parents=True)
        for number in range(5):
            shade = np.clip(np.array(colour) * 0.8 + random.randint(0, 40, 3), 0, 255).astype(np.uint8)
            PIL.Image.new("RGB", (36, 36), tuple(shade.tolist())).save(folder / name / f"{number}.png")
    return open_dataset(folder, "val")


def test_accuracy_on_labelled_images_is_measured_on_the_same_images(colours: Path, tmp_path: Path) -> None:
    artifact = read_artifact(colours)
    data = labelled(tmp_path / "data")
    made = quantize(artifact, plain_images(artifact), limits=Limits(10, 0.05), data=data)
    assert [result.drop for result in made.engines] == [PairedDrop(20, 20, 0, 0)] * len(made.engines)
    rows = made.as_document()["engines"]
    assert rows[0]["drop"]["before"] == rows[0]["drop"]["after"] == 1
    assert rows[0]["drop"]["interval_95"][0] < 0 < rows[0]["drop"]["interval_95"][1]


def test_answers_that_get_worse_send_layers_back_to_fp32(
    colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact = read_artifact(colours)
    data = labelled(tmp_path / "data")
    monkeypatch.setattr(quantize_module, "paired_drop", lambda *_: PairedDrop(20, 17, 3, 0))
    before = contents(colours)
    with pytest.raises(QuantizationError, match="the limits cannot be kept"):
        quantize(artifact, plain_images(artifact), limits=Limits(10, 0.1), data=data)
    assert contents(colours) == before
    quantize(artifact, plain_images(artifact), limits=Limits(10, 0.15), data=data)


def test_what_no_number_of_images_can_show_is_refused(colours: Path, tmp_path: Path) -> None:
    artifact = read_artifact(colours)
    with pytest.raises(InputError, match=r"20 labelled images cannot show a drop of 0.100%: one image is 5.000%"):
        quantize(artifact, plain_images(artifact), limits=Limits(30), data=labelled(tmp_path / "data"))


@pytest.mark.parametrize(
    ("snr_db", "drop"), [(0, 0.1), (-3, 0.1), (101, 0.1), (float("nan"), 0.1), (30, -0.1), (30, 1)]
)
def test_limits_that_mean_nothing_are_refused(snr_db: float, drop: float) -> None:
    with pytest.raises(InputError):
        Limits(snr_db, drop)


def test_limits_that_cannot_be_kept_leave_the_artifact_as_it_was(colours: Path) -> None:
    before = contents(colours)
    artifact = read_artifact(colours)
    with pytest.raises(QuantizationError, match=r"limits cannot be kept.*ask for less \(--min-snr"):
        quantize(artifact, plain_images(artifact), limits=Limits(100))
    assert contents(colours) == before
    assert [path.name for path in colours.parent.iterdir()] == [colours.name]


def test_a_file_that_fails_its_validation_is_not_kept(colours: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    artifact = read_artifact(colours)
    before = contents(colours)
    images = plain_images(artifact)

    def spoilt(self: StaticQuantizer, target: Path, *arguments: object) -> None:
        write(self, target, *arguments)  # type: ignore[arg-type]
        model = onnx.load(target)
        constant = next(tensor for tensor in model.graph.initializer if tensor.name.endswith("weight_quantized"))
        values = onnx.numpy_helper.to_array(constant)
        constant.CopyFrom(onnx.numpy_helper.from_array(np.roll(values, 1, 0), constant.name))
        onnx.save(model, target)

    write = StaticQuantizer.write
    monkeypatch.setattr(StaticQuantizer, "write", spoilt)
    monkeypatch.setattr(quantize_module, "quantize_to_int8", unlimited(quantize_module.quantize_to_int8))
    with pytest.raises(QuantizationError, match="int8 file fails its validation on"):
        quantize(artifact, images, limits=Limits(10))
    assert contents(colours) == before


def unlimited(maker):  # type: ignore[no-untyped-def]
    """The maker, content with whatever its search measures."""

    def make(*arguments, **options):  # type: ignore[no-untyped-def]
        bench = arguments[2]
        bench.noise = lambda *_: (1e-9, 1e-9)
        return maker(*arguments, **options)

    return make


def test_a_full_disk_is_one_line_and_leaves_the_artifact_whole(colours: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = contents(colours)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(colours / INT8))

    monkeypatch.setattr(StaticQuantizer, "write", full)
    artifact = read_artifact(colours)
    with pytest.raises(
        QuantizationError, match=r"cannot be written: No space left on device \(.*it is as it was; make"
    ):
        quantize(artifact, plain_images(artifact), limits=Limits(10))
    assert contents(colours) == before
    assert [path.name for path in colours.parent.iterdir()] == [colours.name], "nothing is left beside it"


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path[:0] = sys.argv[2:]
from onnxzoo.artifact.folder import read_artifact
from onnxzoo.quantization.quantize import Limits, quantize
from quantizing import plain_images

def step(title, total=None, done=0):
    if title == "validating":
        os.kill(os.getpid(), signal.SIGKILL)

artifact = read_artifact(Path(sys.argv[1]))
quantize(artifact, plain_images(artifact), limits=Limits(10), step=step)
"""


def test_a_kill_in_the_middle_leaves_the_artifact_whole_and_the_next_run_cleans_up(colours: Path) -> None:
    before = contents(colours)
    tests = str(Path(__file__).parents[1])
    done = subprocess.run([sys.executable, "-P", "-c", KILLED, str(colours), tests], check=False, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    assert contents(colours) == before
    assert len(list(colours.parent.iterdir())) == 2, "the copy that was being made"
    artifact = read_artifact(colours)
    artifact.verify()
    quantize(artifact, plain_images(artifact), limits=Limits(10))
    assert [path.name for path in colours.parent.iterdir()] == [colours.name]
    read_artifact(colours).verify()


def test_unwritable_targets_are_refused_before_any_work(colours: Path, tmp_path: Path) -> None:
    shipped = read_artifact(SHIPPED_DIR / SWIN)
    images = plain_images(read_artifact(colours))
    with pytest.raises(ArtifactError, match="is part of the installed package, nothing is written there"):
        quantize(shipped, images, limits=Limits(30))
    with pytest.raises(ArtifactError, match="is part of the installed package"):
        quantize(read_artifact(colours), images, limits=Limits(30), out=SHIPPED_DIR / SWIN)
    (tmp_path / "file").write_text("x", encoding="utf-8")
    with pytest.raises(InputError, match="is a file; --out must name a folder"):
        quantize(shipped, images, limits=Limits(30), out=tmp_path / "file")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("x", encoding="utf-8")
    with pytest.raises(InputError, match="neither empty nor an artifact, and will not be replaced"):
        quantize(shipped, images, limits=Limits(30), out=tmp_path / "full")


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="the superuser may write anywhere")
def test_a_folder_that_may_not_be_written_is_refused(colours: Path) -> None:
    colours.chmod(0o555)
    artifact = read_artifact(colours)
    try:
        with pytest.raises(ArtifactError, match="cannot be written to; name another folder"):
            quantize(artifact, plain_images(artifact), limits=Limits(30))
    finally:
        colours.chmod(0o755)


def test_a_model_that_is_int8_already_is_refused(colours: Path, quantized: Report, tmp_path: Path) -> None:
    artifact = read_artifact(colours)
    quantize(artifact, plain_images(artifact), limits=Limits(10))
    (colours / INT8).replace(colours / MODEL)
    config = json.loads((colours / "config.json").read_text(encoding="utf-8"))
    del config["files"][INT8]
    (colours / "config.json").write_text(json.dumps(config), encoding="utf-8")
    announce(colours, MODEL)
    disguised = read_artifact(colours)
    with pytest.raises(InputError, match="is already quantised; quantise the fp32 file that it was made from"):
        quantize(disguised, plain_images(disguised), limits=Limits(10))
    config = json.loads((quantized.folder / "config.json").read_text(encoding="utf-8"))
    del config["files"][MODEL]
    copy = copy_shipped(tmp_path / "copy", SWIN)
    (copy / INT8).write_bytes((quantized.folder / INT8).read_bytes())
    (copy / "config.json").write_text(json.dumps(config), encoding="utf-8")
    only = read_artifact(copy)
    with pytest.raises(InputError, match="has no fp32 ONNX file, only int8"):
        quantize(only, fashion_images(only), limits=Limits(30))


def test_a_graph_without_layers_to_quantise_is_refused(colours: Path) -> None:
    model = onnx.load(colours / MODEL)
    for node in model.graph.node:
        if node.op_type in ("Conv", "Gemm"):
            node.input[1] += "_copy"
    for name in ("conv_weight", "head_weight"):
        model.graph.node.insert(0, onnx.helper.make_node("Identity", [name], [f"{name}_copy"]))
    onnx.save(model, colours / MODEL)
    announce(colours, MODEL)
    artifact = read_artifact(colours)
    with pytest.raises(InputError, match="has no MatMul, Gemm, Conv with a constant weight"):
        quantize(artifact, plain_images(artifact), limits=Limits(10))


def test_the_quantisers_own_words_do_not_reach_the_log(colours: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    artifact = read_artifact(colours)
    quantize(artifact, plain_images(artifact), limits=Limits(10))
    assert not [one for one in caplog.records if one.name == "root"]


def test_the_steps_are_told_with_the_number_of_layers(colours: Path) -> None:
    artifact = read_artifact(colours)
    told: list[tuple[str, int | None, int]] = []

    def step(title: str, total: int | None = None, done: int = 0) -> None:
        told.append((title, total, done))

    made = quantize(artifact, plain_images(artifact), limits=Limits(10), step=step)
    titles = list(dict.fromkeys(title for title, _, _ in told))
    assert titles == ["running the fp32 file", "calibrating", "measuring each layer alone", "validating"]
    layers = [(total, done) for title, total, done in told if title.startswith("measuring")]
    assert layers == [(len(made.layers), number) for number in range(len(made.layers))]
