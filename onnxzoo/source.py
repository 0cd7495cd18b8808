"""Where a model comes from: a name is resolved once into an artifact whose files are verified when they are opened.

Everything that runs, checks or lists a model starts here and passes the `Source` on, so no name is looked up twice.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from .artifact.folder import CONFORMANCE_FILE, Artifact, is_artifact, read_artifact
from .artifact.onnx_checks import KNOWN, require_trust
from .errors import InputError, ModelNotFoundError
from .files import models_dir, readable
from .hub import lookup
from .hub.names import export_hint
from .precisions import AUTO_PRECISION, FP32
from .registry import ModelEntry

if TYPE_CHECKING:
    from .artifact.vectors import Vectors
    from .engines.protocol import ModelFile, ModelFiles
    from .hub.snapshot import Snapshot

SHIPPED, EXPORTED, ASSEMBLED, HUB, FOLDER = "shipped", "exported", "assembled", "hub", "folder"


@dataclass(frozen=True, slots=True)
class Source:
    """A resolved model: its artifact, the artifact's origin, and its ONNX files.

    `kind`: SHIPPED with the package, EXPORTED or ASSEMBLED into the cache folder, from the HUB, or a FOLDER that the
    user named.
    `snapshot`: for a Hub repo, the resolved commit; all files come from it.
    """

    artifact: Artifact
    kind: str
    snapshot: Snapshot | None = None
    _opened: dict[str, ModelFile] = field(default_factory=dict, repr=False, compare=False)

    @property
    def origin(self) -> str:
        """Where the artifact is from, for display: USER/NAME of a Hub repo, or the kind of a folder."""
        return self.kind if self.snapshot is None else self.snapshot.name.repo_id

    @property
    def commit(self) -> str | None:
        """The commit of a Hub repo; None for a folder."""
        return None if self.snapshot is None else self.snapshot.commit

    @property
    def here(self) -> tuple[str, ...]:
        """The precisions whose ONNX files are on this machine; the files are not verified."""
        artifact = self.artifact
        with readable(artifact.folder):
            return tuple(
                one for one in artifact.precisions if (artifact.folder / artifact.required_model(one).path).exists()
            )

    def open(self, precision: str = FP32) -> ModelFile:
        """The verified ONNX file of this precision; a file is verified only once, however often it is opened.

        A missing or damaged file of a Hub model is downloaded now, from the commit that was resolved first.
        Raises InputError when the artifact has no such precision, ArtifactError as `Artifact.model_file` does, and
        for a Hub model what `Snapshot.bring` raises.
        """
        from .engines.protocol import ModelFile  # imports numpy, which listing models does not need

        if precision not in self._opened:
            announced = self.artifact.required_model(precision)
            if self.snapshot is None:
                path = self.artifact.model_file(precision)
            else:
                path = self.artifact.checked_graph(self.snapshot.bring(announced))
            self._opened[precision] = ModelFile(path, announced.sha256, precision, announced.weights_bits)
        return self._opened[precision]

    def vectors(self) -> Vectors:
        """The verified conformance vectors; those of a Hub model are downloaded now, if they are not here.

        Raises ArtifactError if they are damaged, ModelNotFoundError if they are not here and requests are forbidden,
        HubError if the Hub refuses or cannot be reached.
        """
        from .artifact.vectors import read_vectors  # imports numpy

        announced = self.artifact.files.get(CONFORMANCE_FILE)
        if announced is None:
            raise ModelNotFoundError(f"{self.artifact.config_file} lists no {CONFORMANCE_FILE}")
        if self.snapshot is not None:
            return read_vectors(self.artifact, self.snapshot.bring(announced))
        with readable(self.artifact.folder):
            if not (self.artifact.folder / CONFORMANCE_FILE).exists():
                raise ModelNotFoundError(f"{self.artifact.folder / CONFORMANCE_FILE} is missing; make the model again")
        return read_vectors(self.artifact)

    def model_files(self, precision: str) -> ModelFiles:
        """The ONNX files that an engine can choose from to compute in `precision`.

        Offline, `auto` chooses among the files on this machine.
        """
        from .engines.protocol import ModelFiles

        precisions = self.artifact.precisions
        if precision == AUTO_PRECISION and self.snapshot is not None and self.snapshot.offline:
            precisions = self.here or precisions  # if there are none, the error says how to get them
        proved = {one: {record.engine for record in self.artifact.validated(one)} for one in precisions}
        return ModelFiles(precisions, self.open, proved)


def resolve(
    model: str | os.PathLike[str],
    *,
    revision: str | None = None,
    offline: bool | None = None,
    precision: str | None = FP32,
    files: Sequence[str] | None = (),
    trust: str = KNOWN,
    make: bool = True,
) -> Source:
    """Find a model by its registry name, an alias, `USER/NAME[@REVISION]` on the Hub, or the path of its folder.

    `revision` pins a branch, a tag or a commit of a Hub repo. `offline`: True makes no request, None follows
    HF_HUB_OFFLINE. `precision`, `files`: which files of a Hub repo are needed, see `onnxzoo.hub.snapshot.take`; the
    ONNX file of another precision is downloaded when it is opened. `trust`: which graphs are accepted, as in `load`.
    `make`: whether a model of the registry that is not here may be assembled from its official weights, which takes
    seconds to a minute (`onnxzoo.official`).

    Raises UnknownModelError for a plain name that is not a model, ModelNotFoundError for a model that is not found
    (offline: not on this machine) or a path that does not exist, ArtifactError for a path that is not an artifact and
    for a file from the Hub that is still wrong after a second download, HubError when the Hub refuses or cannot be
    reached, InputError for a malformed argument.
    """
    require_trust(trust)
    try:
        place = lookup.locate(model, revision)
        if isinstance(place, ModelEntry) and not make:
            raise ModelNotFoundError(f"{place.name} is not on this machine; get it: onnxzoo download {place.name}")
        return source_at(place, offline=offline, precision=precision, files=files, trust=trust)
    except ModelNotFoundError as error:
        if not isinstance(model, str) or "/" in model or not is_artifact(Path(model)):
            raise
        raise ModelNotFoundError(f"{error}; to use the local folder {model}, write ./{model}") from None


def source_at(
    place: lookup.Place,
    *,
    offline: bool | None = None,
    precision: str | None = FP32,
    files: Sequence[str] | None = (),
    trust: str = KNOWN,
) -> Source:
    """The model at a place returned by `onnxzoo.hub.locate`; see `resolve`."""
    allowed = require_trust(trust)
    if isinstance(place, ModelEntry):
        if precision not in (None, FP32):
            raise InputError(
                f"{place.name} is not on this machine, and what is assembled from official weights is in {FP32}; got "
                f"precision {precision!r}: {export_hint(place.name)}, then convert it"
            )
        from .official import official_artifact  # imports numpy

        place = official_artifact(place, offline=offline)
    if isinstance(place, Path):
        artifact = read_artifact(place, allowed)
        return Source(artifact, _kind(artifact))
    from .hub.snapshot import take  # imports huggingface_hub

    taken = take(place, offline=offline, precision=precision, files=files)
    return Source(dataclasses.replace(taken.artifact, trust=allowed), HUB, taken)


def _kind(artifact: Artifact) -> str:
    folder = artifact.folder
    if folder.parent == lookup.SHIPPED_DIR:
        return SHIPPED
    with contextlib.suppress(InputError):  # a folder that the user names needs no cache folder
        if folder.parent == models_dir():
            return ASSEMBLED if artifact.assembled else EXPORTED
    return FOLDER
