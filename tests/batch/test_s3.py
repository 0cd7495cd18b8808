"""Images in a bucket, by a real client, from moto's S3 server on loopback."""

from __future__ import annotations

import http.client
import io
import json
import logging
import os
import tarfile
from collections.abc import Iterator
from typing import Any

import pytest
from command_line import is_one_error_line, run
from found_images import BLUE, GREEN, RED, colours, photo

pytest.importorskip("s3fs")
pytest.importorskip("moto.server")
import s3fs
from moto.server import ThreadedMotoServer

from onnxzoo.batch.sources import open_source
from onnxzoo.errors import DownloadError

pytestmark = pytest.mark.slow

FILES = {"photos/red.png": "red", "photos/deep/blue.png": "blue", "photos/green.png": "green"}
EXPECTED = {"photos/green.png": GREEN, "photos/red.png": RED, "photos/deep/blue.png": BLUE}


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(address: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A file system with the bucket `zoo`, and the environment of a user who may read it."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, os.devnull)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ENDPOINT_URL", address)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "mine")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    s3fs.S3FileSystem.clear_instance_cache()
    files = s3fs.S3FileSystem(skip_instance_cache=True)
    files.mkdir("zoo")
    for name, colour in FILES.items():
        files.pipe(f"zoo/{name}", photo(colour))
    files.touch("zoo/photos/")  # as consoles mark a folder
    yield files
    files.rm("zoo", recursive=True)
    s3fs.S3FileSystem.clear_instance_cache()


def found(*arguments: str) -> dict[str, object]:
    entries = list(open_source(arguments))
    return dict(zip([entry.path for entry in entries], colours(entries), strict=True))


def test_objects_folders_patterns_and_archives(bucket):
    assert found("s3://zoo/photos") == {f"s3://zoo/{name}": colour for name, colour in EXPECTED.items()}
    assert list(found("s3://zoo/photos/")) == [f"s3://zoo/{name}" for name in EXPECTED]
    assert found("s3://zoo/photos/red.png") == {"s3://zoo/photos/red.png": RED}
    assert found("s3://zoo/**/b*.png") == {"s3://zoo/photos/deep/blue.png": BLUE}
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, colour in FILES.items():
            info = tarfile.TarInfo(name)
            info.size = len(photo(colour))
            archive.addfile(info, io.BytesIO(photo(colour)))
    bucket.pipe("zoo/shard-0.tar", stream.getvalue())
    expected = {f"s3://zoo/shard-0.tar::{name}": EXPECTED[name] for name in FILES}
    assert found("s3://zoo/shard-0.tar") == found("s3://zoo/shard-*.tar") == expected
    assert open_source(["s3://zoo/photos"]).count() == 3


def test_the_identity_changes_with_an_object_of_the_same_size(bucket):
    bucket.pipe("zoo/photos/a.png", b"1234")
    before = open_source(["s3://zoo/photos"]).identity()
    assert open_source(["s3://zoo/photos"]).identity() == before
    bucket.pipe("zoo/photos/a.png", b"4321")
    assert open_source(["s3://zoo/photos"]).identity() != before
    bucket.rm("zoo/photos/a.png")
    assert open_source(["s3://zoo/photos"]).identity()["images"] == 3


def test_predict_reads_a_bucket(tiny, bucket):
    result = run("predict", tiny, "s3://zoo/photos", "s3://zoo/none.png", "--json")
    rows = json.loads(result.stdout)["results"]
    assert [row["image"] for row in rows] == [*(f"s3://zoo/{name}" for name in EXPECTED), "s3://zoo/none.png"]
    assert [row["top"][0]["label"] for row in rows[:3]] == ["green", "red", "blue"]
    assert "s3://zoo/none.png does not exist" in rows[3]["error"]
    assert result.exit_code == 1


def test_an_object_that_vanishes_during_a_run(bucket):
    entries = list(open_source(["s3://zoo/photos"]))
    bucket.rm("zoo/photos/red.png")
    green, red, blue = colours(entries)
    assert (green, blue) == (GREEN, BLUE)
    assert str(red) == "s3://zoo/photos/red.png does not exist; check the URL"


def test_an_object_without_content_is_empty_as_a_file_is(bucket):
    bucket.pipe("zoo/empty/a.png", b"")
    (told,) = colours(open_source(["s3://zoo/empty/"]))
    assert str(told).startswith("s3://zoo/empty/a.png is empty: ")


def test_missing_credentials_are_one_clear_error(bucket, monkeypatch, tmp_path):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    s3fs.S3FileSystem.clear_instance_cache()
    for url in ("s3://zoo/photos", "s3://zoo/*.png", "s3://zoo/x.tar", "s3://zoo/list.txt"):
        result = run("predict", tmp_path / "no model", url)
        assert result.exit_code == 3
        assert is_one_error_line(result.stderr)
        assert "its credentials are missing or refused: " in result.stderr
        assert "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or AWS_PROFILE" in result.stderr


def test_refused_credentials_are_one_clear_error(bucket, address):
    # From now on moto looks credentials up, and `mine` is nobody's.
    def check_after(requests: int) -> None:
        connection = http.client.HTTPConnection(address.removeprefix("http://"))
        connection.request("POST", "/moto-api/reset-auth", str(requests))
        assert connection.getresponse().status == 200
        connection.close()

    check_after(0)
    try:
        with pytest.raises(DownloadError, match="its credentials are missing or refused: "):
            list(open_source(["s3://zoo/photos"]))
    finally:
        check_after(10**9)


def test_a_bucket_that_does_not_exist(bucket):
    assert found("s3://nowhere-at-all/x.png") == {
        "s3://nowhere-at-all/x.png": "s3://nowhere-at-all/x.png does not exist; check the URL"
    }
