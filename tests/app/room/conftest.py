"""A real browser in the reading room."""

import base64
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pneumoscope.phantoms.phantom import draw_phantoms

WIDE = {"width": 1440, "height": 900}
TIMEOUT_MS = 30_000


@dataclass
class Visit:
    """One person at the page.

    Attributes:
        page: of playwright.
    """

    page: Any

    def bring(self, *paths: Path) -> None:
        """Pick files, as a person does in the browser's dialog."""
        self.page.locator("#picker").set_input_files([str(path) for path in paths])

    def wait(self) -> None:
        """Wait until the chosen film has its answer and its picture."""
        self.page.wait_for_selector('#answer[aria-busy="false"]')
        self.page.wait_for_selector("#wait", state="hidden")

    def read_pixels(self, selector: str = "#canvas") -> np.ndarray:
        """Return `(H, W, 4)` uint8, what a canvas holds once it has drawn its last change."""
        address = self.page.locator(selector).evaluate(
            "(canvas) => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done("
            "canvas.toDataURL()))))"
        )
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(address.split(",")[1]))).convert("RGBA"))

    def download(self, button: str) -> bytes:
        """Return the file that a button saves."""
        with self.page.expect_download() as found:
            self.page.locator(button).click()
        return Path(found.value.path()).read_bytes()


@pytest.fixture
def open_visit(chromium: Any, room: str) -> Iterator[Callable[..., Visit]]:
    """Return a function that opens the room; at the end nothing was asked of another host and nothing went wrong."""
    contexts, complaints, strangers = [], [], []

    def watch(url: str) -> None:
        if not url.startswith((room, "data:", f"blob:{room}")):
            strangers.append(url)

    def open_one(viewport: dict[str, int] = WIDE, *, dark: bool = False, may_fail: bool = False) -> Visit:
        scheme = "dark" if dark else "light"
        context = chromium.new_context(viewport=viewport, color_scheme=scheme, reduced_motion="reduce")
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(TIMEOUT_MS)
        page.on("request", lambda request: watch(request.url))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        if not may_fail:
            page.on("console", lambda said: said.type == "error" and complaints.append(said.text))
        page.goto(room)
        return Visit(page)

    yield open_one
    for context in contexts:
        context.close()
    assert not complaints
    assert not strangers


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with drawn films, spoiled ones among them."""
    root = tmp_path_factory.mktemp("films")
    phantoms = draw_phantoms(9, size=256, seed=7).images
    for number, image in enumerate(phantoms):
        Image.fromarray(image).resize((280, 256)).save(root / f"film-{number}.png")
    Image.fromarray(255 - phantoms[0]).save(root / "inverted.png")
    Image.fromarray(np.rot90(phantoms[0])).save(root / "turned.png")
    Image.fromarray(phantoms[1].astype(np.uint16) * 257).save(root / "deep.png")
    (root / "broken.jpeg").write_bytes(b"\xff\xd8\xff\xe0 this is no picture")
    Image.fromarray(phantoms[2]).save(root / "<img src=x onerror=alert(1)>.png")
    return root
