"""ONNX Runtime Web, which computes in a site for browsers: found, or downloaded by npm, and verified.

It is not part of this package, as its WebAssembly takes 14 MB, and that for WebGPU 27 MB. One version is accepted, with
which the page was tested.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files as resources
from pathlib import Path, PurePosixPath

from ..errors import ArtifactError, DownloadError, InputError, MissingDependencyError, one_line
from ..files import readable

PACKAGE = "onnxruntime-web"
VERSION = "1.30.0"


@dataclass(frozen=True, slots=True)
class RuntimeFile:
    """A file of the package's folder `dist`. `webgpu`: it is for WebGPU only."""

    name: str
    bytes: int
    sha256: str
    webgpu: bool = False


FILES = (
    RuntimeFile("ort.wasm.min.mjs", 50_126, "219e6a1fc8a9938268d18efca3c91d310bd2f4a59bbd13744df5b2b7fc6cee3b"),
    RuntimeFile(
        "ort-wasm-simd-threaded.mjs", 24_381, "e13f7f94fc51b4ca72b12faeb1ee95f4ace6dfbc8939bc718aabdc0a27c4299b"
    ),
    RuntimeFile(
        "ort-wasm-simd-threaded.wasm", 14_239_897, "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2"
    ),
    RuntimeFile("ort.webgpu.min.mjs", 66_349, "3dffff71811bc13a3a3d9591c57ca5ee5735b8f5f3eaf789510b02bb040ae3a0", True),
    RuntimeFile(
        "ort-wasm-simd-threaded.asyncify.mjs",
        53_057,
        "3d1c85995364bb643302fc6fd877a0c3ba5ae72401815e0f24828a53d9191e28",
        True,
    ),
    RuntimeFile(
        "ort-wasm-simd-threaded.asyncify.wasm",
        26_781_914,
        "39f9f0894d478800487ed9f7dbe92618498db320cf55c8e3d89adff8dce658da",
        True,
    ),
)

LICENSE_FILE = "onnxruntime_web_license.txt"


def runtime_files(place: Path | None, *, download: bool = False, webgpu: bool = True) -> dict[str, bytes]:
    """The verified files of ONNX Runtime Web by name, with its licence.

    `place`: the package's folder, one with it in `node_modules`, or its archive (.tgz) from `npm pack`. `download`: npm
    gets it instead, from the registry that npm is configured for. `webgpu`: with the files for WebGPU.

    Raises InputError if both are given; MissingDependencyError if neither is, or npm is not installed; DownloadError if
    npm fails; ArtifactError for a file that is missing or not that of VERSION.
    """
    if place is not None and download:
        raise InputError("--runtime and --download-runtime exclude each other; give one of them")
    wanted = [file for file in FILES if webgpu or not file.webgpu]
    if place is not None:
        return _verified(place, wanted)
    if not download:
        raise MissingDependencyError(
            f"the site needs {PACKAGE} {VERSION}, which is not part of this package; give its folder with --runtime, "
            "or get it with --download-runtime (by npm)"
        )
    with _packed() as archive:
        return _verified(archive, wanted)


def _verified(place: Path, wanted: list[RuntimeFile]) -> dict[str, bytes]:
    with readable(place, InputError):
        found = _in_folder(place, wanted) if place.is_dir() else _in_archive(place, wanted)
    for file in wanted:
        if file.name not in found:
            raise ArtifactError(
                f"{place} has no {file.name}; expected the folder or the archive of {PACKAGE} {VERSION} "
                f"(npm pack {PACKAGE}@{VERSION})"
            )
        digest = hashlib.sha256(found[file.name]).hexdigest()
        if digest != file.sha256:
            raise ArtifactError(
                f"{file.name} in {place} is not that of {PACKAGE} {VERSION}: its sha256 is {digest}, expected "
                f"{file.sha256}; give that version, or --download-runtime"
            )
    return {**found, "LICENSE.txt": resources(__package__).joinpath(LICENSE_FILE).read_bytes()}


def _in_folder(folder: Path, wanted: list[RuntimeFile]) -> dict[str, bytes]:
    places = (folder, folder / "dist", folder / PACKAGE / "dist", folder / "node_modules" / PACKAGE / "dist")
    found = {}
    for file in wanted:
        path = next((place / file.name for place in places if (place / file.name).is_file()), None)
        if path is not None:
            with path.open("rb") as stream:
                found[file.name] = stream.read(file.bytes + 1)
    return found


def _in_archive(archive: Path, wanted: list[RuntimeFile]) -> dict[str, bytes]:
    by_path = {str(PurePosixPath("package", "dist", file.name)): file for file in wanted}
    found = {}
    try:
        with tarfile.open(archive, "r:gz") as tar:
            for member in tar:
                file = by_path.get(member.name)
                stream = tar.extractfile(member) if file is not None and member.isfile() else None
                if file is not None and stream is not None:
                    found[file.name] = stream.read(file.bytes + 1)
    except (tarfile.TarError, EOFError, OSError, ValueError) as error:
        if isinstance(error, FileNotFoundError | PermissionError):
            raise
        raise ArtifactError(f"{archive} is not a whole archive of npm: {one_line(error)}; get it again") from None
    return found


@contextmanager
def _packed() -> Iterator[Path]:
    """The archive that npm downloads, in a temporary folder."""
    npm = shutil.which("npm")
    if npm is None:
        raise MissingDependencyError(
            f"npm is not installed, which --download-runtime needs; install Node.js, or give {PACKAGE} {VERSION} with "
            "--runtime"
        )
    with tempfile.TemporaryDirectory() as folder:
        command = [npm, "pack", f"{PACKAGE}@{VERSION}", "--ignore-scripts", "--loglevel=error", "--prefer-offline"]
        done = subprocess.run(
            [*command, "--pack-destination", folder],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
        archives = list(Path(folder).glob("*.tgz"))
        if done.returncode or len(archives) != 1:
            reason = one_line(done.stderr.strip() or f"npm ended with {done.returncode}")
            raise DownloadError(
                f"npm could not download {PACKAGE} {VERSION}: {reason}; check the network and npm's registry"
            )
        yield archives[0]
