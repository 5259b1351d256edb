"""The listener with an SCU and an SCP on loopback; predictions are replaced by small objects."""

import errno
import logging
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset, dcmread
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGBaseline8Bit, generate_uid
from pynetdicom import AE, build_context
from pynetdicom.sop_class import (
    ComprehensiveSRStorage,
    CTImageStorage,
    SecondaryCaptureImageStorage,
    Verification,
)

from pneumoscope.data.dicom import OWN_OBJECT
from pneumoscope.errors import ImageError, PneumoscopeError
from pneumoscope.pacs import listener
from pneumoscope.pacs import spool as spool_module
from pneumoscope.pacs.delivery import DeliveryError, Peer, send_by_dimse
from pneumoscope.pacs.listener import Caller, ListenSettings, predict_waiting, start_server
from pneumoscope.pacs.spool import Spool
from pneumoscope.pacs.tls import TlsFiles

# pynetdicom leaves the sockets of failed connections to the garbage collector.
pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed <s:ResourceWarning"),
    pytest.mark.usefixtures("collect_sockets"),
]


@contextmanager
def serving(spool: Spool, *callers: str, **options: Any) -> Iterator[int]:
    """Run the server without workers, and yield its port."""
    settings = ListenSettings(tuple(map(Caller.parse, callers or ("SCU",))), port=0, **options)
    with start_server(spool, settings, threading.Event()) as server:
        yield server.server_address[1]


def store(port: int, dataset: Dataset, *, calling: str = "SCU", called: str = "PNEUMOSCOPE") -> int | None:
    """Send a dataset with C-STORE, and return the status; None if the association is refused."""
    entity = AE(calling)
    context = build_context(dataset.SOPClassUID, dataset.file_meta.TransferSyntaxUID)
    association = entity.associate("127.0.0.1", port, [context], called)
    if not association.is_established:
        return None
    status = association.send_c_store(dataset).Status
    association.release()
    return int(status)


def list_names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_an_image_is_stored_as_it_came_and_not_decoded(spool: Spool, make_object: Any) -> None:
    image = make_object(Rows=2, Columns=2)
    image.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    image.PixelData = encapsulate([b"no JPEG "])
    image["PixelData"].VR = "OB"
    with serving(spool) as port:
        assert store(port, image) == 0x0000
    (path,) = spool.incoming.iterdir()
    assert path.name.endswith(f"-{image.SOPInstanceUID}.dcm")
    assert path.stat().st_mode & 0o077 == 0
    written = dcmread(path)
    assert written == image and written.file_meta.TransferSyntaxUID == JPEGBaseline8Bit


@pytest.mark.parametrize(
    "sop_class", [CTImageStorage, ComprehensiveSRStorage, "1.2.3.4.5"], ids=["CT", "SR", "private"]
)
def test_other_objects_are_accepted_dropped_and_named(
    spool: Spool, sop_class: str, make_object: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "pneumoscope")
    with serving(spool) as port:
        assert store(port, make_object(sop_class)) == 0x0000
    assert list_names(spool.incoming) == []
    assert f"dropped, SOP class {sop_class} is no radiograph" in caplog.text


@pytest.mark.parametrize(
    ("callers", "calling", "called"),
    [
        (["OTHER"], "SCU", "PNEUMOSCOPE"),
        (["SCU@10.1.2.3", "OTHER@127.0.0.1"], "SCU", "PNEUMOSCOPE"),
        (["SCU"], "SCU", "OTHER"),
    ],
    ids=["title", "address", "called"],
)
def test_an_unknown_caller_is_rejected(
    spool: Spool, callers: list[str], calling: str, called: str, make_object: Any
) -> None:
    with serving(spool, *callers) as port:
        assert store(port, make_object(), calling=calling, called=called) is None
        entity = AE(calling)
        association = entity.associate("127.0.0.1", port, [build_context(Verification)], called)
        assert association.is_rejected
    assert list_names(spool.incoming) == []


def test_a_known_caller_at_its_address_is_served(spool: Spool, make_object: Any) -> None:
    with serving(spool, "SCU@127.0.0.1", "OTHER@10.1.2.3") as port:
        assert store(port, make_object()) == 0x0000


def test_an_eleventh_association_is_rejected(spool: Spool) -> None:
    with serving(spool) as port:
        contexts = [build_context(Verification)]
        associations = [AE("SCU").associate("127.0.0.1", port, contexts, "PNEUMOSCOPE") for _ in range(11)]
        assert [one.is_established for one in associations] == [True] * 10 + [False]
        for one in associations[:10]:
            one.release()


