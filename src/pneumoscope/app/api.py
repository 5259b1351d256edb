"""The routes of the JSON API."""

import time
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from pneumoscope.app.answers import (
    add_look,
    answer_all,
    answer_reading,
    describe_health,
    describe_known,
    describe_models,
)
from pneumoscope.app.limits import Limits, RequestError
from pneumoscope.app.pictures import draw_chests, draw_picture, draw_thumbnail, measure_image
from pneumoscope.app.pool import ReadingPool
from pneumoscope.app.schema import Fault, Health, Known, Models, Phantom, ReadingAnswer, Readings
from pneumoscope.app.uploads import Form, Upload, receive_form
from pneumoscope.errors import ImageError, PneumoscopeError
from pneumoscope.reading.decode import decode_radiograph
from pneumoscope.reading.reading import Reading

if TYPE_CHECKING:
    from pneumoscope.reading.reader import Reader

DEFAULT_POINT = "balanced"

_FAULTS: dict[int | str, dict[str, Any]] = {
    400: {"model": Fault, "description": "No files, a damaged body, or an unknown operating point"},
    403: {"model": Fault, "description": "Another host, or a page of another origin"},
    408: {"model": Fault, "description": "The body came too slowly"},
    413: {"model": Fault, "description": "Too many files, or too large"},
    415: {"model": Fault, "description": "Not multipart/form-data"},
    503: {"model": Fault, "description": "Too much at once; try again in a moment"},
}
_PNG: dict[int | str, dict[str, Any]] = {
    200: {"content": {"image/png": {}}, "description": "8-bit gray"},
    404: {"model": Fault, "description": "There is none"},
}
_FILE = {"type": "string", "format": "binary"}
_POINT = {
    "type": "string",
    "default": DEFAULT_POINT,
    "description": "A named operating point, or the threshold itself: a number between 0 and 1",
}


@dataclass(frozen=True)
class Desk:
    """What the routes work with.

    Attributes:
        reader: trained models.
        limits: on requests.
        pool: the threads that read.
        data_dir: root of the collection that the known images come from, if it is at hand.
    """

    reader: "Reader"
    limits: Limits
    pool: ReadingPool
    data_dir: Path | None = None


def build_routes(desk: Desk) -> APIRouter:
    """Return all routes of the API."""
    router = APIRouter(prefix="/api")
    _add_descriptions(router, desk)
    _add_phantoms(router, desk)
    _add_reading(router, desk)
    _add_dicom(router, desk)
    return router


def read_uploads(
    reader: "Reader", uploads: list[Upload], *, operating_point: str, full: bool, seconds: float
) -> list[ReadingAnswer]:
    """Read files one after the other; one that cannot be read becomes a reading with its error.

    Args:
        reader: trained models.
        uploads: the files.
        operating_point: see `Reader.threshold`.
        full: with what stands behind each reading.
        seconds: for all files; those that are left when it is over are not read, and say so.

    Raises:
        PneumoscopeError: if there is no such operating point.
    """
    reader.threshold(operating_point)
    deadline = time.monotonic() + seconds
    answers = []
    for upload in uploads:
        if time.monotonic() > deadline:
            late = f"not read: the request was over its {seconds:g} s; send fewer files at a time"
            answers.append(_answer_error(reader, upload, operating_point, late))
        else:
            answers.append(_read_one(reader, upload, operating_point, full=full))
    return answers


def _read_one(reader: "Reader", upload: Upload, operating_point: str, *, full: bool) -> ReadingAnswer:
    try:
        image, objections = decode_radiograph(upload.content, size=reader.models.image_size)
        size = measure_image(upload.content)
        picture = draw_picture(upload.content) if full else None
    except ImageError as error:
        return _answer_error(reader, upload, operating_point, str(error))
    (reading,) = reader.read(image[None], [upload.name], operating_point=operating_point, objections=[objections])
    answer = answer_reading(reading, threshold=reader.threshold(operating_point), size=size)
    if full:
        if reading.decision != "refused":
            add_look(answer, reading, reader.look(image), reader)
        answer["picture"] = picture
    return answer


def _answer_error(reader: "Reader", upload: Upload, operating_point: str, error: str) -> ReadingAnswer:
    reading = Reading(upload.name, operating_point, reader.models.id, error=error)
    return answer_reading(reading, threshold=reader.threshold(operating_point), size=None)


