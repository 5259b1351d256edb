"""Drawn DICOM radiographs, a DICOM destination that notes what it gets, and a real Orthanc."""

import gc
import json
import shutil
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    ExplicitVRLittleEndian,
    JPEGLSLossless,
    SecondaryCaptureImageStorage,
    generate_uid,
)

from pneumoscope.pacs.spool import Spool
from pneumoscope.phantoms.phantom import draw_phantoms

ORTHANC_PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")


def draw_radiographs(number: int, **elements: object) -> list[Dataset]:
    """Return phantoms as computed radiographs of one study, of a child of three years."""
    study, series = generate_uid(), generate_uid()
    radiographs = []
    for index, image in enumerate(draw_phantoms(number, size=256, seed=5).images):
        dataset = Dataset()
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.SOPClassUID, dataset.SOPInstanceUID = ComputedRadiographyImageStorage, generate_uid()
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study, series
        dataset.PatientName, dataset.PatientID, dataset.PatientSex = "Doe^Jane", "MRN-4711", "F"
        dataset.StudyDate, dataset.StudyTime, dataset.StudyID = time.strftime("%Y%m%d"), "070809", "1"
        dataset.PatientBirthDate = dataset.ReferringPhysicianName = dataset.AccessionNumber = ""
        dataset.PatientAge, dataset.ViewPosition, dataset.BodyPartExamined = "003Y", "AP", "CHEST"
        dataset.Modality, dataset.InstanceNumber, dataset.SeriesNumber = "CR", index + 1, 1
        dataset.PatientOrientation = ["L", "F"]
        dataset.set_pixel_data(image, "MONOCHROME2", 8, generate_instance_uid=False)
        for keyword, value in elements.items():
            setattr(dataset, keyword, value)
        radiographs.append(dataset)
    return radiographs


def write_radiographs(folder: Path, radiographs: list[Dataset]) -> list[Path]:
    """Write radiographs as files, and return their paths."""
    folder.mkdir(exist_ok=True)
    paths = [folder / f"{number}.dcm" for number in range(len(radiographs))]
    for path, dataset in zip(paths, radiographs, strict=True):
        dataset.save_as(path, enforce_file_format=True)
    return paths


def find_port() -> int:
    """Return a free port."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def wait_for(condition: Callable[[], Any], *, seconds: float = 60) -> Any:
    """Return the value of `condition` once it is true."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(0.05)
    raise AssertionError(f"still false after {seconds} s: {condition()!r}")


@dataclass
class Destination:
    """A DICOM listener that counts the objects it gets.

    Attributes:
        port: where it listens.
        received: how often each SOP instance UID came.
        objects: the last object of each SOP instance UID.
    """

    port: int = field(default_factory=find_port)
    received: Counter[str] = field(default_factory=Counter)
    objects: dict[str, Dataset] = field(default_factory=dict)

    @contextmanager
    def running(self, *syntaxes: str, status: int = 0) -> Iterator["Destination"]:
        """Listen meanwhile, for secondary captures and reports in some transfer syntaxes only."""
        from pynetdicom import AE, _config, evt
        from pynetdicom.sop_class import ComprehensiveSRStorage

        def store(event: evt.Event) -> int:
            dataset = event.dataset
            dataset.file_meta = event.file_meta
            self.received[dataset.SOPInstanceUID] += 1
            self.objects[dataset.SOPInstanceUID] = dataset
            return status

        _config.UNRESTRICTED_STORAGE_SERVICE = False
        entity = AE("PACS")
        for sop_class in (SecondaryCaptureImageStorage, ComprehensiveSRStorage):
            entity.add_supported_context(sop_class, list(syntaxes) or ["1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.1"])
        entity.start_server(("127.0.0.1", self.port), block=False, evt_handlers=[(evt.EVT_C_STORE, store)])
        try:
            yield self
        finally:
            entity.shutdown()


