"""Objects are read and written as files are, and each fault of a storage is a row with an error or one message."""

import json
import shutil
import sys
import time
import urllib.request
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from PIL import Image

from pneumoscope.cli import archive
from pneumoscope.cli import main as cli
from pneumoscope.data.dataset import load_dataset
from pneumoscope.errors import CollectionError
from pneumoscope.inference import processes
from pneumoscope.inference.batch import ReadBatch, list_files, read_files
from pneumoscope.inference.reader import Reader
from pneumoscope.inference.shards import Shard
from pneumoscope.inference.table import read_table
from pneumoscope.io import storage
from pneumoscope.phantoms.phantom import draw_phantoms

obstore = pytest.importorskip("obstore")
HTTPStore = pytest.importorskip("obstore.store").HTTPStore

ENVIRONMENT = {
    "AWS_ALLOW_HTTP": "true",
    "AWS_ACCESS_KEY_ID": "a",
    "AWS_SECRET_ACCESS_KEY": "b",
    "AWS_REGION": "us-east-1",
}
LISTING = "<ListBucketResult><IsTruncated>false</IsTruncated>{}</ListBucketResult>"
CONTENTS = "<Contents><Key>{}</Key><LastModified>2024-01-01T00:00:00Z</LastModified><Size>9</Size></Contents>"


@pytest.fixture(scope="module")
def moto():
    """Return the address of an S3 server with the bucket `bucket`."""
    server = pytest.importorskip("moto.server").ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    urllib.request.urlopen(urllib.request.Request(f"http://{host}:{port}/bucket", method="PUT")).close()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def use_server(monkeypatch, tmp_path):
    """Return a function that makes a server the endpoint of `s3://`, with a cache of its own."""

    def use(address):
        for name, value in {**ENVIRONMENT, "AWS_ENDPOINT_URL": address}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        storage._open_store.cache_clear()

    yield use
    storage._open_store.cache_clear()


@pytest.fixture
def s3(moto, use_server):
    use_server(moto)


class Faults(BaseHTTPRequestHandler):
    """A storage whose buckets are `denied`, or `faulty` with objects that cannot be read."""

    def do_GET(self):
        if self.path.startswith("/faulty?"):
            self.answer(200, LISTING.format("".join(map(CONTENTS.format, ("cut.png", "denied.png", "slow.png")))))
        elif self.path == "/faulty/slow.png":
            time.sleep(3)
        elif self.path == "/faulty/cut.png":
            self.answer(200, "only this", length=1000)
        else:
            self.answer(403, "<Error><Code>AccessDenied</Code></Error>")

    def do_HEAD(self):
        self.do_GET()

    def answer(self, code, text, length=None):
        self.send_response(code)
        self.send_header("Content-Length", str(length or len(text)))
        self.send_header("Last-Modified", "Mon, 01 Jan 2024 00:00:00 GMT")
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_):
        pass


