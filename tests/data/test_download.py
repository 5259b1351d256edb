import hashlib
import io
import json
import os
import sys
import threading
import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest

from pneumoscope.data import download
from pneumoscope.data.download import download_collection
from pneumoscope.errors import DownloadError, MissingExtraError

pytest.importorskip("pooch")

IMAGE_NAME = "chest_xray/train/NORMAL/IM-0115-0001.jpeg"
IMAGE_DATA = b"radiograph" * 10_000


def make_zip(*extra):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as bundle:
        bundle.writestr(IMAGE_NAME, IMAGE_DATA)
        for name in ("chest_xray/.DS_Store", "__MACOSX/chest_xray/._IM-0115-0001.jpeg", *extra):
            bundle.writestr(name, b"x")
    return stream.getvalue()


class Handler(SimpleHTTPRequestHandler):
    """Serve files without a log."""

    def log_message(self, *_):
        pass


@pytest.fixture
def serve(monkeypatch, tmp_path_factory):
    """Return a function that sets what a local server answers in place of Mendeley Data."""
    folder = tmp_path_factory.mktemp("served")
    http = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    address = f"http://127.0.0.1:{http.server_address[1]}"

    def set_answers(data, *, sha256="", listing=None):
        digest = sha256 or hashlib.sha256(data).hexdigest()
        details = {"download_url": f"{address}/zip", "sha256_hash": digest, "size": len(data)}
        listing = listing or [{"filename": "ChestXRay2017.zip", "content_details": details}]
        (folder / "zip").write_bytes(data)
        (folder / "files").write_text(json.dumps(listing))

    set_answers(make_zip())
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    monkeypatch.setattr(download, "MENDELEY_API", f"{address}/files")
    monkeypatch.setattr(download, "_RETRIES", 0)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield set_answers
    http.shutdown()
    thread.join()
    http.server_close()


@pytest.mark.parametrize("extra", [(), ("../escaped.txt", "chest_xray/../../escaped.txt", "/tmp/escaped.txt")])
def test_images_alone_are_unpacked_and_kept(extra, serve, tmp_path):
    serve(make_zip(*extra))
    folder = download_collection(tmp_path / "data", source="mendeley")
    serve(b"no zip")
    assert download_collection(tmp_path / "data", source="mendeley") == folder
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / "data" / IMAGE_NAME]
    assert (folder.parent / IMAGE_NAME).read_bytes() == IMAGE_DATA


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        (make_zip(), {"sha256": "0" * 64}, "expected sha256:0000.* but got"),
        (b"no zip", {}, "not a complete zip archive"),
        (make_zip()[:-200], {}, "not a complete zip archive"),
        (make_zip(), {"listing": {"message": "moved"}}, r"does not list ChestXRay2017\.zip"),
    ],
)
def test_damaged_answers_are_errors(data, options, message, serve, tmp_path):
    serve(data, **options)
    with pytest.raises(DownloadError, match=message):
        download_collection(tmp_path, source="mendeley")
    assert not (tmp_path / "chest_xray").exists()


@pytest.mark.usefixtures("serve")
def test_full_disk_is_an_error_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: SimpleNamespace(free=10))
    with pytest.raises(DownloadError, match="GB of free space"):
        download_collection(tmp_path, source="mendeley")
    assert list(tmp_path.iterdir()) == []


def test_download_of_kagglehub_is_moved_into_place(tmp_path, monkeypatch):
    def dataset_download(handle):
        fetched = Path(os.environ["KAGGLEHUB_CACHE"], "datasets", handle, "versions", "2")
        (fetched / "chest_xray" / "train").mkdir(parents=True)
        return str(fetched)

    monkeypatch.setitem(sys.modules, "kagglehub", SimpleNamespace(dataset_download=dataset_download))
    monkeypatch.setenv("KAGGLEHUB_CACHE", "elsewhere")
    folder = download_collection(tmp_path)
    assert (folder / "train").is_dir() and list(tmp_path.iterdir()) == [folder]
    assert os.environ["KAGGLEHUB_CACHE"] == "elsewhere"


@pytest.mark.usefixtures("serve")
def test_mendeley_is_the_fallback_of_kaggle(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "kagglehub", SimpleNamespace(dataset_download=lambda _: 1 / 0))
    assert (download_collection(tmp_path).parent / IMAGE_NAME).exists()
    with pytest.raises(DownloadError, match="expected auto, kaggle or mendeley"):
        download_collection(tmp_path, source="elsewhere")


def test_without_network_the_error_lists_the_pages(tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(download, "MENDELEY_API", "http://127.0.0.1:9/files")
    with pytest.raises(DownloadError) as caught:
        download_collection(tmp_path, source="mendeley")
    for part in (download.KAGGLE_PAGE, download.MENDELEY_PAGE, "unzip it in", "Check the network"):
        assert part in str(caught.value)


@pytest.mark.parametrize("source", ["kaggle", "mendeley"])
def test_missing_package_is_named(source, tmp_path, monkeypatch):
    for name in ("kagglehub", "pooch"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtraError, match=r"pip install '\.\[download\]'"):
        download_collection(tmp_path, source=source)
