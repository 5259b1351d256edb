"""The reading room as it is served: a real server in a thread, and films to send to it."""

import io
import os
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import uvicorn
from PIL import Image

from pneumoscope.app.server import bind_port, build_app, configure_server
from pneumoscope.inference.reader import Reader
from pneumoscope.phantoms.phantom import draw_phantoms

OpenRoom = Callable[..., Any]

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
QUIET = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
)
TIMEOUT_MS = 30_000


@pytest.fixture(scope="session")
def reader() -> Reader:
    """Return a reader of the shipped models, or of those in the folder that PNEUMOSCOPE_MODELS names."""
    return Reader.open(os.environ.get("PNEUMOSCOPE_MODELS"))


@pytest.fixture(scope="session")
def open_room(reader: Reader) -> OpenRoom:
    """Return a context manager that serves the app, with the keywords of `build_app`, and yields its address."""

    @contextmanager
    def opened(**keywords: Any) -> Iterator[str]:
        app = build_app(reader, **keywords)
        server = uvicorn.Server(configure_server(app, keywords.get("limits")))
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

    return opened


@pytest.fixture(scope="session")
def room(open_room: OpenRoom) -> Iterator[str]:
    """Return the address of a room that stays open for all tests."""
    with open_room() as address:
        yield address


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """Return a browser without a window, closed after each file: while it is driven, no other event loop can run."""
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed (on Debian: apt install chromium): no page is driven")
    driven = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: no page is driven")
    driven.expect.set_options(timeout=TIMEOUT_MS)
    with driven.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=list(QUIET))
        yield opened
        opened.close()


@pytest.fixture
def client(room: str) -> Iterator[httpx.Client]:
    """Return a client of the room."""
    with httpx.Client(base_url=room, timeout=120) as opened:
        yield opened


@pytest.fixture
def stays_well(room: str) -> Iterator[None]:
    """Check after a test that the room that stays open still answers at once."""
    yield
    assert httpx.get(f"{room}/api/health", timeout=20).json()["status"] == "ok"


@pytest.fixture(scope="session")
def talk() -> Callable[[str, bytes], bytes]:
    """Return a function that sends bytes as they are to an address, and returns all until the server closes."""

    def talked(address: str, data: bytes) -> bytes:
        host, port = address.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=20) as connection:
            connection.sendall(data)
            found = b""
            while piece := connection.recv(1 << 16):
                found += piece
        return found

    return talked


@pytest.fixture(scope="session")
def films() -> dict[str, bytes]:
    """Return a drawn film of each class as JPEG, 300 pixels high and 340 wide."""
    phantoms = draw_phantoms(6, size=128, seed=5)
    found = {}
    for kind in ("normal", "bacterial", "viral"):
        drawn = phantoms.images[list(phantoms.subtypes).index(kind)]
        found[kind] = encode_image(Image.fromarray(drawn).resize((340, 300)), "JPEG")
    return found


@pytest.fixture(scope="session")
def collection(reader: Reader, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder that holds an image in the place of the first known image."""
    folder = tmp_path_factory.mktemp("collection")
    path = folder / str(reader.models.known.names[0])
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(0).integers(0, 256, (300, 600), dtype=np.uint8)
    Image.fromarray(noise).save(path, format="PNG")
    return folder


def encode_image(image: Image.Image, image_format: str, **options: Any) -> bytes:
    """Return an image as the bytes of a file."""
    stream = io.BytesIO()
    image.save(stream, format=image_format, **options)
    return stream.getvalue()
