"""Loading a model: its source, found once, the engine that runs it, and the `Model` of both."""

from __future__ import annotations

import os
from pathlib import Path

from . import registry
from .artifact.folder import MODEL_FILES, Artifact
from .artifact.onnx_checks import KNOWN
from .engines import AUTO, EXACT, PADDLE, REFERENCES, EngineOptions, create_engine, require_possible
from .engines.options import Hint
from .engines.protocol import Engine
from .errors import CheckpointError, InputError
from .first_use import REFERENCE, FirstUse
from .image_memory import max_pixels as pixel_limit
from .model import Model
from .precisions import FP32
from .source import Source, resolve


def load(
    model: str | os.PathLike[str],
    *,
    engine: str = AUTO,
    precision: str = FP32,
    weights: str | os.PathLike[str] | None = None,
    revision: str | None = None,
    offline: bool | None = None,
    threads: int | None = None,
    batch_size: int | None = None,
    hint: Hint = "latency",
    strict: bool = False,
    max_pixels: int | None = None,
    trust: str = KNOWN,
    verify: bool = True,
) -> Model:
    """Load a model by registry name, alias, Hub repo (`USER/NAME`, `USER/NAME@REVISION`), or artifact folder.

    A name is looked up among the models that ship with the package, then in the cache folder. If it is in neither, the
    model is assembled there, once, from its official weights, which come from the Hub, and compared with the exact
    reference (`onnxzoo.official`); with ONNXZOO_NAMESPACE it is that user's repo instead. The Hub is only asked for
    files that its cache lacks. `revision`: a branch, tag or commit of the Hub repo. `offline`: True makes no request,
    None follows HF_HUB_OFFLINE. `onnxzoo.source.resolve` documents both.

    `engine`: `auto` takes the first engine that works here, and `Model.engine.reason` says why; a named one is used or
    the call fails: `openvino`, `openvino:GPU`, `onnxruntime`, `cuda`, `tensorrt` ... `precision`: `fp32` is exact;
    `auto` is the fastest that the engine and the artifact's files offer. `threads`: CPU threads, by default as many as
    affinity, CPU quota and OMP_NUM_THREADS allow (`onnxzoo.cpu.engine_threads`). `batch_size`: the largest batch
    expected, and the batch size for lists (default BATCH_SIZE); larger batches are split. `hint`: `latency` for single
    images, `throughput` for batches. `strict`: refuse an engine that would run a part of the model on the CPU when a
    GPU was requested.
    `max_pixels`: the largest RGB image that is decoded, in pixels, by default ONNXZOO_MAX_PIXELS or
    `onnxzoo.image.MAX_PIXELS`; the limit is lower for formats that take more memory per pixel.
    The ONNX file's SHA-256 is checked before anything reads it. `trust`: `known` accepts only graphs of bounded size
    with the operators of onnxzoo's own artifacts; `any` accepts whatever the engine runs, which can keep the machine
    busy forever or exhaust its memory, so use it only for files whose author you trust.

    Before an engine runs a model on this machine for the first time, its outputs for a few inputs are compared with
    recorded ones (`onnxzoo.first_use`); if they differ, it is refused, and `auto` tries the next engine.
    `Model.engine.verification` has the figures. `verify`: False skips this.

    The engines `paddle` (fp32) and `exact` (NumPy, float64, a second or more per image) run the reference itself:
    labels and preprocessing come from the artifact, the numbers from the checkpoint `weights`. The default is the file
    that the artifact was assembled from, or for an exported one the registry's checkpoint, which must be the file that
    it was made from; either is downloaded if necessary.

    Raises UnknownModelError, ModelNotFoundError, ArtifactError, EngineUnavailableError (WrongResultsError for an engine
    with wrong results), EngineError; InputError for
    another `trust`, an unknown engine, a precision that the engine or the artifact does not provide, or `weights` with
    another engine than `paddle` and `exact`;
    for these two also MissingDependencyError, CheckpointError when the checkpoint is not this model's, and
    DownloadError; for models that come from the Hub also HubError.
    """
    options = EngineOptions(precision, threads, batch_size, strict, hint)
    pixel_limit(max_pixels)
    if engine in REFERENCES:
        if precision != FP32:
            only = FP32 if engine == PADDLE else "fp64"
            raise InputError(f"the engine {engine!r} computes in {only} only, got precision {precision!r}")
        artifact = resolve(model, revision=revision, offline=offline, precision=None).artifact
        reference, sha256 = _reference(engine, artifact, None if weights is None else Path(weights), offline)
        return Model(
            artifact,
            reference,
            batch_size=options.largest_batch,
            max_pixels=max_pixels,
            verification=REFERENCE,
            sha256=sha256,
        )
    if weights is not None:
        raise InputError(
            f"weights are for the engine {PADDLE!r} or {EXACT!r}, which runs the checkpoint; {engine!r} runs the "
            f"artifact's ONNX file; leave them out, or export them: onnxzoo export NAME --weights {weights}"
        )
    source = source_for(model, engine, options, revision=revision, offline=offline, trust=trust)
    first_use = FirstUse(source.artifact, source.vectors, options, verify=verify)
    running = create_engine(engine, source.model_files(precision), options, check=first_use)
    return Model(
        source.artifact,
        running,
        batch_size=options.largest_batch,
        max_pixels=max_pixels,
        verification=first_use.verification,
        sha256=first_use.sha256,
    )


def source_for(
    model: str | os.PathLike[str],
    engine: str,
    options: EngineOptions,
    *,
    revision: str | None = None,
    offline: bool | None = None,
    trust: str = KNOWN,
) -> Source:
    """The model's source for this engine. Invalid requests are refused before the model is looked up.

    For a Hub model the file of the requested precision is downloaded; with `auto` and bf16 the engine chooses, and a
    file is downloaded when it is opened. Raises as `load` does, except for the engine itself.
    """
    require_possible(engine, options)
    first = options.precision if options.precision in MODEL_FILES else None
    return resolve(model, revision=revision, offline=offline, precision=first, trust=trust)


def _reference(engine: str, artifact: Artifact, weights: Path | None, offline: bool | None) -> tuple[Engine, str]:
    """The reference model as an engine, with a checkpoint that is verified to be this artifact's, and its SHA-256."""
    from .official import weights_of
    from .weights.checkpoint import read_checkpoint, spec_of

    if engine == PADDLE:
        from .reference.paddle.importing import require_paddle

        require_paddle()  # before anything is downloaded for it
    entry = registry.find(artifact.name)
    checkpoint = read_checkpoint(weights_of(artifact, offline=offline) if weights is None else weights, entry)
    origin = artifact.source.get("sha256")
    # A file that the user names may hold the same weights in another format; the registry's is only our guess.
    if weights is None and checkpoint.sha256 != origin:
        raise CheckpointError(
            f"{artifact.folder} was not made from the registry's checkpoint {checkpoint.path}: expected sha256 "
            f"{origin}, got {checkpoint.sha256}; name the checkpoint that it was made from (weights=, or --weights)"
        )
    spec = spec_of(artifact, checkpoint)
    with checkpoint.named():
        if engine == PADDLE:
            from .reference.paddle.engine import PaddleEngine

            return PaddleEngine.open(spec, checkpoint.state), checkpoint.sha256
        from .reference.exact.engine import ExactEngine

        return ExactEngine.open(spec, checkpoint.state), checkpoint.sha256
