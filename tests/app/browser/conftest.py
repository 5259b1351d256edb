"""Fixtures that drive the app in a real browser."""

import base64
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pneumoscope.phantoms.phantom import draw_phantoms

WIDE = {"width": 1440, "height": 900}
TIMEOUT_MS = 30_000


@dataclass
class Visit:
    """One visitor of a page of playwright, with a folder of images."""

    page: Any
    folder: Path

    def pick(self, *names: str) -> None:
        """Pick images of the folder in the browser's dialog, and wait for the reading of the first."""
        self.page.locator("#picker").set_input_files([str(self.folder / name) for name in names])
        self.wait()

    def wait(self) -> None:
        """Wait until the chosen image has its reading and is shown."""
        self.page.wait_for_selector('#answer[aria-busy="false"]')
        self.page.wait_for_selector("#wait", state="hidden")

    def read_pixels(self, selector: str = "#canvas") -> np.ndarray:
        """Return `(H, W, 4)` uint8, the content of a canvas once it has drawn its last change."""
        address = self.page.locator(selector).evaluate(
            "(canvas) => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done("
            "canvas.toDataURL()))))"
        )
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(address.split(",")[1]))).convert("RGBA"))

    def download(self, button: str) -> bytes:
        """Return the file that a button saves."""
        with self.page.expect_download() as download:
            self.page.locator(button).click()
        return Path(download.value.path()).read_bytes()


@pytest.fixture
def open_visit(chromium: Any, app_url: str, folder: Path) -> Iterator[Callable[..., Visit]]:
    """Return a function that opens the page and picks images of `folder`.

    Afterwards no request to another host and no error must have occurred.
    """
    contexts, errors = [], []

    def open_one(
        *names: str,
        viewport: dict[str, int] = WIDE,
        dark: bool = False,
        may_fail: bool = False,
        address: str = app_url,
        routes: dict[str, Callable[[Any], None]] = MappingProxyType({}),
    ) -> Visit:
        scheme = "dark" if dark else "light"
        context = chromium.new_context(viewport=viewport, color_scheme=scheme, reduced_motion="reduce")
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(TIMEOUT_MS)
        own = (address, "data:", f"blob:{address}")
        page.on("request", lambda request: request.url.startswith(own) or errors.append(request.url))
        page.on("pageerror", lambda error: errors.append(str(error)))
        if not may_fail:
            page.on("console", lambda message: message.type == "error" and errors.append(message.text))
        for pattern, answer in routes.items():
            page.route(pattern, answer)
        page.goto(address)
        visit = Visit(page, folder)
        if names:
            visit.pick(*names)
        return visit

    yield open_one
    for context in contexts:
        context.close()
    assert not errors


@pytest.fixture
def visit(open_visit: Callable[..., Visit]) -> Visit:
    """Return a visit whose chosen image, `image-0.png`, has its reading."""
    return open_visit("image-0.png")


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory, make_dicom: Callable[..., bytes]) -> Path:
    """Return a folder with phantoms, also as DICOM, and with inverted, rotated, 16-bit and broken images."""
    root = tmp_path_factory.mktemp("images")
    phantoms = draw_phantoms(9, size=256, seed=7).images
    for number, image in enumerate(phantoms):
        Image.fromarray(image).resize((280, 256)).save(root / f"image-{number}.png")
    Image.fromarray(255 - phantoms[0]).save(root / "inverted.png")
    Image.fromarray(np.rot90(phantoms[0])).save(root / "rotated.png")
    Image.fromarray(phantoms[1].astype(np.uint16) * 257).save(root / "deep.png")
    windows = {"WindowCenter": ["128", "200"], "WindowWidth": ["256", "60"], "RescaleType": "HU", "PatientAge": "004Y"}
    windows |= {"WindowCenterWidthExplanation": ["NORMAL", "BONE"], "ImagerPixelSpacing": ["0.5", "0.5"]}
    (root / "chest.dcm").write_bytes(make_dicom(phantoms[3], RescaleSlope="1", RescaleIntercept="0", **windows))
    (root / "broken.jpeg").write_bytes(b"\xff\xd8\xff\xe0 this is no image")
    Image.fromarray(phantoms[2]).save(root / "<img src=x onerror=alert(1)>.png")
    return root
