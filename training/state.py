"""The state needed to resume a training run exactly, in one file that is replaced atomically."""

from __future__ import annotations

import io
import json
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import TrainingError
from ..results import Array
from .writing import written

STATE_FILE, BEST_FILE, LAST_FILE = "state.npz", "best.pdparams", "last.pdparams"


@dataclass(frozen=True, slots=True)
class Position:
    """The progress of a training.

    `epoch` from 0 and `step` within it: the next step; after the epoch's last step its validation is next.
    `loss_sum`, `correct`, `images`: of the steps of this epoch so far. `best_top1`: best validation accuracy so far,
    in [0, 1]; -1 before the first. `best_epoch`: its epoch, from 0.
    """

    epoch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    correct: int = 0
    images: int = 0
    best_top1: float = -1.0
    best_epoch: int = -1


@dataclass(frozen=True)
class TrainingState:
    """Everything beyond the data: `weights` and `ema` by parameter name, `optimizer` by parameter name and role.

    `identity` contains what must not change between the runs of one training: recipe, model, data, classes.
    Random numbers need no entry, as they are functions of seed, epoch and step (see `streams`).
    """

    position: Position
    identity: Mapping[str, Any]
    weights: Mapping[str, Array]
    ema: Mapping[str, Array]
    optimizer: Mapping[str, Array]


def save_state(file: Path, state: TrainingState) -> None:
    """Replace `file` atomically. Raises TrainingError if it cannot be written; the earlier file is then kept."""
    meta = json.dumps({"position": asdict(state.position), "identity": dict(state.identity)}, allow_nan=False)
    arrays = {
        f"{kind}/{name}": array
        for kind, group in (("weights", state.weights), ("ema", state.ema), ("optimizer", state.optimizer))
        for name, array in group.items()
    }
    with written(file) as stream:
        np.savez(stream, allow_pickle=False, meta=np.array(meta), **arrays)


# The errors that numpy, zipfile and Python's parser, which numpy uses for headers, raise for a damaged file.
DAMAGE = (
    OSError, ValueError, LookupError, TypeError, EOFError, RuntimeError, SyntaxError, SystemError, MemoryError,
    OverflowError, struct.error, tokenize.TokenError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip


def load_state_file(file: Path) -> TrainingState:
    """Read a file of `save_state`; raises TrainingError if it is missing or damaged."""
    groups: dict[str, dict[str, Array]] = {"weights": {}, "ema": {}, "optimizer": {}}
    try:
        with np.load(file, allow_pickle=False) as archive:
            meta = json.loads(str(archive["meta"]))
            for key in archive.files:
                kind, _, name = key.partition("/")
                if kind in groups:
                    groups[kind][name] = archive[key]
        return TrainingState(Position(**meta["position"]), meta["identity"], **groups)
    except FileNotFoundError:
        raise TrainingError(f"there is no {file} to resume from; start without --resume") from None
    except DAMAGE as error:
        raise TrainingError(
            f"{file} cannot be read: {error}; to start again, remove it or give another --out"
        ) from None


def require_same(saved: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raise TrainingError, which lists every difference between the saved training and this one."""
    plain = json.loads(json.dumps(dict(now)))
    differences = [f"{key} was {saved.get(key)!r}, now {plain.get(key)!r}" for key in _differing(saved, plain)]
    if differences:
        raise TrainingError(
            f"these options differ from those of the training run to resume: {'; '.join(differences)}; "
            "give the same options, or start a new run with another --out"
        )


def save_weights(file: Path, weights: Mapping[str, Array]) -> None:
    """Write weights as `paddle.save(model.state_dict(), ...)` does, atomically; equal weights produce equal bytes."""
    import paddle

    tensors = {name: paddle.to_tensor(array) for name, array in weights.items()}
    for name, tensor in tensors.items():
        tensor.name = name  # Paddle would write its running numbers
    buffer = io.BytesIO()
    paddle.save(tensors, buffer)
    with written(file) as stream:
        stream.write(buffer.getvalue())


def _differing(saved: Mapping[str, Any], now: Mapping[str, Any]) -> Iterable[str]:
    return (key for key in sorted({*saved, *now}) if saved.get(key) != now.get(key))
