"""Downloads from a real server on this machine: whole files only, resumed after a cut, nothing else touched."""

from __future__ import annotations

import dataclasses
import hashlib
import http.server
import os
import re
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from onnxzoo import files
from onnxzoo.errors import CheckpointError, DownloadError
from onnxzoo.registry import ModelEntry, models
from onnxzoo.weights import checkpoint_download as module
from onnxzoo.weights.checkpoint_download import checkpoint_path, download

CONTENT = bytes(range(256)) * 12_000
"""3 MB: more than one chunk, and more than the sockets' buffers."""


class Site:
    """What the server serves and how it misbehaves; `asked` lists (path, Range header) of each request."""

    def __init__(self) -> None:
        self.content = CONTENT
        self.etag: str | None = '"one"'
        self.ranges = True
        self.cuts: list[int] = []  # bytes of the body after which the next responses end
        self.statuses: list[int] = []  # answers of the next requests, before any good one
        self.extra_length = 0
        self.say_length = True
        self.redirect = ""
        self.encoding = ""
        self.asked: list[tuple[str, str | None]] = []
        self.url = ""
        self.wait: threading.Event | None = None


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    site = Site()

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *arguments: Any) -> None:
            pass

        def do_GET(self) -> None:
            asked = self.headers.get("Range")
            site.asked.append((self.path, asked))
            if site.wait is not None:
                site.wait.wait(10)
            if site.redirect:
                self.send_response(302)
                self.send_header("Location", site.redirect)
                self.end_headers()
                return
            status = site.statuses.pop(0) if site.statuses else 200
            if status != 200 or self.path == "/absent":
                self.send_error(status if status != 200 else 404)
                return
            start = 0
            match = re.fullmatch(r"bytes=(\d+)-", asked or "")
            if match and site.ranges and self.headers.get("If-Range") == site.etag:
                start = int(match[1])
                if start >= len(site.content):
                    self.send_response(416)
                    self.send_header("Content-Range", f"bytes */{len(site.content)}")
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {start}-{len(site.content) - 1}/{len(site.content)}")
            else:
                self.send_response(200)
            if site.etag:
                self.send_header("ETag", site.etag)
            if site.encoding:
                self.send_header("Content-Encoding", site.encoding)
            body = site.content[start:]
            if site.say_length:
                self.send_header("Content-Length", str(len(body) + site.extra_length))
            self.end_headers()
            self.wfile.write(body[: site.cuts.pop(0)] if site.cuts else body)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    monkeypatch.setattr(server, "handle_error", lambda *_: None)  # a client that leaves early is meant to
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    site.url = f"http://127.0.0.1:{server.server_address[1]}/weights.pdparams"
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(module, "FIRST_PAUSE_S", 0.0)
    yield site
    server.shutdown()
    server.server_close()


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "weights.pdparams"


def left(target: Path) -> set[str]:
    """Files in the folder besides the lock, which some versions of filelock leave."""
    return {path.name for path in target.parent.iterdir()} - {f"{target.name}.lock"}