def _add_descriptions(router: APIRouter, desk: Desk) -> None:
    models_once = cache(partial(describe_models, desk.reader))
    known_once = cache(partial(describe_known, desk.reader, pictures=desk.data_dir is not None))

    @router.get("/health", summary="Whether the server runs", responses=_answer(Health, "It runs"))
    async def health() -> JSONResponse:
        return JSONResponse(describe_health(desk.reader))

    @router.get("/models", summary="The models and their cards", responses=_answer(Models, "What can be said of them"))
    async def models(request: Request) -> JSONResponse:
        return JSONResponse(await desk.pool.run(request, models_once))

    @router.get("/known", summary="The map of known images", responses=_answer(Known, "Names, classes and places"))
    async def known(request: Request) -> JSONResponse:
        return JSONResponse(await desk.pool.run(request, known_once))

    @router.get("/known/{index}.png", summary="A known image, small", response_class=Response, responses=_PNG)
    async def thumbnail(request: Request, index: int) -> Response:
        names = desk.reader.models.known.names
        if desk.data_dir is None:
            raise RequestError(404, "no pictures of known images; start the server with --data and their folder")
        if not 0 <= index < len(names):
            raise RequestError(404, f"no known image {index}; expected 0 to {len(names) - 1}")
        try:
            png = await desk.pool.run(request, partial(draw_thumbnail, desk.data_dir, str(names[index])))
        except ImageError:
            raise RequestError(
                404, f"known image {index} cannot be shown; --data must name the folder the models were trained on"
            ) from None
        return Response(png, media_type="image/png")


def _add_phantoms(router: APIRouter, desk: Desk) -> None:
    @router.get("/phantoms", summary="Drawn chests to try", responses=_answer(list[Phantom], "Two of each class"))
    async def phantoms(request: Request) -> JSONResponse:
        chests = await desk.pool.run(request, draw_chests)
        return JSONResponse(
            [
                {"name": f"phantom-{number}", "kind": chest.kind, "url": f"/api/phantoms/{number}.png"}
                for number, chest in enumerate(chests, start=1)
            ]
        )

    @router.get("/phantoms/{number}.png", summary="A drawn chest", response_class=Response, responses=_PNG)
    async def phantom(request: Request, number: int) -> Response:
        chests = await desk.pool.run(request, draw_chests)
        if not 1 <= number <= len(chests):
            raise RequestError(404, f"no phantom {number}; expected 1 to {len(chests)}")
        return Response(chests[number - 1].png, media_type="image/png")


def _add_reading(router: APIRouter, desk: Desk) -> None:
    files: dict[str, Any] = {"files": {"type": "array", "items": _FILE, "maxItems": desk.limits.max_files}}

    @router.post(
        "/read",
        summary="Read radiographs",
        responses={**_answer(Readings, "One reading a file"), **_FAULTS},
        openapi_extra=_describe_form({**files, "operating_point": _POINT}),
    )
    async def read(request: Request, detail: Literal["row", "full"] = "row") -> JSONResponse:
        """Read JPEG, PNG or DICOM files; one that cannot be read becomes a reading with its error."""
        form = await receive_form(request, desk.limits, file_field="files")
        work = partial(
            read_uploads,
            desk.reader,
            form.files,
            operating_point=_find_point(desk, form),
            full=detail == "full",
            seconds=desk.limits.read_seconds,
        )
        return JSONResponse(answer_all(desk.reader, await desk.pool.run(request, work)))


def _add_dicom(router: APIRouter, desk: Desk) -> None:
    deidentify = {"type": "boolean", "default": False, "description": "Take out what tells the patient"}

    @router.post(
        "/dicom",
        summary="Read a radiograph and take the answer along as DICOM",
        response_class=Response,
        responses={200: {"content": {"application/zip": {}}, "description": "heatmap.dcm and report.dcm"}, **_FAULTS},
        openapi_extra=_describe_form({"file": _FILE, "operating_point": _POINT, "deidentify": deidentify}),
    )
    async def dicom(request: Request) -> Response:
        """Read one file; the answer is a zip of a secondary capture with the heat-map and of a structured report."""
        from pneumoscope.app.dicom_zip import zip_dicom_reading

        form = await receive_form(request, replace(desk.limits, max_files=1), file_field="file")
        work = partial(
            zip_dicom_reading,
            desk.reader,
            form.files[0],
            operating_point=_find_point(desk, form),
            deidentify=form.fields.get("deidentify", "").strip().lower() in ("1", "true", "on", "yes"),
        )
        try:
            archive = await desk.pool.run(request, work)
        except ImageError as error:
            raise RequestError(400, f"the file cannot be taken along as DICOM: {error}") from None
        disposition = {"content-disposition": 'attachment; filename="pneumoscope-reading.zip"'}
        return Response(archive, media_type="application/zip", headers=disposition)


def _find_point(desk: Desk, form: Form) -> str:
    point = form.fields.get("operating_point", DEFAULT_POINT).strip()
    try:
        desk.reader.threshold(point)
    except PneumoscopeError as error:
        raise RequestError(400, str(error)) from None
    return point


def _answer(model: Any, description: str) -> dict[int | str, dict[str, Any]]:
    return {200: {"model": model, "description": description}}


def _describe_form(properties: dict[str, Any]) -> dict[str, Any]:
    schema = {"type": "object", "properties": properties, "required": [next(iter(properties))]}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}
