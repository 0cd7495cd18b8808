"""What TensorRT and TensorRT-RTX share: engines, compiled for a range of batch sizes, that are kept in the cache."""

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
    """An engine whose session came from the cache of compiled models, or was built into it."""

    def __init__(self, session: Session, info: EngineInfo, *, place: Place, built: Built | None) -> None:
        """`place`: of what was compiled. `built`: what is in the cache now; None where nothing could be kept."""
        super().__init__(session, info, max_batch=place.largest, cache_key=place.entry.key)
        self._built = built

    def warm(self) -> Sequence[Built]:
        """The compiled model for batches of 1 to `max_batch`, which opening the session built or found.

        Raises InputError when it could not be kept.
        """
        if self._built is None:
            raise InputError(f"the compiled model could not be kept in the cache folder; set {CACHE_VARIABLE} to yours")
        return (self._built,)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a compiled engine for batches of 1 to `largest` is in the cache, or is to be."""

    entry: Entry
    largest: int

    def session(
        self, options: EngineOptions, build: Callable[[Path | None], Session], load: Callable[[Path], Session]
    ) -> tuple[Session, Built | None]:
        """The session that `load` or `build` opens (see `compiled`), and what is kept of it. A loaded one is run once.

        Without `options.build`, the cache is read and nothing in it is changed. Raises NotBuiltError when there is no
        whole entry then.
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
            # Not in `load`: a GPU that is out of memory for a moment is no fault of what is on disk.
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
    """What `auto` says where it would have to build an engine."""
    return (
        f"no {engine} engine was built for this model, GPU and batch size; build it ahead: "
        f"onnxzoo warmup MODEL --engine {engine} --batch-size {largest}"
    )


def place_of(
    options: EngineOptions, engine: str, model: ModelFile, key: Callable[[int], Mapping[str, KeyValue]]
) -> Place:
    """The place of the compiled engine for `options.largest_batch`.

    Without `options.build`, where there is none, it is the one of the next larger batch that was built: that serves
    smaller batches as well. `key`: the cache key by the largest batch.
    """
    sha256 = model.digest()

    def entry(largest: int) -> Entry:
        return entry_for(options.cache_folder, engine, sha256, key(largest))

    wanted = options.largest_batch
    if not options.build and not entry(wanted).exists():
        profiles = [kept.get("profile") for kept in kept_keys(options.cache_folder, engine, sha256)]
        ends = {ends[-1] for ends in profiles if isinstance(ends, list) and ends and type(ends[-1]) is int}
        # Where anything else in the key differs, the entry does not exist.
        for largest in sorted(end for end in ends if end > wanted):
            if entry(largest).exists():
                return Place(entry(largest), largest)
    return Place(entry(wanted), wanted)


def cache_key(
    found: nvidia.Gpu, library: str, cuda_major: int, module: ModuleType, precision: str, largest: int
) -> dict[str, KeyValue]:
    """All that a compiled engine depends on besides its model.

    The providers name the files in their cache after the model's file, the versions of ONNX Runtime, TensorRT and
    CUDA's runtime library, and the GPU; what they do not find under its name they build. Sessions are opened without
    a file name (`open_session`, `nameless`), the rest is here.
    """
    return {
        **gpu_key(found, library, cuda_major, module, precision),
        "profile": [1, largest, largest],
    }


def profile(prefix: str, inputs: Mapping[str, TensorSpec], largest: int) -> dict[str, str]:
    """Shapes of the inputs for the smallest, the best and the largest batch, as TensorRT's providers take them.

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
    """The profile settings, read from the cache entry where they were kept, else made from the model and kept there."""
    file = None if folder is None else folder / PROFILE_FILE
    if file is not None and file.is_file():
        try:
            kept = parse_json(file.read_bytes())
        except (OSError, ValueError) as error:
            raise EngineError(f"{file} cannot be read: {one_line(error)}") from None
        if not isinstance(kept, dict) or not all(isinstance(value, str) for value in kept.values()):
            raise EngineError(f"{file} cannot be read: expected an object of texts; remove it")
        return kept
    # The inputs' names and shapes are wanted and nothing else: no optimisation, one thread.
    chosen = session_options(module, EngineOptions(threads=1))
    chosen.graph_optimization_level = module.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = open_session(module, model, chosen, CPU_PROVIDER, engine=engine)
    made = profile(prefix, session.inputs, largest)
    session.close()
    if file is not None:
        file.write_text(json.dumps(made, indent=2), encoding="utf-8")
    return made