def test_a_whole_file(site: Site, target: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    download(site.url, target, progress=lambda done, total: seen.append((done, total)))
    assert target.read_bytes() == CONTENT
    assert left(target) == {target.name}
    assert seen[0] == (0, len(CONTENT))
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert seen == sorted(seen)


def test_an_earlier_file_is_replaced(site: Site, target: Path) -> None:
    target.parent.mkdir()
    target.write_bytes(b"old")
    download(site.url, target)
    assert target.read_bytes() == CONTENT


def test_a_cut_connection_is_resumed(site: Site, target: Path) -> None:
    site.cuts = [1_000_000, 500_000]
    download(site.url, target)
    assert target.read_bytes() == CONTENT
    assert [asked for _, asked in site.asked] == [None, "bytes=1000000-", "bytes=1500000-"]


def test_many_cuts_are_survived_while_each_connection_brings_something(site: Site, target: Path) -> None:
    site.cuts = [200_000] * 12
    download(site.url, target)
    assert target.read_bytes() == CONTENT


def test_the_next_call_continues_where_the_last_one_failed(site: Site, target: Path) -> None:
    site.cuts = [1_000_000] + [0] * module.TRIES
    with pytest.raises(DownloadError, match="1000000 bytes are kept: run the command again to continue") as caught:
        download(site.url, target)
    assert site.url in str(caught.value)
    assert left(target) == {"weights.pdparams.part", "weights.pdparams.part.json"}
    site.asked.clear()
    download(site.url, target)
    assert target.read_bytes() == CONTENT
    assert site.asked == [("/weights.pdparams", "bytes=1000000-")]
    assert left(target) == {target.name}


def fail_after(site: Site, target: Path, count: int) -> None:
    site.cuts = [count] + [0] * module.TRIES
    with pytest.raises(DownloadError):
        download(site.url, target)
    site.cuts = []


def test_a_file_that_changed_meanwhile_starts_again(site: Site, target: Path) -> None:
    fail_after(site, target, 1_000_000)
    site.content, site.etag = CONTENT[::-1], '"two"'
    download(site.url, target)
    assert target.read_bytes() == CONTENT[::-1]


@pytest.mark.parametrize("etag", ['W/"weak"', None])
def test_a_file_without_a_strong_etag_starts_again(site: Site, target: Path, etag: str | None) -> None:
    site.etag = etag
    fail_after(site, target, 1_000_000)
    site.asked.clear()
    download(site.url, target)
    assert target.read_bytes() == CONTENT
    assert site.asked == [("/weights.pdparams", None)]


def test_a_server_without_ranges_starts_again(site: Site, target: Path) -> None:
    site.ranges = False
    site.cuts = [1_000_000]
    download(site.url, target)
    assert target.read_bytes() == CONTENT


def test_a_server_without_ranges_that_always_cuts_is_given_up(site: Site, target: Path) -> None:
    site.ranges = False
    site.cuts = [1_000_000] * 50
    with pytest.raises(DownloadError, match="did not arrive whole"):
        download(site.url, target)
    assert len(site.asked) == module.TRIES + 1


def test_a_part_of_another_url_is_not_continued(site: Site, target: Path) -> None:
    fail_after(site, target, 1_000_000)
    site.asked.clear()
    download(site.url.replace("weights", "others"), target)
    assert site.asked == [("/others.pdparams", None)]


def test_a_part_that_is_whole_already_is_accepted(site: Site, target: Path) -> None:
    fail_after(site, target, 1_000_000)
    target.with_name("weights.pdparams.part").write_bytes(CONTENT)
    download(site.url, target)
    assert target.read_bytes() == CONTENT


def test_a_part_that_is_too_long_starts_again(site: Site, target: Path) -> None:
    fail_after(site, target, 1_000_000)
    target.with_name("weights.pdparams.part").write_bytes(CONTENT + b"more")
    download(site.url, target)
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize("note", [b"", b"[]", b"{}", b"\xff", b'{"url": 1, "validator": 2}'])
def test_a_broken_note_starts_again(site: Site, target: Path, note: bytes) -> None:
    target.parent.mkdir()
    target.with_name("weights.pdparams.part").write_bytes(b"rubbish")
    target.with_name("weights.pdparams.part.json").write_bytes(note)
    download(site.url, target)
    assert target.read_bytes() == CONTENT


def test_a_missing_file_is_said_at_once_and_leaves_nothing(site: Site, target: Path) -> None:
    target.parent.mkdir()
    target.write_bytes(b"old")
    with pytest.raises(DownloadError, match="the server answers 404"):
        download(site.url.replace("weights.pdparams", "absent"), target)
    assert len(site.asked) == 1
    assert target.read_bytes() == b"old"
    assert left(target) == {target.name}


def test_server_errors_are_retried(site: Site, target: Path) -> None:
    site.statuses = [500, 503, 429]
    download(site.url, target)
    assert target.read_bytes() == CONTENT


def test_lasting_server_errors_are_reported(site: Site, target: Path) -> None:
    site.statuses = [500] * 50
    with pytest.raises(DownloadError, match="the server answers 500"):
        download(site.url, target)
    assert len(site.asked) == module.TRIES


def test_a_wrong_length_is_a_failure(site: Site, target: Path) -> None:
    target.parent.mkdir()
    target.write_bytes(b"old")
    site.extra_length = 7
    with pytest.raises(DownloadError):
        download(site.url, target)
    assert target.read_bytes() == b"old"


def test_a_server_that_says_no_length(site: Site, target: Path) -> None:
    site.say_length = False
    seen: list[int | None] = []
    download(site.url, target, progress=lambda _, total: seen.append(total))
    assert target.read_bytes() == CONTENT
    assert set(seen) == {None}


def test_sha256(site: Site, target: Path) -> None:
    download(site.url, target, sha256=hashlib.sha256(CONTENT).hexdigest().upper())
    assert target.read_bytes() == CONTENT
    with pytest.raises(DownloadError, match="expected sha256 0000"):
        download(site.url, target, sha256="0" * 64)
    assert target.read_bytes() == CONTENT
    assert left(target) == {target.name}


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://host/file", "weights.pdparams", "", "data:,x"])
def test_other_kinds_of_address_are_refused(target: Path, url: str) -> None:
    with pytest.raises(DownloadError, match="expected one that starts with https://"):
        download(url, target)
    assert not target.parent.exists()


@pytest.mark.parametrize("to", ["file:///etc/passwd", "ftp://127.0.0.1/x"])
def test_redirects_to_other_kinds_are_refused(site: Site, target: Path, to: str) -> None:
    site.redirect = to
    with pytest.raises(DownloadError):
        download(site.url, target)
    assert len(site.asked) == 1
    assert not target.exists()


@pytest.mark.parametrize(
    ("start", "to", "followed"),
    [
        ("https", "http", False),
        ("https", "https", True),
        ("http", "https", True),
        ("http", "http", True),
        ("https", "ftp", False),
        ("http", "file", False),
    ],
)
def test_a_redirect_never_leads_to_a_less_safe_connection(start: str, to: str, followed: bool) -> None:
    asked, target = urllib.request.Request(f"{start}://example.org/a"), f"{to}://example.org/b"  # noqa: S310 - not sent
    if followed:
        assert module._Redirects().redirect_request(asked, None, 302, "Found", {}, target).full_url == target
    else:
        with pytest.raises(DownloadError, match=rf"https?://example\.org/a redirects to {target}, which is less safe"):
            module._Redirects().redirect_request(asked, None, 302, "Found", {}, target)


def test_a_compressed_answer_is_refused(site: Site, target: Path) -> None:
    site.encoding = "gzip"
    with pytest.raises(DownloadError, match="compressed"):
        download(site.url, target)


@pytest.mark.parametrize("variable", ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
def test_offline_nothing_is_downloaded(
    site: Site, target: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "yes")
    with pytest.raises(DownloadError, match=rf"is not downloaded, as {variable} is set; unset it, or put the file"):
        download(site.url, target)
    assert (site.asked, target.parent.exists()) == ([], False)
    monkeypatch.setenv(variable, "0")
    download(site.url, target)
    assert target.read_bytes() == CONTENT


def test_no_server_at_all(target: Path, site: Site) -> None:
    with pytest.raises(DownloadError, match=r"did not arrive: .*check the network, or put the file there yourself"):
        download("http://127.0.0.1:9/weights", target)


def test_a_folder_that_cannot_be_made(site: Site, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DownloadError, match=r"cannot be written: .*ONNXZOO_CACHE"):
        download(site.url, tmp_path / "file" / "weights.pdparams")


def test_a_full_disk(site: Site, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DownloadError, match="the disk is full"):
        download(site.url, target)
    assert not target.exists()


def test_an_interrupted_progress_keeps_the_part(site: Site, target: Path) -> None:
    def interrupt(done: int, total: int | None) -> None:
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download(site.url, target, progress=interrupt)
    download(site.url, target)
    assert target.read_bytes() == CONTENT
    assert site.asked[-1][1] is not None


@pytest.mark.slow
def test_of_two_that_want_the_same_file_one_downloads(site: Site, target: Path) -> None:
    site.wait = threading.Event()
    failures: list[BaseException] = []

    def work() -> None:
        try:
            download(site.url, target)
        except BaseException as error:  # noqa: BLE001 - reported below
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    threading.Timer(0.5, site.wait.set).start()
    for thread in threads:
        thread.join(20)
    assert not failures
    assert target.read_bytes() == CONTENT
    assert len(site.asked) == 1


class TestCheckpointPath:
    @pytest.fixture
    def entry(self, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModelEntry:
        monkeypatch.setenv(files.CACHE_VARIABLE, str(tmp_path / "cache"))
        known = models()["pvt_v2_b0"]
        return dataclasses.replace(known, source=dataclasses.replace(known.source, url=site.url))

    def test_downloads_once_and_records_the_hash(self, site: Site, entry: ModelEntry) -> None:
        path = checkpoint_path(entry)
        assert path == files.checkpoints_dir() / "weights.pdparams"
        assert path.read_bytes() == CONTENT
        record = path.with_name("weights.pdparams.sha256")
        assert record.read_text() == f"{hashlib.sha256(CONTENT).hexdigest()}  weights.pdparams\n"
        assert checkpoint_path(entry) == path
        assert len(site.asked) == 1

    def test_takes_a_file_put_there_by_hand(self, site: Site, entry: ModelEntry) -> None:
        files.checkpoints_dir().mkdir(parents=True)
        (files.checkpoints_dir() / "weights.pdparams").write_bytes(b"by hand")
        assert checkpoint_path(entry).read_bytes() == b"by hand"
        assert not site.asked

    def test_refuses_a_file_that_changed(self, entry: ModelEntry) -> None:
        path = checkpoint_path(entry)
        path.write_bytes(b"altered")
        with pytest.raises(CheckpointError, match=r"has changed since it was first used: expected sha256 .* delete it"):
            checkpoint_path(entry)

    def test_where_the_first_address_has_nothing_the_other_is_tried(self, site: Site, entry: ModelEntry) -> None:
        other = site.url.replace("weights", "weights_pretrained")
        absent = site.url.replace("weights.pdparams", "absent")
        source = dataclasses.replace(entry.source, url=absent, other_url=other)
        both = dataclasses.replace(entry, source=source)
        path = checkpoint_path(both)
        assert path.name == "weights_pretrained.pdparams"
        assert [address for address, _ in site.asked] == ["/absent", "/weights_pretrained.pdparams"]
        assert checkpoint_path(both, offline=True) == path
        nowhere = dataclasses.replace(entry, source=dataclasses.replace(entry.source, url=absent, other_url=absent))
        with pytest.raises(DownloadError, match="answers 404"):
            checkpoint_path(nowhere)

    def test_other_refusals_do_not_lead_to_the_other_address(self, site: Site, entry: ModelEntry) -> None:
        site.statuses = [403]
        source = dataclasses.replace(entry.source, other_url=site.url.replace("weights", "weights_pretrained"))
        with pytest.raises(DownloadError, match="answers 403"):
            checkpoint_path(dataclasses.replace(entry, source=source))
        assert len(site.asked) == 1

    def test_offline_nothing_is_asked_for(self, site: Site, entry: ModelEntry) -> None:
        with pytest.raises(DownloadError, match=r"is not in .*checkpoints, and offline nothing is downloaded"):
            checkpoint_path(entry, offline=True)
        assert not site.asked
