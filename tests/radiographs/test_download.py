import hashlib
import io
import json
import sys
import threading
import time
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest

from pneumoscope.errors import DownloadError, MissingExtraError
from pneumoscope.radiographs import download
from pneumoscope.radiographs.download import download_collection

pytest.importorskip("requests")

IMAGE_NAME = "chest_xray/train/NORMAL/IM-0115-0001.jpeg"


def make_zip(**extra: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as bundle:
        bundle.writestr(IMAGE_NAME, b"radiograph" * 40_000)
        bundle.writestr("chest_xray/.DS_Store", b"x")
        bundle.writestr("__MACOSX/chest_xray/._IM-0115-0001.jpeg", b"x")
        for name, data in extra.items():
            bundle.writestr(name.replace("|", "/"), data)
    return stream.getvalue()


class Archive:
    """A small copy of Mendeley Data's public interface on 127.0.0.1."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.sha256 = hashlib.sha256(data).hexdigest()
        self.break_after: list[int] = []
        self.ranges: list[str | None] = []
        self.knows_ranges = True
        archive = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                pass

            def do_HEAD(self) -> None:
                self.send_response(200)
                self.end_headers()

            def do_GET(self) -> None:
                archive.answer(self)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        if handler.path.startswith("/files"):
            self.send(handler, 200, json.dumps(self.listing()).encode(), {})
            return
        wanted = handler.headers.get("Range")
        self.ranges.append(wanted)
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and self.knows_ranges else 0
        headers = {"Content-Range": f"bytes {start}-{len(self.data) - 1}/{len(self.data)}"} if start else {}
        self.send(handler, 206 if start else 200, self.data[start:], headers)

    def send(self, handler: BaseHTTPRequestHandler, status: int, body: bytes, headers: dict[str, str]) -> None:
        handler.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            handler.send_header(name, value)
        handler.end_headers()
        broken = handler.path == "/zip" and bool(self.break_after)
        handler.wfile.write(body[: self.break_after.pop(0)] if broken else body)
        handler.close_connection = True

    def listing(self) -> list[dict]:
        details = {"download_url": f"{self.address}/zip", "sha256_hash": self.sha256, "size": len(self.data)}
        return [
            {"filename": "OCT2017.tar.gz", "content_details": {}},
            {"filename": "ChestXRay2017.zip", "content_details": details},
        ]

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def archive(monkeypatch: pytest.MonkeyPatch):
    served = Archive(make_zip())
    monkeypatch.setattr(download, "MENDELEY_API", f"{served.address}/files")
    monkeypatch.setattr(download, "_PAUSE", 0.0)
    monkeypatch.setattr(download, "_CHUNK", 1000)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield served
    served.close()


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "MENDELEY_API", "http://127.0.0.1:9/files")
    monkeypatch.setattr(download, "KAGGLE_API", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def hide(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    for name in names:
        monkeypatch.setitem(sys.modules, name, None)


def test_fetches_checks_and_unpacks(archive: Archive, tmp_path: Path) -> None:
    folder = download_collection(tmp_path / "new" / "data", source="mendeley")
    assert folder == tmp_path / "new" / "data" / "chest_xray"
    assert (folder.parent / IMAGE_NAME).read_bytes() == b"radiograph" * 40_000
    assert sorted(path.name for path in folder.parent.iterdir()) == ["chest_xray"]
    assert not list(folder.rglob(".*"))


def test_second_call_fetches_nothing(archive: Archive, tmp_path: Path) -> None:
    download_collection(tmp_path, source="mendeley")
    download_collection(tmp_path, source="mendeley")
    assert len(archive.ranges) == 1


def test_broken_transfer_goes_on_where_it_stopped(archive: Archive, tmp_path: Path) -> None:
    archive.break_after = [100_000, 50_000]
    folder = download_collection(tmp_path, source="mendeley")
    assert archive.ranges == [None, "bytes=100000-", "bytes=150000-"]
    assert (folder.parent / IMAGE_NAME).exists()


def test_later_call_goes_on_too(archive: Archive, tmp_path: Path) -> None:
    (tmp_path / "ChestXRay2017.zip.partial").write_bytes(archive.data[:4321])
    download_collection(tmp_path, source="mendeley")
    assert archive.ranges == ["bytes=4321-"]


def test_server_without_ranges_starts_anew(archive: Archive, tmp_path: Path) -> None:
    archive.knows_ranges = False
    archive.break_after = [100_000]
    folder = download_collection(tmp_path, source="mendeley")
    assert (folder.parent / IMAGE_NAME).exists()


def test_gives_up_when_nothing_more_comes(archive: Archive, tmp_path: Path) -> None:
    archive.break_after = [100_000] + [0] * 20
    with pytest.raises(DownloadError, match=r"broke off at 0\.1 MB"):
        download_collection(tmp_path, source="mendeley")
    assert (tmp_path / "ChestXRay2017.zip.partial").stat().st_size == 100_000


def test_wrong_checksum_is_removed_and_told(archive: Archive, tmp_path: Path) -> None:
    archive.sha256 = "0" * 64
    with pytest.raises(DownloadError, match="arrived damaged"):
        download_collection(tmp_path, source="mendeley")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["..|escaped.txt", "chest_xray|..|..|escaped.txt", "|tmp|escaped.txt", "C:|escaped"])
def test_archive_that_leads_out_of_the_folder_is_refused(name: str, archive: Archive, tmp_path: Path) -> None:
    archive.data = make_zip(**{name: b"out"})
    archive.sha256 = hashlib.sha256(archive.data).hexdigest()
    with pytest.raises(DownloadError, match="lead out of the folder"):
        download_collection(tmp_path / "data", source="mendeley")
    assert not list(tmp_path.rglob("escaped*")) and not (tmp_path / "data" / "chest_xray").exists()


def test_link_inside_the_archive_is_refused(archive: Archive, tmp_path: Path) -> None:
    link = zipfile.ZipInfo("chest_xray/link")
    link.external_attr = 0o120777 << 16
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as bundle:
        bundle.writestr(link, "/etc")
    archive.data, archive.sha256 = stream.getvalue(), hashlib.sha256(stream.getvalue()).hexdigest()
    with pytest.raises(DownloadError, match="lead out of the folder"):
        download_collection(tmp_path, source="mendeley")


@pytest.mark.parametrize("data", [b"no zip", make_zip()[:-200]])
def test_archive_that_is_no_zip_is_told(data: bytes, archive: Archive, tmp_path: Path) -> None:
    archive.data, archive.sha256 = data, hashlib.sha256(data).hexdigest()
    with pytest.raises(DownloadError, match="no whole zip archive"):
        download_collection(tmp_path, source="mendeley")


def test_unexpected_listing_is_told(archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "listing", lambda: {"message": "moved"})
    with pytest.raises(DownloadError, match=r"lists no ChestXRay2017\.zip"):
        download_collection(tmp_path, source="mendeley")


def test_full_disk_is_told_before_unpacking(archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: SimpleNamespace(free=10))
    with pytest.raises(DownloadError, match="GB are needed"):
        download_collection(tmp_path, source="mendeley")


def test_kaggle_result_is_moved_into_place(archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    def dataset_download(handle: str) -> str:
        fetched = Path(os.environ["KAGGLEHUB_CACHE"], "datasets", handle, "versions", "2")
        (fetched / "chest_xray" / "train").mkdir(parents=True)
        return str(fetched)

    monkeypatch.setitem(sys.modules, "kagglehub", SimpleNamespace(dataset_download=dataset_download))
    monkeypatch.setattr(download, "KAGGLE_API", archive.address)
    monkeypatch.delenv("KAGGLEHUB_CACHE", raising=False)
    folder = download_collection(tmp_path)
    assert (folder / "train").is_dir()
    assert [path.name for path in tmp_path.iterdir()] == ["chest_xray"]
    assert "KAGGLEHUB_CACHE" not in os.environ and archive.ranges == []


def test_mendeley_steps_in_where_kaggle_fails(
    archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(handle: str) -> str:
        raise RuntimeError("no")

    monkeypatch.setitem(sys.modules, "kagglehub", SimpleNamespace(dataset_download=refuse))
    monkeypatch.setattr(download, "KAGGLE_API", archive.address)
    assert (download_collection(tmp_path).parent / IMAGE_NAME).exists()


def test_no_network_says_what_to_do(no_network: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kagglehub", SimpleNamespace())
    with pytest.raises(DownloadError) as caught:
        download_collection(tmp_path)
    message = str(caught.value)
    for part in (
        "https://www.kaggle.com/datasets/paultimothymooney/chest-xray-pneumonia",
        "https://data.mendeley.com/datasets/rscbjbr9sj/2",
        "Unzip it in",
        f"pneumoscope study --data {tmp_path / 'chest_xray'}",
        "connected to the network",
    ):
        assert part in message
    assert caught.value.__cause__ is None


def test_name_server_that_never_answers_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import requests

    release = threading.Event()
    monkeypatch.setattr(requests, "head", lambda *_, **__: release.wait(20))
    monkeypatch.setattr(download, "_SECONDS_TO_ANSWER", 0.1)
    start = time.monotonic()
    with pytest.raises(DownloadError, match="does not answer"):
        download_collection(tmp_path, source="mendeley")
    release.set()
    assert time.monotonic() - start < 5


@pytest.mark.parametrize("source", ["auto", "kaggle", "mendeley"])
def test_missing_packages_are_named(source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hide(monkeypatch, "kagglehub", "requests")
    with pytest.raises(MissingExtraError, match=r"pip install 'pneumoscope\[download\]'"):
        download_collection(tmp_path, source=source)


def test_unknown_source_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="expected auto, kaggle or mendeley"):
        download_collection(tmp_path, source="elsewhere")
