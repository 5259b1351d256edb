"""A trained study in the browser: its numbers as JSON, its images as PNG, its report as it stands on disk.

The page itself is `templates/study.html.j2` with `static/study.js`, which asks for what is served here.
"""

import json
from collections import OrderedDict
from collections.abc import Callable
from os import PathLike
from pathlib import Path
from threading import BoundedSemaphore, Lock, Thread
from typing import Any, Literal

from fastapi import APIRouter
from fastapi.responses import FileResponse, JSONResponse, Response

from pneumoscope import RESEARCH_USE_ONLY
from pneumoscope.app.study_answer import SplitImages, describe_study, number_images
from pneumoscope.app.study_folder import open_study, sign_study
from pneumoscope.app.study_pictures import StudyPictures, encode_png
from pneumoscope.errors import PneumoscopeError

# The report is one file that carries its own style and pictures. A study may come from elsewhere, so its pages run
# no script, fetch nothing, and live in an origin of their own; what they link to opens as a page by itself.
PAGE_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; sandbox allow-popups allow-popups-to-escape-sandbox"
)
PAGES = {"report": Path("report.html"), "audit": Path("audit/audit.html")}
KEPT_PICTURES = 400
KEPT_BYTES = 32 << 20
DRAWN_AT_ONCE = 2

_NOT_FOUND = {"description": "Not there; `error` says why", "content": {"application/json": {}}}

Answer = tuple[bytes, dict[str, SplitImages], StudyPictures]


class StudyShelf:
    """One study, read when it is first asked for and again when it has got on.

    Args:
        folder: the study's folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = Lock()
        self._signature: tuple[tuple[str, int, int], ...] = ()
        self._answer: Answer | None = None
        # A whole film can take hundreds of megabytes while it is decoded.
        self._drawing = BoundedSemaphore(DRAWN_AT_ONCE)
        self._pictures: OrderedDict[tuple[str, str], bytes] = OrderedDict()

    def read(self) -> Answer:
        """Return the JSON of the study, its images by number, and where their pictures come from.

        Raises:
            PneumoscopeError: if the folder holds no study.
        """
        with self._lock:
            signature = sign_study(self.folder)
            if self._answer is None or signature != self._signature:
                self._answer = self._compose()
                self._signature = signature
                self._pictures.clear()
            return self._answer

    def draw(self, split: str, number: int, view: str) -> bytes:
        """Return one image as PNG.

        Raises:
            PneumoscopeError: if there is no such image, or no picture of it.
        """
        _, images, pictures = self.read()
        names = images[split].names
        if not 0 <= number < len(names):
            held = f"images 0 to {len(names) - 1}" if names else "no image"
            raise PneumoscopeError(f"there is no image {number} in {split}, which holds {held}")
        key = (names[number], view)
        png = self._pictures.get(key)
        if png is None:
            with self._drawing:
                load = pictures.load_film if view == "film" else pictures.load_net_view
                png = encode_png(load(names[number]))
            self._keep(key, png)
        return png

    def find_page(self, name: str) -> Path | None:
        """Return the path of a page that the study left, or None where there is none below its folder."""
        path = self.folder / PAGES[name]
        inside = path.resolve().is_relative_to(self.folder.resolve())
        return path if inside and path.is_file() else None

    def _compose(self) -> Answer:
        study = open_study(self.folder)
        images = number_images(study)
        pictures = StudyPictures(study, [name for split in images.values() for name in split.names])
        fault = pictures.check_source()
        answer = describe_study(study, images, phantoms=pictures.shows_phantoms())
        answer["pictures"] = {"available": not fault, "reason": fault}
        answer["pages"] = {name: f"/study/{name}" if self.find_page(name) else None for name in PAGES}
        if pictures.drawn and not fault and images["test"].names:
            # Drawing takes seconds: it starts before the first picture is asked for.
            Thread(target=_draw_ahead, args=(pictures, images["test"].names[0]), daemon=True).start()
        return json.dumps(answer, allow_nan=False).encode(), images, pictures

    def _keep(self, key: tuple[str, str], png: bytes) -> None:
        with self._lock:
            self._pictures[key] = png
            while len(self._pictures) > KEPT_PICTURES or sum(map(len, self._pictures.values())) > KEPT_BYTES:
                self._pictures.popitem(last=False)


def _draw_ahead(pictures: StudyPictures, name: str) -> None:
    try:
        pictures.load_net_view(name)
    except PneumoscopeError:
        return  # whoever asks for the picture is told


def build_study_router(study_dir: str | PathLike[str]) -> APIRouter:
    """Return the routes of one study, to be included in the app.

    Nothing is read before a route is asked for. `GET /api/study` is the study as JSON, and
    `GET /api/study/images/{split}/{number}.png` one of its images, by the number that the JSON gives it.
    `GET /study/report` and `GET /study/audit` are the pages that the study wrote.

    Args:
        study_dir: what `pneumoscope study --out` has written, finished or not.
    """
    shelf = StudyShelf(Path(study_dir))
    router = APIRouter(tags=["study"])

    def offer(path: str, kind: str, summary: str) -> Callable[..., Any]:
        told: dict[int | str, dict[str, Any]] = {200: {"description": "Found", "content": {kind: {}}}, 404: _NOT_FOUND}
        return router.get(path, summary=summary, response_class=Response, responses=told)

    @offer("/api/study", "application/json", "The study: scores, truth, curves, figures with 95 % intervals")
    def read_study() -> Response:
        try:
            return Response(shelf.read()[0], media_type="application/json")
        except PneumoscopeError as error:
            return _refuse(str(error))

    @offer("/api/study/images/{split}/{number}.png", "image/png", "One image, as the nets saw it or whole")
    def draw_image(split: Literal["val", "test"], number: int, view: Literal["net", "film"] = "net") -> Response:
        try:
            return Response(shelf.draw(split, number, view), media_type="image/png")
        except PneumoscopeError as error:
            return _refuse(str(error))

    @offer("/study/{page}", "text/html", "The report or the audit that the study wrote")
    def open_page(page: Literal["report", "audit"]) -> Response:
        path = shelf.find_page(page)
        if path is None:
            return _refuse(f"the study has not written {PAGES[page]} yet; `pneumoscope study --resume` goes on")
        return FileResponse(path, media_type="text/html", headers={"Content-Security-Policy": PAGE_POLICY})

    return router


def _refuse(reason: str) -> JSONResponse:
    return JSONResponse({"notice": RESEARCH_USE_ONLY, "error": reason}, status_code=404)
