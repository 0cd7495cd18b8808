"""Writes models and their descriptions into a repository, which may hold other models, without destroying anything.

Every file and version folder is written under a temporary name beside its place, read back, and renamed. What is there
and was not written by this module is never replaced.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ..artifact.folder import CONFORMANCE_FILE, PREPROCESSOR_FILE, Artifact, is_artifact, read_artifact
from ..artifact.writing import write_config
from ..errors import ArtifactError, InputError
from ..files import atomic_folder, atomic_write, readable, writing
from ..hub import require_own
from .chosen import Chosen

MODEL_FILE = "model.onnx"
MARK = "Written by onnxzoo deploy"
"""In the first line of every text file that is written here; files without it are somebody else's."""

WRITTEN, UNCHANGED = "written", "unchanged"
FIX = "check its permissions and the space on its disk"


class Repository:
    """A folder of models for a server, at `folder`, which is created with the first file.

    `link`: hard links to the artifacts' ONNX files instead of copies, which saves space on one file system; whoever
    changes one file in place changes both.
    """

    def __init__(self, folder: Path, *, link: bool = False) -> None:
        """Raises InputError if `folder` is a file, ArtifactError if it belongs to the package or the Hub's cache."""
        with readable(folder, InputError):
            if folder.exists() and not folder.is_dir():
                raise InputError(f"{folder} is a file, expected a folder for the models; choose another --out")
        require_own(folder)
        self.folder = folder
        self._link = link

    def require_outside(self, artifact: Artifact) -> None:
        """Raise InputError if the repository would lie in this artifact's folder."""
        if self.folder.resolve().is_relative_to(artifact.folder.resolve()):
            raise InputError(
                f"{self.folder} is inside the artifact {artifact.folder}, which would then contain itself; choose "
                "another --out"
            )

    def add_version(self, model: Chosen, version: int, place: str = "") -> str:
        """Write version `version` of a model to PLACE/NAME/VERSION; returns WRITTEN or UNCHANGED.

        `place`: a folder of the repository, or "". The ONNX file is verified before it is copied or linked, and
        everything in the new folder after that.

        Raises ArtifactError for a model that is damaged, and for a version that is there and differs; InputError if the
        repository is inside the artifact, or a hard link is not possible.
        """
        self.require_outside(model.source.artifact)
        folder = self.folder / place / model.name / str(version)
        config = _config(model)
        with readable(folder):
            if folder.exists() and any(folder.iterdir()):
                return self._kept(model, folder, config)
        with writing(str(folder), ArtifactError, FIX), atomic_folder(folder) as building:
            self._place(model.source.open(model.precision).path, building / MODEL_FILE)
            for path in config["files"]:
                if path != MODEL_FILE:
                    shutil.copyfile(model.source.artifact.verified(path), building / path)
            write_config(building, config)
            read_artifact(building, model.source.artifact.trust).verify()
        return WRITTEN

    def require_own_model(self, model: Chosen, place: str = "") -> None:
        """Raise ArtifactError if PLACE/NAME holds versions that were not written here, or have other outputs."""
        folder = self.folder / place / model.name
        for other in _versions(folder):
            if not is_artifact(other):
                raise ArtifactError(
                    f"{other} was not written by onnxzoo and stays as it is; choose another --out, or another name: "
                    f"NAME={model.source.artifact.folder}"
                )
            found, wanted = read_artifact(other), model.source.artifact
            if (found.interface, found.id2label) != (wanted.interface, wanted.id2label):
                raise ArtifactError(
                    f"{other} has other classes or another image size than {wanted.folder}: they cannot be versions of "
                    f"one model; give this one another name: NAME={wanted.folder}"
                )

    def require_mark(self, path: str) -> None:
        """Raise ArtifactError if there is a file at `path` whose first line lacks MARK."""
        file = self.folder / path
        with readable(file):
            if file.exists() and MARK.encode() not in _beginning(file):
                raise ArtifactError(f"{file} was not written by onnxzoo and stays as it is; choose another --out")

    def write(self, path: str, data: bytes, check: Callable[[bytes], object] = bytes) -> None:
        """Write a file of the repository in one step. `check`: called with the bytes read back, may refuse them.

        Raises ArtifactError if it cannot be written.
        """
        file = self.folder / path
        with writing(str(file), ArtifactError, FIX), atomic_write(file) as stream:
            stream.write(data)
            stream.flush()
            stream.seek(0)
            if (back := stream.read()) != data:
                raise ArtifactError(f"{file} reads back as {len(back)} other bytes than the {len(data)} written; {FIX}")
            check(back)

    def _place(self, source: Path, target: Path) -> None:
        if not self._link:
            shutil.copyfile(source, target)
            return
        try:
            os.link(source.resolve(), target)
        except OSError as error:
            raise InputError(
                f"{source} cannot be linked into {self.folder}: {error.strerror}; leave out --link, which needs one "
                "file system for both"
            ) from error

    def _kept(self, model: Chosen, folder: Path, config: Mapping[str, Any]) -> str:
        """UNCHANGED if the folder is this very model; raises ArtifactError otherwise."""
        if is_artifact(folder):
            there = read_artifact(folder, model.source.artifact.trust)
            if there.config == config:
                there.verify()
                return UNCHANGED
        newest = max((int(one.name) for one in _versions(folder.parent)), default=0)
        raise ArtifactError(
            f"{folder} holds something else and stays as it is; deploy this model as --version {newest + 1}, or under "
            f"another name: NAME={model.source.artifact.folder}"
        )


def _config(model: Chosen) -> dict[str, Any]:
    """The config.json of a version's folder: the artifact's, with the files of this folder."""
    config = model.source.artifact.config
    announced: Mapping[str, Any] = config["files"]
    precision_file = model.source.artifact.required_model(model.precision).path
    files = {MODEL_FILE: announced[precision_file]}
    files |= {path: announced[path] for path in (PREPROCESSOR_FILE, CONFORMANCE_FILE) if path in announced}
    return {**config, "files": files}


def _versions(folder: Path) -> Iterator[Path]:
    """The version folders of a model, as Triton and OpenVINO Model Server see them."""
    with readable(folder):
        if folder.is_dir():
            yield from (one for one in folder.iterdir() if one.name.isdecimal() and one.is_dir())


def _beginning(file: Path) -> bytes:
    with file.open("rb") as stream:
        return stream.readline(4 * 2**10)