class Orthanc:
    """A running Orthanc on loopback."""

    def __init__(self, folder: Path, **more: Any) -> None:
        self.folder, self.http_port, self.dicom_port = folder, find_port(), find_port()
        self.url = f"http://127.0.0.1:{self.http_port}"
        self.web = f"{self.url}/dicom-web"
        self.settings: dict[str, Any] = {
            "StorageDirectory": str(folder / "db"),
            "IndexDirectory": str(folder / "db"),
            "HttpPort": self.http_port,
            "DicomPort": self.dicom_port,
            "DicomAet": "ORTHANC",
            "Plugins": [str(ORTHANC_PLUGIN)],
            "AuthenticationEnabled": False,
            "StableAge": 1,
            "DicomAssociationCloseDelay": 0,
            **more,
        }

    @contextmanager
    def running(self) -> Iterator["Orthanc"]:
        """Run meanwhile."""
        self.folder.mkdir(exist_ok=True)
        (self.folder / "orthanc.json").write_text(json.dumps(self.settings))
        with (self.folder / "orthanc.log").open("ab") as log:
            process = subprocess.Popen(["Orthanc", str(self.folder / "orthanc.json")], stdout=log, stderr=log)
            try:
                wait_for(self._answers)
                yield self
            finally:
                process.terminate()
                process.wait(60)

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/system").status_code == 200
        except httpx.TransportError:
            return False

    def ask(self, path: str) -> Any:
        """Return the answer of the REST API."""
        return httpx.get(f"{self.url}/{path}", timeout=60).raise_for_status().json()

    def list_uids(self) -> list[str]:
        """Return the SOP instance UIDs of all objects."""
        instances = self.ask("instances?expand")
        return sorted(one["MainDicomTags"]["SOPInstanceUID"] for one in instances)

    def export(self, folder: Path) -> list[Path]:
        """Write all objects to a folder, and return their paths."""
        folder.mkdir()
        paths = []
        for one in self.ask("instances"):
            paths.append(folder / f"{one}.dcm")
            paths[-1].write_bytes(httpx.get(f"{self.url}/instances/{one}/file", timeout=60).content)
        return paths

    def send(self, level: str, modality: str) -> dict[str, Any]:
        """Send all patients, studies or instances to a modality in one job, and return the answer."""
        content = {"Resources": self.ask(level), "Synchronous": True}
        answer = httpx.post(f"{self.url}/modalities/{modality}/store", json=content, timeout=300)
        return dict(answer.raise_for_status().json())


def make_object(sop_class: str = ComputedRadiographyImageStorage, **elements: object) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID, dataset.PatientName = sop_class, generate_uid(), "Doe^Jane"
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return dataset


def make_capture() -> Dataset:
    capture = make_object(SecondaryCaptureImageStorage)
    pixels = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64).astype(np.uint8)
    capture.set_pixel_data(pixels, "MONOCHROME2", 8, generate_instance_uid=False)
    capture.compress(JPEGLSLossless, generate_instance_uid=False)
    return capture


def put_results(spool: Spool, *objects: Dataset) -> None:
    spool.add(generate_uid(), b"")
    image = spool.find_next()
    assert image
    spool.put_results(image, objects)


@contextmanager
def working(work: Callable[[threading.Event, threading.Event], None]) -> Iterator[threading.Event]:
    """Run a worker in a thread with the events `stop` and `wake`; yield `wake`."""
    stop, wake = threading.Event(), threading.Event()
    thread = threading.Thread(target=work, args=(stop, wake))
    thread.start()
    try:
        yield wake
    finally:
        stop.set()
        wake.set()
        thread.join(60)
    assert not thread.is_alive()


@pytest.fixture(name="draw_radiographs")
def _draw_radiographs() -> Callable[..., list[Dataset]]:
    return draw_radiographs


@pytest.fixture(name="write_radiographs")
def _write_radiographs() -> Callable[..., list[Path]]:
    return write_radiographs


@pytest.fixture(name="wait_for")
def _wait_for() -> Callable[..., Any]:
    return wait_for


@pytest.fixture(name="find_port")
def _find_port() -> Callable[[], int]:
    return find_port


@pytest.fixture
def destination() -> Destination:
    """Return a DICOM listener that is not running yet."""
    return Destination()


@pytest.fixture
def make_orthanc(tmp_path: Path) -> Callable[..., Orthanc]:
    """Return a function that makes an Orthanc from settings, or skip the test without Orthanc."""
    missing = [name for name in ("Orthanc", "dcmsend") if shutil.which(name) is None]
    missing += [] if ORTHANC_PLUGIN.exists() else ["orthanc-dicomweb"]
    if missing:
        pytest.skip(f"{', '.join(missing)} not installed (Debian: orthanc orthanc-dicomweb dcmtk)")
    return partial(Orthanc, tmp_path / "orthanc")


@pytest.fixture(name="make_object")
def _make_object() -> Callable[..., Any]:
    return make_object


@pytest.fixture(name="make_capture")
def _make_capture() -> Callable[..., Any]:
    return make_capture


@pytest.fixture(name="put_results")
def _put_results() -> Callable[..., Any]:
    return put_results


@pytest.fixture(name="working")
def _working() -> Callable[..., Any]:
    return working


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    opened = Spool(tmp_path / "spool")
    with opened.open():
        yield opened


@pytest.fixture
def collect_sockets() -> Iterator[None]:
    """Close the sockets that pynetdicom leaves to the garbage collector."""
    yield
    gc.collect()