def test_a_full_disk_refuses_and_recovers(spool: Spool, monkeypatch: pytest.MonkeyPatch, make_object: Any) -> None:
    with serving(spool) as port:
        monkeypatch.setattr(spool_module, "measure_free", lambda folder: (1 << 30) - 1)
        assert store(port, make_object()) == 0xA700
        assert list_names(spool.incoming) == []
        monkeypatch.setattr(spool_module, "measure_free", lambda folder: 1 << 30)
        assert store(port, make_object()) == 0x0000


def test_a_failed_write_is_out_of_resources(spool: Spool, monkeypatch: pytest.MonkeyPatch, make_object: Any) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(spool_module.os, "fsync", fail)
    with serving(spool) as port:
        assert store(port, make_object()) == 0xA700
    assert list_names(spool.incoming) == []


def test_names_and_logs_hold_uids_only(spool: Spool, caplog: pytest.LogCaptureFixture, make_object: Any) -> None:
    caplog.set_level(logging.DEBUG)
    spool.add("Doe^Jane", b"")
    assert "Doe" not in list_names(spool.incoming)[0]
    with serving(spool) as port:
        assert store(port, make_object()) == 0x0000
    assert "Doe" not in caplog.text


@pytest.fixture(scope="session")
def tls(tmp_path_factory: pytest.TempPathFactory) -> TlsFiles:
    """Return a certificate that is its own authority."""
    folder = tmp_path_factory.mktemp("tls")
    command = (
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost "
        "-addext subjectAltName=DNS:localhost,IP:127.0.0.1 -keyout key.pem -out cert.pem"
    )
    subprocess.run(command.split(), cwd=folder, check=True, capture_output=True)
    return TlsFiles(folder / "cert.pem", folder / "key.pem", folder / "cert.pem")


def test_a_connection_with_tls_is_served_and_others_are_refused(spool: Spool, tls: TlsFiles, make_object: Any) -> None:
    report = make_object(SecondaryCaptureImageStorage)
    anonymous = ssl.create_default_context(cafile=str(tls.ca))
    with serving(spool, tls=tls.make_server_context()) as port:
        silent = socket.create_connection(("127.0.0.1", port))
        peer = Peer("PNEUMOSCOPE", "localhost", port)
        with pytest.raises(DeliveryError):
            send_by_dimse([report], peer=peer, ae_title="SCU")
        with pytest.raises(DeliveryError):
            send_by_dimse([report], peer=peer, ae_title="SCU", tls=anonymous)
        assert list_names(spool.incoming) == []
        send_by_dimse([report], peer=peer, ae_title="SCU", tls=tls.make_client_context())
        silent.close()
    assert len(list_names(spool.incoming)) == 1


def test_unusable_tls_files_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "x.pem").write_text("no PEM")
    with pytest.raises(PneumoscopeError, match="expected PEM files"):
        TlsFiles(*[tmp_path / "x.pem"] * 3).make_client_context()
    with pytest.raises(PneumoscopeError, match="expected --tls-cert"):
        TlsFiles.parse(tmp_path / "x.pem", None, None)


@pytest.mark.parametrize(
    ("error", "folder", "text"),
    [
        (ImageError("damaged DICOM file"), "bad", "damaged DICOM file"),
        (ValueError("Doe^Jane"), "bad", "unexpected error (ValueError)"),
        (ImageError(OWN_OBJECT), "done", "own result, passed over"),
    ],
    ids=["damaged", "unexpected", "own"],
)
def test_an_image_without_results_is_finished_with_its_reason(
    spool: Spool, monkeypatch: pytest.MonkeyPatch, wait_for: Any, error: Exception, folder: str, text: str, working: Any
) -> None:
    def fail(*_: object, **options: object) -> None:
        raise error

    monkeypatch.setattr(listener, "make_results", fail)
    spool.add("1.2.3", b"content")
    with working(lambda stop, wake: predict_waiting(spool, None, stop, wake, threading.Event(), send_rejected=False)):
        wait_for(lambda: spool.find_next() is None)
    (note,) = (spool.folder / folder).glob("*-1.2.3.txt")
    assert note.read_text() == f"{text}\n"
    assert [path.read_bytes() for path in spool.bad.glob("*.dcm")] == [b"content"] * (folder == "bad")
    assert list_names(spool.outgoing) == []


