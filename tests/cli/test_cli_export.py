"""`onnxzoo export` as a user runs it: what it prints where, and its exit codes."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("paddle", reason="needs the export extra")
onnx = pytest.importorskip("onnx", reason="needs the export extra")

from onnxzoo.exports import many
from terminating import end_at

from onnxzoo.artifact.folder import read_artifact
from onnxzoo.reference.paddle.saving import save_seeded_checkpoint
from onnxzoo.registry import find

pytestmark = pytest.mark.paddle


def onnxzoo(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "onnxzoo", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_seeded_checkpoint(find("pvt_v2_b0"), tmp_path_factory.mktemp("w") / "b0.pdparams", 0, num_classes=7)


def test_the_folder_goes_to_stdout_and_the_steps_to_stderr(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONNXZOO_CACHE", str(tmp_path / "cache"))
    done = onnxzoo("export", "PVT_V2_B0", "--weights", weights)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(tmp_path / "cache" / "models" / "pvt_v2_b0")
    lines = done.stderr.splitlines()
    assert lines[0].startswith("[1/7] read the checkpoint ... ")
    assert lines[-1].startswith("[7/7] write the artifact ... ")
    assert len(lines) == 7, "the tools' noise is shown only on failure"
    artifact = read_artifact(Path(done.stdout.strip()))
    assert artifact.num_classes == 7
    listed = onnxzoo("predict", "pvt_v2_b0", Path(__file__).parents[2] / "onnxzoo/data/photos/coffee.jpg", "--top-k", 1)
    assert listed.returncode == 0, listed.stderr
    assert "class " in listed.stdout


class Payload:
    def __init__(self, sentinel: Path) -> None:
        self.sentinel = sentinel

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.sentinel,)


def test_a_pickle_that_would_run_code_is_refused_in_one_line(tmp_path: Path) -> None:
    evil, sentinel = tmp_path / "evil.pdparams", tmp_path / "sentinel"
    evil.write_bytes(pickle.dumps({"head.weight": Payload(sentinel)}))
    done = onnxzoo("export", "pvt_v2_b0", "--weights", evil, "--out", tmp_path / "out")
    assert done.returncode == 1
    step, error = done.stderr.splitlines()
    assert step == "[1/7] read the checkpoint ... failed"
    assert error.startswith(f"onnxzoo: error: {evil} is refused: it asks for ")
    assert done.stdout == ""
    assert [path.name for path in tmp_path.iterdir()] == ["evil.pdparams"]


def test_several_models_go_on_after_a_failure_and_end_with_a_table(weights: Path, tmp_path: Path) -> None:
    checkpoints = tmp_path / "checkpoints"
    checkpoints.mkdir()
    # The first is called as in the registry's address, the second after the model but is another model's.
    shutil.copy(weights, checkpoints / "PVT_V2_B0_pretrained.pdparams")
    shutil.copy(weights, checkpoints / "pvt_v2_b1.pdparams")
    names = ["pvt_v2_b2", "pvt_v2_b1", "PVT_V2_B0", "pvt_v2_b0"]
    done = onnxzoo("export", *names, "--weights-dir", checkpoints, "--out", tmp_path / "out")
    assert done.returncode == 1
    header, missing, unfit, fine, last = done.stdout.splitlines()
    assert header.split() == ["model", "seconds", "peak", "MiB", "nodes", "file", "MB", "result"]
    assert missing.split()[0] == "pvt_v2_b2"
    assert "expected PVT_V2_B2_pretrained.pdparams, pvt_v2_b2.pdparams or pvt_v2_b2.safetensors" in missing
    assert unfit.split()[0] == "pvt_v2_b1"
    assert "ok" not in unfit.split()
    name, seconds, peak_mib, nodes, megabytes, result = fine.split()
    assert (name, result) == ("pvt_v2_b0", "ok"), "named twice, exported once"
    assert float(seconds) > 0
    assert float(peak_mib) > 100
    model = read_artifact(tmp_path / "out" / "pvt_v2_b0").model_file()
    assert int(nodes) == len(onnx.load(model).graph.node)
    assert float(megabytes) == pytest.approx(model.stat().st_size / 1e6, abs=0.06)
    assert last == "1 of 3 exported, 2 FAILED"
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["pvt_v2_b0"]
    assert "pvt_v2_b0 (3 of 3)" in done.stderr
    assert "[7/7] write the artifact ..." in done.stderr
    again = onnxzoo("export", *names[1:], "--weights-dir", checkpoints, "--out", tmp_path / "out", "--skip-exported")
    assert again.returncode == 1
    _, unfit, fine, last = again.stdout.splitlines()
    assert "ok" not in unfit.split()
    assert fine.endswith("  already exported")
    assert "write the artifact" not in again.stderr
    assert last == "1 of 2 exported, 1 FAILED"


def test_json_gives_the_figures_of_one_model(weights: Path, tmp_path: Path) -> None:
    done = onnxzoo("export", "pvt_v2_b0", "--weights", weights, "--out", tmp_path / "out", "--json")
    assert done.returncode == 0, done.stderr
    (result,) = json.loads(done.stdout)["results"]
    assert (result["name"], result["folder"], result["error"]) == ("pvt_v2_b0", str(tmp_path / "out"), "")
    assert result["bytes"] == read_artifact(tmp_path / "out").model_file().stat().st_size


def test_another_image_size(weights: Path, tmp_path: Path) -> None:
    done = onnxzoo("export", "pvt_v2_b0", "--weights", weights, "--out", tmp_path / "out", "--image-size", 96)
    assert done.returncode == 0, done.stderr
    assert read_artifact(tmp_path / "out").image_size == 96
    done = onnxzoo("export", "pvt_v2_b0", "--weights", weights, "--out", tmp_path / "out", "--image-size", 100)
    assert done.returncode == 2
    assert "must be a positive multiple of 32" in done.stderr.splitlines()[-1]


def test_weights_are_never_downloaded_when_a_folder_is_named(tmp_path: Path) -> None:
    done = onnxzoo("export", "swinv2_base_w24", "--weights-dir", tmp_path)
    assert done.returncode == 2
    assert "SwinTransformerV2_base_patch4_window24_384_22kto1k_pretrained.pdparams" in done.stderr
    assert "without --weights-dir it is downloaded" in done.stderr


def test_a_child_that_is_killed_is_a_failed_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = many.Job("pvt_v2_b0", out=tmp_path / "out")
    monkeypatch.setattr(many, "_work", die)
    (result,) = many.export_many([job])
    assert not result
    assert result.error == "the export was killed by SIGKILL, perhaps for lack of memory"
    assert (result.nodes, result.peak_mib) == (None, None)


def die(_job: object, _sender: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["pvt_v2_b0", "--weights", "none.pdparams"], "'none.pdparams' does not exist"),
        (["pvt_v2_b7"], "unknown model 'pvt_v2_b7'; did you mean pvt_v2_b"),
        ([], "Missing argument 'NAME'"),
        (["pvt_v2_b0", "--all"], "name models or give --all, not both"),
        (["pvt_v2_b0", "pvt_v2_b7"], "unknown model 'pvt_v2_b7'; did you mean pvt_v2_b"),
        (["pvt_v2_b0", "pvt_v2_b1", "--weights", __file__], "several need --weights-dir"),
        (["pvt_v2_b0", "--weights-dir", "none"], "'none' does not exist"),
        (["pvt_v2_b0", "--image-size", "0"], "expected a whole number from 1, got '0'"),
    ],
)
def test_wrong_usage_exits_with_2(arguments: list[str], message: str) -> None:
    done = onnxzoo("export", *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="looks for children in /proc")
@pytest.mark.parametrize(
    ("names", "step", "number"),
    [
        (["pvt_v2_b0"], "[2/7]", signal.SIGTERM),
        (["pvt_v2_b0"], "[4/7]", signal.SIGHUP),
        (["pvt_v2_b0", "pvt_v2_b1"], "[3/7]", signal.SIGTERM),
    ],
)
def test_a_signal_ends_the_export_with_one_line_and_nothing_left(
    weights: Path, tmp_path: Path, names: list[str], step: str, number: signal.Signals
) -> None:
    """Paddle, which is loaded by then, would end the process at once, with words of its own."""
    scratch, out = tmp_path / "scratch", tmp_path / "out"
    scratch.mkdir()
    shutil.copy(weights, tmp_path / "pvt_v2_b0.pdparams")
    ended = end_at(step, number, scratch, "export", *names, "--weights-dir", tmp_path, "--out", out / "model")
    assert ended.code == 128 + number
    *lines, last = ended.stderr.splitlines()
    assert last == f"onnxzoo: terminated by {number.name}"
    assert all(line.startswith(("[", "pvt_v2_b0 (1 of 2)")) for line in lines)
    assert ended.children == []
    assert list(scratch.iterdir()) == []
    assert [path for path in out.rglob("*") if path.name != "model"] == []


@pytest.mark.skipif(sys.platform != "linux", reason="the system kills the children on Linux only")
def test_what_a_killed_export_leaves_goes_with_the_next(weights: Path, tmp_path: Path) -> None:
    scratch, out = tmp_path / "scratch", tmp_path / "out"
    scratch.mkdir()
    ended = end_at("[4/7]", signal.SIGKILL, scratch, "export", "pvt_v2_b0", "--weights", weights, "--out", out / "b0")
    assert ended.code == -signal.SIGKILL
    assert ended.children == []
    assert len(list(scratch.iterdir())) == len(list(out.iterdir())) == 1
    ended = end_at("[4/7]", signal.SIGTERM, scratch, "export", "pvt_v2_b0", "--weights", weights, "--out", out / "b0")
    assert ended.code == 128 + signal.SIGTERM
    assert list(scratch.iterdir()) == list(out.iterdir()) == []
