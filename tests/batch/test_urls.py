"""Images at URLs: the same as in a local folder, and URLs that cannot be read."""

from __future__ import annotations

import io
import sys
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fsspec
import pytest
from found_images import BLUE, GREEN, RED, colours, photo
from fsspec.implementations.memory import MemoryFileSystem

from onnxzoo.batch.places import is_url
from onnxzoo.batch.sources import open_source
from onnxzoo.errors import DownloadError, ImageError, InputError, MissingDependencyError
from onnxzoo.image import LazyImage, load_rgb

FILES = {
    "b/red.png": photo("red"),
    "b/deep/blue.png": photo("blue"),
    "b/deep/notes.txt": b"x",
    "b/.hidden/red.png": photo("red"),
    "b/a green.PNG": photo("green"),
}


@pytest.fixture
def memory() -> Iterator[Any]:
    """The file system of `memory://` with some files."""
    files = fsspec.filesystem("memory")
    files.store.clear()
    files.pseudo_dirs[:] = [""]
    for name, content in FILES.items():
        files.pipe(f"/{name}", content)
    yield files
    files.store.clear()
    files.pseudo_dirs[:] = [""]


def found(*arguments: str, **options: Any) -> dict[str, object]:
    entries = list(open_source(arguments, **options))
    return dict(zip([entry.path for entry in entries], colours(entries), strict=True))


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("memory://b", {"memory://b/a green.PNG": GREEN, "memory://b/red.png": RED, "memory://b/deep/blue.png": BLUE}),
        ("memory://b/deep/", {"memory://b/deep/blue.png": BLUE}),
        ("memory:///b/deep", {"memory:///b/deep/blue.png": BLUE}),
        ("memory://b/red.png", {"memory://b/red.png": RED}),
        ("memory://b/*.png", {"memory://b/red.png": RED}),
        ("memory://b/**/*.png", {"memory://b/deep/blue.png": BLUE, "memory://b/red.png": RED}),
        ("memory://b/*/b?ue.png", {"memory://b/deep/blue.png": BLUE}),
    ],
)
def test_objects_folders_and_patterns(memory, url, expected):
    got = found(url)
    assert got == found(url) == expected
    assert list(got) == list(expected)
    assert open_source([url]).count() == len(expected)


def test_a_folder_at_a_url_is_read_as_a_local_folder_is(tmp_path, monkeypatch):
    for name, content in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    monkeypatch.chdir(tmp_path)
    here, there = open_source(["b"]), open_source([f"file://{tmp_path}/b"])
    assert [f"file://{tmp_path}/{entry.path}" for entry in here] == [entry.path for entry in there]
    assert colours(here) == colours(there)
    assert str(here.skipped).replace("(b/", f"(file://{tmp_path}/b/").replace("3 files", "2 files") == str(
        there.skipped
    )


