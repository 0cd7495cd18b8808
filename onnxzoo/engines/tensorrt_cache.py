"""The common part of TensorRT and TensorRT-RTX: engines for a range of batch sizes, kept in the cache."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from ..errors import EngineError, EngineUnavailableError, InputError, one_line
from ..files import CACHE_VARIABLE, KeyValue
from ..results import EngineInfo
from ..strict_json import parse_json
from . import nvidia
from .compiled_models import Entry, compiled, entry_for, kept_keys
from .onnxruntime_cuda import gpu_key
from .onnxruntime_engine import SessionEngine
from .onnxruntime_library import session_options
from .onnxruntime_session import CPU_PROVIDER, Session, open_session
from .options import EngineOptions
from .protocol import Built, ModelFile, NotBuiltError, TensorSpec

PROFILE_FILE = "profile.json"
SEPARATORS = {"trt_profile": ",", "nv_profile": ";"}


class KeptEngine(SessionEngine):
    """An engine whose session was loaded from the cache of compiled models, or built and saved there."""

    def __init__(self, session: Session, info: EngineInfo, *, place: Place, built: Built | None) -> None:
        """`place`: the place in the cache. `built`: the compiled model in the cache; None if it could not be saved."""
        super().__init__(session, info, max_batch=place.largest, cache_key=place.entry.key)
        self._built = built

    def warm(self) -> Sequence[Built]:
        """The compiled model for batches of 1 to `max_batch`, which was built or found when the session was opened.

        Raises InputError if it could not be saved.
        """
        if self._built is None:
            raise InputError(f"the compiled model could not be kept in the cache folder; set {CACHE_VARIABLE} to yours")
        return (self._built,)


@dataclass(frozen=True, slots=True)
class Place:
    """The place of a compiled engine for batches of 1 to `largest` in the cache; it need not exist."""

    entry: Entry
    largest: int

    def session(
        self, options: EngineOptions, build: Callable[[Path | None], Session], load: Callable[[Path], Session]
    ) -> tuple[Session, Built | None]:
        """The session from `load` or `build` (see `compiled`), and its compiled model. A loaded session is run once.

        Without `options.build`, the cache is only read. Raises NotBuiltError if it then has no complete entry.
        """
        started = time.monotonic()
        loaded: set[Session] = set()

        def noted(folder: Path) -> Session:
            session = load(folder)
            loaded.add(session)
            return session

        if options.build:
            session = compiled(self.entry, options, build=build, load=noted, close=Session.close)
        else:
            self._require_whole(options)
            session = noted(self.entry.folder)
        if session in loaded:
            # This is not done in `load`, as a GPU that is temporarily out of memory does not mean a damaged entry.
            session.probe(1)
        if not self.entry.exists():
            return session, None
        seconds = time.monotonic() - started
        return session, Built(self.largest, self.entry.folder, seconds, found=session in loaded)

    def _require_whole(self, options: EngineOptions) -> None:
        fault = self.entry.fault()
        if fault is not None:
            damaged = f"the compiled model in {self.entry.folder} is damaged ({fault}), and " if fault else ""
            what = not_built(str(self.entry.key["engine"]), options.largest_batch)
            raise (EngineUnavailableError if fault else NotBuiltError)(f"{damaged}{what}")


def not_built(engine: str, largest: int) -> str:
    """The message of `auto` about an engine that would have to be built."""
    return (
        f"no {engine} engine was built for this model, GPU and batch size; build it ahead: "
        f"onnxzoo warmup MODEL --engine {engine} --batch-size {largest}"
    )


def place_of(
    options: EngineOptions, engine: str, model: ModelFile, key: Callable[[int], Mapping[str, KeyValue]]
) -> Place:
    """The place of the compiled engine for `options.largest_batch`.

    Without `options.build`, if it does not exist, it is the place of the built engine with the next larger batch, which
    also runs smaller batches. `key`: the cache key for the largest batch.
    """
    sha256 = model.digest()

    def entry(largest: int) -> Entry:
        return entry_for(options.cache_folder, engine, sha256, key(largest))

    wanted = options.largest_batch
    if not options.build and not entry(wanted).exists():
        profiles = [kept.get("profile") for kept in kept_keys(options.cache_folder, engine, sha256)]
        ends = {ends[-1] for ends in profiles if isinstance(ends, list) and ends and type(ends[-1]) is int}
        # If anything else in the key differs, the entry does not exist.
        for largest in sorted(end for end in ends if end > wanted):
            if entry(largest).exists():
                return Place(entry(largest), largest)
    return Place(entry(wanted), wanted)


def cache_key(
    found: nvidia.Gpu, library: str, cuda_major: int, module: ModuleType, precision: str, largest: int
) -> dict[str, KeyValue]:
    """Everything except its model on which a compiled engine depends.

    The providers name the files in their cache after the model's file, the versions of ONNX Runtime, TensorRT and the
    CUDA runtime library, and the GPU, and they build what they do not find under that name. Sessions are opened without
    a file name (`open_session`, `nameless`); the other parts are in this key.
    """
    return {
        **gpu_key(found, library, cuda_major, module, precision),
        "profile": [1, largest, largest],
    }


def profile(prefix: str, inputs: Mapping[str, TensorSpec], largest: int) -> dict[str, str]:
    """Shapes of the inputs for the smallest, the optimal and the largest batch, in the form of TensorRT's providers.

    Several inputs are separated by commas for TensorRT, by semicolons for TensorRT-RTX (the header in its package).
    """
    texts, separator = {}, SEPARATORS[prefix]
    for what, batch in (("min", 1), ("opt", largest), ("max", largest)):
        shapes = [
            f"{name}:{'x'.join(str(side) for side in (batch, *(side or 1 for side in spec.shape[1:])))}"
            for name, spec in inputs.items()
        ]
        texts[f"{prefix}_{what}_shapes"] = separator.join(shapes)
    return texts


def kept_profile(
    folder: Path | None, engine: str, prefix: str, module: ModuleType, model: ModelFile, largest: int
) -> dict[str, str]:
    """The profile settings, read from the cache entry if they were saved, else made from the model and saved."""
    file = None if folder is None else folder / PROFILE_FILE
    if file is not None and file.is_file():
        try:
            kept = parse_json(file.read_bytes())
        except (OSError, ValueError) as error:
            raise EngineError(f"{file} cannot be read: {one_line(error)}") from None
        if not isinstance(kept, dict) or not all(isinstance(value, str) for value in kept.values()):
            raise EngineError(f"{file} cannot be read: expected an object of texts; remove it")
        return kept
    # Only the inputs' names and shapes are needed, so there is no optimisation and one thread.
    chosen = session_options(module, EngineOptions(threads=1))
    chosen.graph_optimization_level = module.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = open_session(module, model, chosen, CPU_PROVIDER, engine=engine)
    made = profile(prefix, session.inputs, largest)
    session.close()
    if file is not None:
        file.write_text(json.dumps(made, indent=2), encoding="utf-8")
    return made
