"""A running server, a browser, and files to send."""

import io
import os
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import uvicorn
from PIL import Image
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian, generate_uid

from pneumoscope.app.server import bind_port, build_app, configure_server
from pneumoscope.inference.model_set import ModelCards, ModelSet
from pneumoscope.inference.reader import Reader
from pneumoscope.labels import LabelSet
from pneumoscope.phantoms.phantom import draw_phantoms

ServeApp = Callable[..., Any]

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
OPTIONS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
)
TIMEOUT_MS = 30_000


@pytest.fixture(scope="session")
def reader() -> Reader:
    """Return a reader of the shipped models, or of those in the folder that PNEUMOSCOPE_MODELS names."""
    return Reader.open(os.environ.get("PNEUMOSCOPE_MODELS"))


class NoisyGraph:
    """Stands in for the graph of a classifier of two findings: outputs without a meaning."""

    def run(self, inputs: dict[str, np.ndarray], outputs: list[str]) -> list[np.ndarray]:
        count = len(inputs["image"])
        shapes = {"probabilities": (count, 2), "embedding": (count, 8), "heatmaps": (count, 2, 4, 4)}
        return [np.full(shapes[name], 0.7, np.float32) for name in outputs]


@pytest.fixture(scope="session")
def findings_reader(reader: Reader) -> Reader:
    """Return a reader of two findings that has a classifier only."""
    labels = LabelSet(("Mass <b>", "edema"), "No Finding", multi_label=True)
    fits = {"fitted": (1, 1, 0, 0), "resampled": ((1, 1, 0, 0),), "frequencies": ()}
    calibration = replace(reader.models.cards.classifier.calibration, **fits)
    card = replace(
        reader.models.cards.classifier,
        label_set=labels,
        calibration=calibration,
        operating_points={},
        missing={"anomaly": "no negative images", "references": "no training images"},
    )
    cards = ModelCards(card, None, None)
    return Reader(ModelSet(cards, NoisyGraph(), anomaly=None, references=None, ood_detector=None))  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def serve_app(reader: Reader) -> ServeApp:
    """Return a context manager that serves the app, with the keywords of `build_app`, and yields its address."""

    @contextmanager
    def open_one(reader: Reader = reader, **keywords: Any) -> Iterator[str]:
        server = uvicorn.Server(configure_server(build_app(reader, **keywords), keywords.get("limits")))
        with bind_port(0) as listener:
            thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
            thread.start()
            try:
                while not server.started:
                    assert thread.is_alive()
                    time.sleep(0.01)
                yield f"http://127.0.0.1:{listener.getsockname()[1]}"
            finally:
                server.should_exit = True
                thread.join()

    return open_one


@pytest.fixture(scope="session")
def app_url(serve_app: ServeApp) -> Iterator[str]:
    """Return the address of a server that runs for all tests."""
    with serve_app() as address:
        yield address


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """Return a browser, closed after each file: while it is driven, no other event loop can run."""
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed (on Debian: apt install chromium)")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    playwright.expect.set_options(timeout=TIMEOUT_MS)
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=list(OPTIONS))
        yield browser
        browser.close()


@pytest.fixture
def client(app_url: str) -> Iterator[httpx.Client]:
    """Return an HTTP client of the server."""
    with httpx.Client(base_url=app_url, timeout=120) as client:
        yield client


@pytest.fixture
def server_recovers(app_url: str) -> Iterator[None]:
    """Check after a test that the server still answers."""
    yield
    assert httpx.get(f"{app_url}/api/health", timeout=20).json()["status"] == "ok"


@pytest.fixture(scope="session")
def connect() -> Callable[[str], socket.socket]:
    """Return a function that connects to the server at an address."""

    def open_one(address: str) -> socket.socket:
        host, port = address.removeprefix("http://").split(":")
        return socket.create_connection((host, int(port)), timeout=20)

    return open_one


@pytest.fixture(scope="session")
def send_bytes(connect: Callable[[str], socket.socket]) -> Callable[[str, bytes], bytes]:
    """Return a function that sends bytes to an address, and returns all until the server closes."""

    def send(address: str, data: bytes) -> bytes:
        with connect(address) as connection:
            connection.sendall(data)
            return b"".join(iter(lambda: connection.recv(1 << 16), b""))

    return send


@pytest.fixture(scope="session")
def radiographs() -> dict[str, bytes]:
    """Return a phantom of each class as JPEG, 300 pixels high and 340 wide."""
    phantoms = draw_phantoms(6, size=128, seed=5)
    images = {str(label): image for label, image in zip(phantoms.labels, phantoms.images, strict=True)}
    return {label: encode_image(image, "JPEG", (340, 300)) for label, image in images.items()}


@pytest.fixture(scope="session")
def collection(reader: Reader, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with an image in the place of the first reference case."""
    folder = tmp_path_factory.mktemp("collection")
    path = folder / str(reader.models.references.names[0])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode_image(np.random.default_rng(0).integers(0, 256, (300, 600), dtype=np.uint8)))
    return folder


def encode_image(pixels: np.ndarray, image_format: str = "PNG", size: tuple[int, int] | None = None) -> bytes:
    """Return pixels as the bytes of a file, resized to (width, height)."""
    image = Image.fromarray(pixels)
    stream = io.BytesIO()
    (image.resize(size) if size else image).save(stream, format=image_format)
    return stream.getvalue()


@pytest.fixture(scope="session")
def encode() -> Callable[..., bytes]:
    """Return `encode_image`."""
    return encode_image


@pytest.fixture(scope="session")
def make_dicom() -> Callable[..., bytes]:
    """Return a function that makes a digital X-ray of 8- or 16-bit pixels, with more elements by keyword."""

    def make(pixels: np.ndarray, syntax: str = ExplicitVRLittleEndian, **elements: str) -> bytes:
        dataset = Dataset()
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = syntax
        dataset.SOPClassUID, dataset.SOPInstanceUID = DigitalXRayImageStorageForPresentation, generate_uid()
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = generate_uid(), generate_uid()
        dataset.Modality, dataset.PatientName, dataset.PatientID = "DX", "Sample^Case", "SAMPLE-1"
        dataset.set_pixel_data(pixels, "MONOCHROME2", 8 * pixels.itemsize, generate_instance_uid=False)
        for name, value in elements.items():
            setattr(dataset, name, value)
        stream = io.BytesIO()
        dataset.save_as(stream, enforce_file_format=True)
        return stream.getvalue()

    return make