@pytest.fixture
def faults(use_server, monkeypatch):
    monkeypatch.setattr(storage, "TIMEOUT_S", 1)
    monkeypatch.setattr(storage, "_RETRIES", 0)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Faults)
    thread = Thread(target=server.serve_forever)
    thread.start()
    use_server(f"http://127.0.0.1:{server.server_port}")
    yield
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def reader():
    return Reader.open(num_threads=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder with images, files that cannot be read, and files that are passed over."""
    folder = tmp_path_factory.mktemp("local") / "set"
    for number, image in enumerate(draw_phantoms(2, size=128, seed=2).images):
        (folder / "deep").mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / "deep" / f"{number} é#%20.png")
    shutil.copy(folder / "deep" / "0 é#%20.png", folder / "without_suffix")
    for name, content in {"empty.png": b"", "damaged.png": b"x", "notes.txt": b"x", ".hidden.png": b"x"}.items():
        (folder / name).write_bytes(content)
    return folder


def upload(folder, prefix):
    for path in folder.rglob("*"):
        if path.is_file():
            put(f"{prefix}/{path.relative_to(folder).as_posix()}", path.read_bytes())


def put(key, content):
    obstore.put(storage._open_store("s3://bucket"), key, content)


def delete(key):
    obstore.delete(storage._open_store("s3://bucket"), key)


def run(monkeypatch, capsys, *words):
    monkeypatch.setattr(sys, "argv", ["pneumoscope", *map(str, words)])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    return int(stopped.value.code or 0), *capsys.readouterr()


def rows(table, source):
    return [{**row, "path": row["path"].removeprefix(f"{source}/")} for row in read_table(table)]


def test_objects_are_read_as_files_are(s3, monkeypatch, capsys, folder, tmp_path):
    upload(folder, "set")
    put("settings/other.png", b"x")
    local = run(monkeypatch, capsys, "read", folder, "--output", tmp_path / "local.jsonl")
    remote = run(monkeypatch, capsys, "read", "s3://bucket/set/", "--output", tmp_path / "remote.jsonl")

    assert local[0] == remote[0] == 1
    assert "notes.txt: no image by suffix or content" in remote[2] and ".hidden.png: hidden" in remote[2]
    expected = sorted(rows(tmp_path / "local.jsonl", folder), key=lambda row: row["path"])
    assert len(expected) == 5
    assert sorted(rows(tmp_path / "remote.jsonl", "s3://bucket/set"), key=lambda row: row["path"]) == expected


def test_a_vanished_object_is_a_row_with_an_error(s3, folder, reader):
    upload(folder, "vanishing")
    paths = list(list_files(["s3://bucket/vanishing"]))
    delete("vanishing/empty.png")
    readings = read_files(ReadBatch(reader), [*paths, "s3://bucket/vanishing/never.png"])
    errors = {reading.path.rpartition("/")[2]: reading.error for reading in readings if reading.error}

    assert list(list_files(["s3://bucket/vanishing/never.png"])) == ["s3://bucket/vanishing/never.png"]
    assert set(errors) == {"damaged.png", "empty.png", "never.png"}
    assert errors["empty.png"] == errors["never.png"] == "the object cannot be read: the object does not exist"


def test_slow_cut_and_denied_objects_are_rows_with_an_error(faults, reader):
    readings = list(read_files(ReadBatch(reader), list_files(["s3://faulty"])))

    assert [reading.path for reading in readings] == [f"s3://faulty/{name}.png" for name in ("cut", "denied", "slow")]
    assert all("the object cannot be read" in reading.error for reading in readings)
    assert "access is denied" in readings[1].error
    assert "\n" not in "".join(reading.error for reading in readings)


@pytest.mark.parametrize("command", ["read", "evaluate", "train"])
@pytest.mark.parametrize(("server", "bucket"), [("faults", "denied"), ("s3", "missing")])
def test_a_denied_or_missing_bucket_is_one_message(request, monkeypatch, capsys, command, server, bucket):
    request.getfixturevalue(server)
    for source in (f"s3://{bucket}/set", *([f"s3://{bucket}/image.png"] if command == "read" else [])):
        code, out, err = run(monkeypatch, capsys, command, source)
        assert (code, out, len(err.splitlines())) == (cli.USER_ERROR, "", 1)
        assert ("access is denied" if bucket == "denied" else "the bucket does not exist") in err


def test_a_table_is_written_to_an_object(s3, monkeypatch, capsys, folder):
    words = ["read", folder / "deep", "--output", "s3://bucket/out/readings.csv"]
    first, second = (run(monkeypatch, capsys, *words) for _ in range(2))
    third = run(monkeypatch, capsys, *words[:1], folder, *words[2:], "--resume")

    assert (first[0], second[0], third[0]) == (0, cli.USER_ERROR, 1)
    assert "exists already" in second[2]
    copy = storage.fetch_data("s3://bucket/out/readings.csv")
    assert len(list(read_table(copy))) == 5
    assert sorted(path.name for path in copy.parent.iterdir()) == ["readings.csv"]


def test_parts_are_objects(s3, monkeypatch, capsys, folder, tmp_path):
    monkeypatch.setattr(processes, "read_in_processes", read_files)
    upload(folder, "archive")
    words = ["read", "s3://bucket/archive", "--output", "s3://bucket/parts/", "--shard"]
    assert run(monkeypatch, capsys, *words, "0/2")[0] < cli.USER_ERROR
    combine = ["read", "--combine", "s3://bucket/parts/", "--output", "s3://bucket/all.jsonl"]
    path, _ = archive._locate("s3://bucket/parts/", Shard(1, 2))
    unfinished = path.with_name(f"{path.name}.partial")
    unfinished.write_text("")  # of a process that reads the other shard
    code, _, err = run(monkeypatch, capsys, *combine)
    assert code == cli.USER_ERROR and "1 of 2 shards are missing" in err
    assert unfinished.exists()
    unfinished.unlink()
    code, _, err = run(monkeypatch, capsys, *combine, "--resume", "--json")
    assert code == cli.USER_ERROR and "--output FILE alone, not --resume, --json" in err
    assert "several values of count" in run(monkeypatch, capsys, *words, "1/3")[2]
    assert run(monkeypatch, capsys, *words, "1/2")[0] < cli.USER_ERROR

    code, _, err = run(monkeypatch, capsys, *combine)
    assert code == 0, err
    storage.fetch_file("s3://bucket/all.jsonl", tmp_path / "all.jsonl")
    paths = [row["path"] for row in read_table(tmp_path / "all.jsonl")]
    assert len(paths) == len(set(paths)) == 5
    assert list(storage.cache_folder("s3://bucket/parts/").iterdir()) == []


def test_training_data_are_copied_once(s3, phantom_folder, monkeypatch):
    upload(phantom_folder, "labeled")
    local, remote = load_dataset(phantom_folder, size=64), load_dataset("s3://bucket/labeled", size=64)
    order = np.argsort(remote.names)
    np.testing.assert_array_equal(remote.images[order], local.images[np.argsort(local.names)])
    assert remote.label_set == local.label_set

    name = str(local.names[0])
    delete(f"labeled/{name}")
    put("labeled/added.txt", b"x")
    fetched = []
    monkeypatch.setattr(storage, "fetch_file", lambda url, path: fetched.append(url) or path.write_bytes(b"x"))
    copy = storage.fetch_data("s3://bucket/labeled/")
    assert fetched == ["s3://bucket/labeled/added.txt"]
    assert not (copy / name).exists() and (copy / str(local.names[1])).exists()
    assert {path.stat().st_mode & 0o077 for path in (copy, copy.parent)} == {0}


def test_evaluate_takes_a_url(s3, phantom_folder, monkeypatch, capsys):
    upload(phantom_folder, "labeled")
    printed = []
    for source in (phantom_folder, "s3://bucket/labeled"):
        code, out, err = run(monkeypatch, capsys, "evaluate", source, "--no-confounders", "--json")
        assert code == 0, err
        printed.append(json.loads(out)["scopes"])

    assert printed[0] == printed[1]


def test_an_object_that_cannot_be_copied_is_left_out(faults, caplog):
    copy = storage.fetch_folder("s3://faulty")

    assert list(copy.iterdir()) == []
    assert sum("left out: 1 objects" in record.getMessage() for record in caplog.records) == 3


def test_a_file_of_a_web_server_is_read(monkeypatch, folder, reader):
    class Files(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Files, directory=folder))
    thread = Thread(target=server.serve_forever)
    thread.start()
    # Without TLS: obstore knows no certificate of this computer.
    address, options = f"http://127.0.0.1:{server.server_port}", {"allow_http": True}
    monkeypatch.setattr(storage, "_open_store", lambda _: HTTPStore.from_url(address, client_options=options))
    names = ["deep/0%20%C3%A9%23%2520.png", "gone.png"]
    read, gone = read_files(ReadBatch(reader), list_files([f"https://host/{name}" for name in names]))
    server.shutdown()
    thread.join()
    server.server_close()

    (local,) = read_files(ReadBatch(reader), [str(folder / "deep" / "0 é#%20.png")])
    assert read.path == f"https://host/{names[0]}" and read.probabilities == local.probabilities
    assert gone.error == "the object cannot be read: the object does not exist"


@pytest.mark.parametrize("url", ["https://user:secret@host/a.png", "https://host/a.png?token=secret", "s3:///a.png"])
def test_credentials_in_a_url_are_refused_and_not_repeated(url):
    with pytest.raises(CollectionError, match="credentials in the environment") as error:
        list(storage.list_objects(url))
    assert "secret" not in str(error.value)


def test_the_missing_extra_is_named(monkeypatch, capsys, tmp_path):
    monkeypatch.setitem(sys.modules, "obstore", None)
    for words in (["read", "s3://bucket/set"], ["train", "s3://bucket/set", "--out", tmp_path / "run"]):
        code, out, err = run(monkeypatch, capsys, *words)
        assert (code, out, len(err.splitlines())) == (cli.USER_ERROR, "", 1)
        assert "pip install '.[cloud]'" in err
    assert not (tmp_path / "run").exists() and isinstance(storage.fetch_data("folder"), Path)
