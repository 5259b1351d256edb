import hashlib
import io
import json
import os
import sys
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest

from pneumoscope.data import download
from pneumoscope.data.download import download_collection
from pneumoscope.errors import DownloadError, MissingExtraError

pytest.importorskip("pooch")

IMAGE_NAME = "chest_xray/train/NORMAL/IM-0115-0001.jpeg"
IMAGE_DATA = b"radiograph" * 10_000


def make_zip(*extra: str) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as bundle:
        bundle.writestr(IMAGE_NAME, IMAGE_DATA)
        for name in ("chest_xray/.DS_Store", "__MACOSX/chest_xray/._IM-0115-0001.jpeg", *extra):
            bundle.writestr(name, b"x")
    return stream.getvalue()


class Server:
    """Serve the file listing and the archive as Mendeley Data does, on 127.0.0.1."""

    def __init__(self) -> None:
        self.num_requests = self.num_broken = 0
        self.listing: object = None
        self.serve(make_zip())

    def serve(self, data: bytes, sha256: str = "") -> None:
        self.data, self.sha256 = data, sha256 or hashlib.sha256(data).hexdigest()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        body = self.data
        if handler.path == "/files":
            url = f"http://{handler.headers['Host']}/zip"
            details = {"download_url": url, "sha256_hash": self.sha256, "size": len(self.data)}
            body = json.dumps(self.listing or [{"filename": "ChestXRay2017.zip", "content_details": details}]).encode()
        else:
            self.num_requests += 1
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        broken = handler.path == "/zip" and self.num_requests <= self.num_broken
        handler.wfile.write(body[:1000] if broken else body)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch):
    state = Server()
    methods = {"do_GET": lambda handler: state.answer(handler), "log_message": lambda *_: None}
    http = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (BaseHTTPRequestHandler,), methods))
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    monkeypatch.setattr(download, "MENDELEY_API", f"http://127.0.0.1:{http.server_address[1]}/files")
    monkeypatch.setattr(download, "_RETRIES", 1)
    monkeypatch.setattr("pooch.core.time.sleep", lambda _: None)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield state
    http.shutdown()
    thread.join()
    http.server_close()


def test_the_archive_is_checked_unpacked_and_downloaded_once(server: Server, tmp_path: Path) -> None:
    server.num_broken = 1
    for _ in range(2):
        folder = download_collection(tmp_path / "data", source="mendeley")
    assert server.num_requests == 2  # the first transfer broke off
    assert (folder.parent / IMAGE_NAME).read_bytes() == IMAGE_DATA
    assert list(folder.parent.iterdir()) == [folder] and not list(folder.rglob(".*"))


@pytest.mark.parametrize(
    ("data", "sha256", "message"),
    [
        (make_zip(), "0" * 64, "expected sha256:0000.* but got"),
        (b"no zip", "", "no complete zip archive"),
        (make_zip()[:-200], "", "no complete zip archive"),
    ],
)
def test_damaged_archive_is_an_error(data: bytes, sha256: str, message: str, server: Server, tmp_path: Path) -> None:
    server.serve(data, sha256)
    with pytest.raises(DownloadError, match=message):
        download_collection(tmp_path / "data", source="mendeley")
    assert not (tmp_path / "data" / "chest_xray").exists()


@pytest.mark.parametrize("name", ["../escaped.txt", "chest_xray/../../escaped.txt", "/tmp/escaped.txt"])
def test_paths_out_of_the_folder_are_not_unpacked(name: str, server: Server, tmp_path: Path) -> None:
    server.serve(make_zip(name))
    folder = download_collection(tmp_path / "data", source="mendeley")
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [Path(IMAGE_NAME).name]
    assert (folder.parent / IMAGE_NAME).read_bytes() == IMAGE_DATA


def test_unexpected_listing_is_an_error(server: Server, tmp_path: Path) -> None:
    server.listing = {"message": "moved"}
    with pytest.raises(DownloadError, match=r"lists no ChestXRay2017\.zip"):
        download_collection(tmp_path, source="mendeley")


def test_full_disk_is_an_error_before_anything_is_written(server: Server, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: SimpleNamespace(free=10))
    with pytest.raises(DownloadError, match="GB are needed"):
        download_collection(tmp_path, source="mendeley")
    assert server.num_requests == 0


def test_the_download_of_kagglehub_is_moved_into_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def dataset_download(handle: str) -> str:
        fetched = Path(os.environ["KAGGLEHUB_CACHE"], "datasets", handle, "versions", "2")
        (fetched / "chest_xray" / "train").mkdir(parents=True)
        return str(fetched)

    monkeypatch.setitem(sys.modules, "kagglehub", SimpleNamespace(dataset_download=dataset_download))
    monkeypatch.setenv("KAGGLEHUB_CACHE", "elsewhere")
    folder = download_collection(tmp_path)
    assert (folder / "train").is_dir() and list(tmp_path.iterdir()) == [folder]
    assert os.environ["KAGGLEHUB_CACHE"] == "elsewhere"


def test_mendeley_is_the_fallback_of_kaggle(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kagglehub", SimpleNamespace(dataset_download=lambda _: 1 / 0))
    assert (download_collection(tmp_path).parent / IMAGE_NAME).exists()


def test_without_network_the_error_lists_the_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(download, "MENDELEY_API", "http://127.0.0.1:9/files")
    with pytest.raises(DownloadError) as caught:
        download_collection(tmp_path, source="mendeley")
    for part in (download.KAGGLE_PAGE, download.MENDELEY_PAGE, "unzip it in", "Check the network"):
        assert part in str(caught.value)


@pytest.mark.parametrize("source", ["auto", "kaggle", "mendeley"])
def test_missing_package_is_named(source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("kagglehub", "pooch"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtraError, match=r"pip install 'pneumoscope\[download\]'"):
        download_collection(tmp_path, source=source)


def test_unknown_source_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="expected auto, kaggle or mendeley"):
        download_collection(tmp_path, source="elsewhere")