@pytest.mark.parametrize("name", ["x.zip", "x.tar", "x.tar.gz"])
def test_archives_at_a_url(memory, name):
    stream = io.BytesIO()
    if name == "x.zip":
        with zipfile.ZipFile(stream, "w") as archive:
            for member, content in FILES.items():
                archive.writestr(member, content)
    else:
        with tarfile.open(fileobj=stream, mode="w:gz" if name.endswith("gz") else "w") as tar:
            for member, content in FILES.items():
                info = tarfile.TarInfo(member)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    memory.pipe(f"/{name}", stream.getvalue())
    expected = {f"memory://{name}::b/red.png": RED, f"memory://{name}::b/deep/blue.png": BLUE}
    expected[f"memory://{name}::b/a green.PNG"] = GREEN
    assert found(f"memory://{name}") == found(f"memory://{name[:1]}*{name[1:]}") == expected
    before = open_source([f"memory://{name}"]).identity()
    memory.pipe(f"/{name}", stream.getvalue()[: len(stream.getvalue()) // 2])
    assert open_source([f"memory://{name}"]).identity() != before
    assert "the archive memory://" in str(list(found(f"memory://{name}").values())[-1])


def test_urls_in_a_list_and_a_list_at_a_url(memory, tmp_path):
    (tmp_path / "t.csv").write_text("url\nmemory://b/red.png\nmemory://none.png\nfoo://x\n")
    red, missing, unknown = found(str(tmp_path / "t.csv")).values()
    assert red == RED
    assert "memory://none.png does not exist; check" in str(missing)
    assert "foo://x is not a URL that can be read: Protocol not known: foo" in str(unknown)
    memory.pipe("/b/list.txt", b"red.png\nmemory://b/deep/blue.png\n")
    assert found("memory://b/list.txt") == {"memory://b/red.png": RED, "memory://b/deep/blue.png": BLUE}
    with pytest.raises(InputError, match=r"the list memory://none.txt does not exist; check"):
        open_source(["memory://none.txt"])


def test_an_object_that_does_not_exist_or_a_folder_without_images(memory):
    assert found("memory://none.png", "memory://b/red.png") == {
        "memory://none.png": "memory://none.png does not exist; check the URL",
        "memory://b/red.png": RED,
    }
    memory.pipe("/empty/x.txt", b"")
    for url, message in (
        ("memory://empty", "the folder 'memory://empty' contains no images; skipped 1 file: "),
        ("memory://b/*.gif", r"the pattern 'memory://b/\*.gif' contains no images"),
        ("memory://b/*.tar", r"the pattern 'memory://b/\*.tar' matches no archives"),
    ):
        with pytest.raises(InputError, match=message):
            list(open_source([url]))


def test_an_object_that_vanishes_or_grows_during_a_run(memory):
    entries = list(open_source(["memory://b"]))
    memory.rm("/b/red.png")
    memory.pipe("/b/deep/blue.png", photo("blue") + bytes(10**6))
    green, red, blue = colours(entries)
    assert (green, blue) == (GREEN, BLUE)
    assert "memory://b/red.png does not exist; check" in str(red)


def test_the_identity_changes_with_the_listing(memory):
    before = open_source(["memory://b"]).identity()
    assert open_source(["memory://b"]).identity() == before
    memory.pipe("/b/z.png", photo("red"))
    assert open_source(["memory://b"]).identity() != before
    memory.rm("/b/z.png")
    assert open_source(["memory://b"]).identity() == before
    memory.pipe("/b/red.png", photo("red") + b"x")
    assert open_source(["memory://b"]).identity() != before


@pytest.mark.parametrize(
    ("url", "package"),
    [("gs://bucket/x", "gcsfs"), ("abfs://c/x", "adlfs"), ("sftp://host/x", "paramiko"), ("oci://x", "'fsspec[oci]'")],
)
def test_a_missing_package_is_named(url, package, monkeypatch, tmp_path):
    for module in ("gcsfs", "adlfs", "paramiko", "ocifs"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingDependencyError, match="needs a package that is not installed") as caught:
        open_source([url])
    assert str(caught.value).endswith(f"pip install {package}")
    (tmp_path / "list.txt").write_text(url)
    (entry,) = open_source([str(tmp_path / "list.txt")])
    assert isinstance(entry.image, ImageError)
    assert str(entry.image) == str(caught.value)


def test_a_url_of_an_unknown_kind(tmp_path):
    with pytest.raises(InputError, match="Protocol not known: foo"):
        open_source(["foo://x"])
    assert not is_url("a:b.png")
    assert not is_url("C:\\x.png")
    assert is_url("zip://a.png::memory://x.zip")


def test_a_file_whose_name_is_like_a_url(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("s3:").mkdir()
    Path("s3:/x.png").write_bytes(photo("red"))
    assert found("s3://x.png") == {"s3://x.png": RED}


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (PermissionError("Forbidden"), "as its credentials are missing or refused: Forbidden; set what"),
        (type("NoCredentialsError", (Exception,), {})("Unable to locate"), "its credentials are missing or refused"),
        (type("HTTPError", (Exception,), {"status": 403})("no"), "its credentials are missing or refused"),
        (TimeoutError("timed out"), "cannot be read: timed out; check the URL and the network"),
    ],
)
@pytest.mark.parametrize("url", ["memory://b", "memory://b/*.png", "memory://b/x.tar", "memory://b/list.txt"])
def test_a_refusal_is_one_error_before_any_image(memory, monkeypatch, error, message, url):
    def refuse(*_arguments: object, **_options: object) -> None:
        raise error

    for method in ("info", "ls", "glob", "cat_file"):
        monkeypatch.setattr(MemoryFileSystem, method, refuse)
    with pytest.raises(DownloadError) as caught:
        list(open_source([url]))
    assert message in str(caught.value)
    assert caught.value.exit_code == 3


def test_a_folder_below_that_is_refused_is_an_error_among_images(memory, monkeypatch):
    listed = MemoryFileSystem.ls

    def ls(self: MemoryFileSystem, path: str, **options: Any) -> object:
        if path.endswith("deep"):
            raise PermissionError("Forbidden")
        return listed(self, path, **options)

    monkeypatch.setattr(MemoryFileSystem, "ls", ls)
    got = found("memory://b")
    assert list(got) == ["memory://b/a green.PNG", "memory://b/red.png", "memory://b/deep"]
    assert "credentials are missing or refused: Forbidden" in str(got["memory://b/deep"])


def test_a_password_is_in_no_name_and_no_message(memory, monkeypatch, tmp_path):
    from fsspec.implementations.ftp import FTPFileSystem

    def refuse(self: FTPFileSystem) -> None:
        self.ftp = SimpleNamespace(close=lambda: None)
        raise OSError("no route to ftp://me:secret@host.invalid")

    monkeypatch.setattr(FTPFileSystem, "_connect", refuse)
    url = "ftp://me:secret@host.invalid/x.png"
    with pytest.raises(DownloadError) as caught:
        open_source([url])
    assert str(caught.value).startswith("ftp://host.invalid/x.png cannot be read: no route to ftp://host.invalid;")
    with pytest.raises(DownloadError) as caught:
        open_source([url.replace("png", "txt")])
    assert "secret" not in str(caught.value)
    (tmp_path / "list.txt").write_text(url)
    (entry,) = open_source([str(tmp_path / "list.txt")])
    assert "secret" not in entry.path + str(entry.image)
    assert "secret" not in str(open_source(["memory://me:secret@b"]).identity())

    def leak(limit: int) -> bytes:
        raise OSError(f"{url} is gone")

    with pytest.raises(ImageError, match=r"x cannot be read: ftp://host.invalid/x.png is gone"):
        load_rgb(LazyImage("x", leak))


def test_many_are_read_at_a_time_and_decoded_by_few(memory, tiny):
    from tiny import LABELS, tiny_outputs

    from onnxzoo.artifact.folder import read_artifact
    from onnxzoo.engines.fake import FakeEngine
    from onnxzoo.model import Model

    together = threading.Barrier(8, timeout=30)

    def read(limit: int) -> bytes:
        together.wait()  # never passed with fewer threads
        return photo("red")[:limit]

    images = [LazyImage(f"s3://b/{i}.png", read, remote=True) for i in range(16)]
    model = Model(read_artifact(tiny), FakeEngine(tiny_outputs), batch_size=8)
    results = list(model.stream(images))
    assert [result.prediction.label for result in results if result.prediction] == [LABELS[1]] * 16


@pytest.fixture
def web() -> Iterator[str]:
    """A web server on loopback: `/red.png`, statuses by number, and anything else is not there."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.partition("?")[0][1:]
            found = photo("red") if name == "red.png" else b""
            self.send_response(int(name) if name.isdigit() else 200 if found else 404)
            self.send_header("Content-Length", str(len(found)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(found)

        do_HEAD = do_GET  # noqa: N815 - the name is the library's

        def log_message(self, *_arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_the_web(web):
    pytest.importorskip("aiohttp")
    assert found(f"{web}/red.png") == {f"{web}/red.png": RED}
    signed = f"{web}/red.png?X-Signature=a*b&x=?"
    assert found(signed.replace("*", "")) == {signed.replace("*", ""): RED}
    assert found(f"{web}/none.png") == {f"{web}/none.png": f"{web}/none.png does not exist; check the URL"}
    for name, message in (("403", "its credentials are missing or refused: "), ("500", "cannot be read: 500")):
        with pytest.raises(DownloadError, match=message):
            list(open_source([f"{web}/{name}"]))
    with pytest.raises(DownloadError, match="check the URL and the network"):
        list(open_source(["http://127.0.0.1:1/x.png"]))
