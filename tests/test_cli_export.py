"""`onnxzoo export` as a user runs it: what it prints where, and its exit codes."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("paddle", reason="needs the export extra")

from onnxzoo.artifact import read_artifact
from onnxzoo.reference.seeded import save_seeded_checkpoint
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
    listed = onnxzoo("predict", "pvt_v2_b0", Path(__file__).parent.parent / "exports/photos/coffee.jpg", "--top-k", 1)
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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["pvt_v2_b0", "--weights", "none.pdparams"], "'none.pdparams' does not exist"),
        (["pvt_v2_b7"], "unknown model 'pvt_v2_b7'; did you mean pvt_v2_b"),
        ([], "Missing argument 'NAME'"),
    ],
)
def test_wrong_usage_exits_with_2(arguments: list[str], message: str) -> None:
    done = onnxzoo("export", *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
