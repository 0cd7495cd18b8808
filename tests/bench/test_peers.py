"""Peers: what is missing is said, weights arrive in the peer's own names, and Paddle's own run for real."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from artifacts import configure, copy_shipped
from timed import SteadyGate

from onnxzoo.bench import run
from onnxzoo.bench.peers import PEERS, peers_of, usable_peers
from onnxzoo.bench.plan import Settings, plan
from onnxzoo.bench.result import Row
from onnxzoo.errors import CheckpointError, InputError, ModelNotFoundError, OnnxzooError
from onnxzoo.families import ModelSpec
from onnxzoo.reference.exact.engine import exact_model
from onnxzoo.registry import find
from onnxzoo.weights.seeded import seeded_state

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.usefixtures("short_samples")
STUB = Path(__file__).parent / "stub_torch"
SHIPPED, OTHER = "pvt_v2_nano_fashion", "swinv2_nano_fashion"
CHECKPOINTS = ROOT / "training" / "checkpoints"


@pytest.fixture
def stub_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch and timm for children of this Python."""
    monkeypatch.setenv("PYTHONPATH", str(STUB))


def measured(*names: str, weights: Path | None = CHECKPOINTS, **options: Any) -> dict[str, Row]:
    """The rows of a model that ships, by contender and engine, with these peers."""
    settings = Settings(engines=("onnxruntime",), samples=1, threads=1, **options)
    planned = plan([SHIPPED], settings)
    with peers_of(planned, names, sys.executable, weights) as peers:
        gate = SteadyGate(0.02)
        (group,) = run.measure(planned, settings, log=lambda text: None, peers=peers, gate=gate)
    return {f"{row.contender} {row.engine}": row for row in group.rows}


def test_a_peer_that_is_not_installed_is_named_with_how_to_install_it() -> None:
    usable, skipped = usable_peers(["torch", "optimum", "torch"], sys.executable)
    assert usable == ()
    assert skipped["torch"] == f"{sys.executable} has no torch, timm; install: pip install torch timm"
    assert skipped["optimum"].endswith("install: pip install 'optimum-onnx[onnxruntime]'")


def test_a_folder_of_that_name_is_not_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("torch", "timm"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").touch()
    monkeypatch.chdir(tmp_path)
    assert usable_peers(["torch"], sys.executable)[0] == ()


def test_peers_of_another_python(stub_torch: None) -> None:
    assert usable_peers(["torch-compile", "torch"], sys.executable) == (("torch-compile", "torch"), {})


@pytest.mark.parametrize(
    ("names", "python", "message"),
    [
        (["tensorflow"], sys.executable, r"'tensorflow' is not a peer \(there are torch, torch-compile, paddle, "),
        (["torch"], "/nowhere/python", "/nowhere/python does not run as a Python interpreter"),
        (["torch"], "/bin/true", "/bin/true does not run as a Python interpreter"),
    ],
)
def test_what_cannot_be_asked_is_refused(names: list[str], python: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        usable_peers(names, python)


@pytest.mark.slow
def test_torch_gets_the_same_weights_in_timms_names_and_is_compiled_on_request(stub_torch: None) -> None:
    rows = measured("torch", "torch-compile", batch_sizes=(2,))
    assert list(rows) == ["onnxruntime onnxruntime", "torch torch", "torch-compile torch"]
    for row in list(rows.values())[1:]:
        assert (row.device, row.precision, row.version) == ("CPU", "fp32", "2.0.stub, timm 1.0.stub")
        assert row.speed is not None
        assert row.limit_share is not None
        assert row.accuracy is None  # it was not measured with this
        # The stub computes something else than the model: the noise beside its speed says so.
        assert row.snr_db is not None
        assert row.snr_db < 10


@pytest.mark.slow
def test_a_peer_that_fails_is_a_row_with_its_reason(stub_torch: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COMPILER", "1")
    rows = measured("torch-compile", "torch")
    failed = rows["torch-compile torch"]
    assert failed.speed is None
    assert failed.error == "torch-compile ended with exit code 1: RuntimeError: no C++ compiler was found"
    assert rows["torch torch"].speed is not None
    assert rows["onnxruntime onnxruntime"].speed is not None


@pytest.mark.slow
def test_a_peer_that_cannot_be_made_is_a_row_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    # optimum is not there: its export ends at the import.
    rows = measured("optimum")
    assert "optimum's export ended with exit code 1: ModuleNotFoundError" in rows["optimum optimum"].error
    assert rows["onnxruntime onnxruntime"].speed is not None


@pytest.mark.slow
def test_time_from_image_files_with_the_peers_own_preprocessing(stub_torch: None, photos: Path) -> None:
    rows = measured("torch", images=tuple(map(str, sorted(photos.iterdir()))), batch_sizes=(3,))
    assert rows["torch torch"].speed is not None


@pytest.mark.parametrize(
    ("weights", "error", "message"),
    [
        (None, ModelNotFoundError, "which are not here .* --weights PATH"),
        (CHECKPOINTS / f"{OTHER}.pdparams", CheckpointError, "the weights are of swinv2, expected pvt_v2"),
        (ROOT / "tests", InputError, f"no checkpoint of {SHIPPED}"),
        (ROOT / "README.md", CheckpointError, "README.md"),
    ],
)
def test_weights_that_are_not_this_models_are_refused_before_anything_runs(
    weights: Path | None, error: type[OnnxzooError], message: str
) -> None:
    with pytest.raises(error, match=message):
        measured("torch", weights=weights)


def test_weights_of_another_architecture_are_refused(tmp_path: Path) -> None:
    save_file = pytest.importorskip("safetensors.numpy").save_file
    entry = find(SHIPPED)
    shapes = exact_model(ModelSpec(entry.architecture, entry.image_size, 10)).shapes
    save_file(seeded_state(shapes, 1), tmp_path / f"{SHIPPED}.safetensors")
    folder = copy_shipped(tmp_path / "other")
    architecture = json.loads((folder / "config.json").read_text(encoding="utf-8"))["architecture"]
    configure(folder, architecture={**architecture, "depths": [9, 9, 9]})
    planned = plan([folder], Settings(engines=("onnxruntime",)))
    with pytest.raises(CheckpointError, match="holds another model"), peers_of(planned, [], sys.executable, tmp_path):
        pass


@pytest.mark.paddle
@pytest.mark.slow
def test_paddle_and_paddle2onnx_run_the_same_weights() -> None:
    pytest.importorskip("paddle2onnx")
    names = ("paddle", "paddle2onnx")
    assert usable_peers(names, sys.executable) == (names, {})
    rows = measured(*names)
    assert list(rows) == ["onnxruntime onnxruntime", "paddle paddle", "paddle2onnx onnxruntime"]
    for row in rows.values():
        assert row.speed is not None
        assert row.snr_db is not None
        assert row.snr_db > 100
        assert row.limit_gflops is not None


def test_every_peer_says_how_to_install_it() -> None:
    assert list(PEERS) == ["torch", "torch-compile", "paddle", "paddle2onnx", "optimum"]
    assert all(peer.needs and peer.install.startswith("pip install ") for peer in PEERS.values())