def test_an_image_that_ends_the_program_is_set_aside_in_the_end(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    spool.add("1.2.3", b"content")
    image = spool.find_next()
    assert image and [Spool(spool.folder).count_attempt(image) for _ in range(listener.MAX_ATTEMPTS)] == [1, 2, 3]
    monkeypatch.setattr(listener, "make_results", lambda *_, **__: pytest.fail("begun once more"))
    listener._predict_one(spool, None, image, send_rejected=False)
    (note,) = spool.bad.glob("*-1.2.3.txt")
    assert "ended 3 times" in note.read_text() and spool.find_next() is None


def test_a_full_disk_is_no_attempt(spool: Spool) -> None:
    spool.add("1.2.3", b"content")
    image = spool.find_next()
    assert image and spool.count_attempt(image) == 1
    spool.forget_attempts()
    assert spool.count_attempt(image) == 1


def test_old_records_are_removed(spool: Spool) -> None:
    for uid in ("1.1", "1.2"):
        spool.add(uid, b"")
        image = spool.find_next()
        assert image
        spool.set_aside(image, "damaged")
    for path in spool.bad.glob("*-1.1.*"):
        os.utime(path, (0, 0))
    spool.remove_old(7 * 86400)
    assert [name.split("-")[1] for name in list_names(spool.bad)] == ["1.2.dcm", "1.2.txt"]


def test_a_spool_has_one_listener(spool: Spool) -> None:
    with pytest.raises(PneumoscopeError, match="another process uses the spool"), Spool(spool.folder).open():
        pass


def test_remains_of_a_killed_process_are_tidied(tmp_path: Path, make_object: Any, put_results: Any) -> None:
    spool = Spool(tmp_path)
    with spool.open():
        spool.add("1.2.3", b"")
        image = spool.find_next()
        assert image
        spool.put_results(image, [make_object()])
        image.write_bytes(b"")  # killed before it was removed
        (spool.incoming / ".partial.1.x.dcm").write_bytes(b"half")
        (spool.outgoing / ".partial.x").mkdir()
        (results,) = spool.list_unsent()
    with spool.open():
        assert list_names(spool.incoming) == [] and spool.list_unsent() == [results]
        (spool.done / f"{results.name}.txt").write_text("sent")  # killed before the results were removed
    with spool.open():
        assert spool.list_unsent() == []


@contextmanager
def listening(folder: Path, port: int, to: int) -> Iterator[subprocess.Popen[str]]:
    """Run a listener in a process of its own, which predicts once `folder` holds a file `go`."""
    words = [sys.executable, str(Path(__file__).with_name("held_listener.py")), str(folder), str(port), str(to)]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr
            assert "listening as PNEUMOSCOPE" in process.stderr.readline()
            yield process
        finally:
            process.kill()


def test_each_image_is_answered_once_after_a_kill(
    tmp_path: Path, destination: Any, find_port: Any, wait_for: Any, make_object: Any
) -> None:
    port, images = find_port(), [make_object() for _ in range(3)]
    with listening(tmp_path, port, destination.port) as process:
        assert [store(port, image) for image in images] == [0, 0, 0]
        process.kill()
    (tmp_path / "go").touch()
    with destination.running(), listening(tmp_path, port, destination.port) as process:
        wait_for(lambda: Spool(tmp_path / "spool").get_status().done == 3)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 0
    assert destination.received == {generate_uid(entropy_srcs=[image.SOPInstanceUID]): 1 for image in images}
    assert all(image.SOPInstanceUID in errors for image in images) and "Doe" not in errors


def test_sigterm_finishes_the_image_in_work(tmp_path: Path, destination: Any, find_port: Any, make_object: Any) -> None:
    port, images = find_port(), [make_object() for _ in range(2)]
    with listening(tmp_path, port, destination.port) as process:
        assert [store(port, image) for image in images] == [0, 0]
        process.send_signal(signal.SIGTERM)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(2)
        (tmp_path / "go").touch()
        process.communicate(timeout=60)
    assert process.returncode == 0
    status = Spool(tmp_path / "spool").get_status()
    assert (status.waiting, status.unsent) == (1, 1)


def test_a_fault_of_the_system_keeps_the_image(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError(errno.EMFILE, "too many open files")

    spool.add("1.2.3", b"content")
    image = spool.find_next()
    assert image
    monkeypatch.setattr(listener, "make_results", fail)
    with pytest.raises(OSError, match="too many open files"):
        listener._predict_one(spool, None, image, send_rejected=False)
    assert spool.find_next() == image
