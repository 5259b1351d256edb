"""The routes of the JSON API.

Uploads are parsed by Starlette and stay in memory: nothing here writes a file.
"""

import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from pneumoscope.app.answers import (
    add_look,
    answer_all,
    answer_reading,
    describe_health,
    describe_known,
    describe_models,
)
from pneumoscope.app.limits import MIB, Limits, RequestError
from pneumoscope.app.pictures import draw_chests, draw_picture, draw_thumbnail, measure_image
from pneumoscope.app.pool import ReadingPool
from pneumoscope.app.schema import Fault, Health, Known, Models, Phantom, ReadingAnswer, Readings
from pneumoscope.errors import ImageError, PneumoscopeError
from pneumoscope.inference.decode import decode_radiograph
from pneumoscope.inference.reading import Reading

if TYPE_CHECKING:
    from pneumoscope.inference.reader import Reader

# It logs excerpts of what it cannot parse.
logging.getLogger("python_multipart").setLevel(logging.CRITICAL)

MAX_FIELDS = 16
MAX_FIELD_BYTES = 1024
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
    404: {"model": Fault, "description": "Not found"},
}
_FILE = {"type": "string", "format": "binary"}
_POINT = {
    "type": "string",
    "default": DEFAULT_POINT,
    "description": "A named operating point, or the threshold itself: a number between 0 and 1",
}


@dataclass(frozen=True)
class ApiContext:
    """What the routes work with.

    Attributes:
        reader: trained models.
        limits: on requests.
        pool: of threads that predict.
        data_dir: root of the collection that the reference cases come from, if available.
    """

    reader: "Reader"
    limits: Limits
    pool: ReadingPool
    data_dir: Path | None = None


def build_routes(context: ApiContext) -> APIRouter:
    """Return all routes of the API."""
    router = APIRouter(prefix="/api")
    _add_descriptions(router, context)
    _add_phantoms(router, context)
    _add_reading(router, context)
    _add_dicom(router, context)
    return router


def read_uploads(
    reader: "Reader", uploads: list[UploadFile], *, operating_point: str, full: bool, seconds: float
) -> list[ReadingAnswer]:
    """Predict for files one after the other; one that cannot be decoded gets an answer with its error.

    Args:
        reader: trained models.
        uploads: the files.
        operating_point: see `Reader.threshold`.
        full: add heat-maps, the anomaly map and the position on the map.
        seconds: for all files; the rest is not read, and its answers say so.

    Raises:
        PneumoscopeError: if there is no such operating point.
    """
    threshold = reader.threshold(operating_point)
    deadline = time.monotonic() + seconds
    answers = []
    for upload in uploads:
        name = upload.filename or ""
        try:
            if time.monotonic() > deadline:
                raise ImageError(f"not read: the request was over its {seconds:g} s; send fewer files at a time")
            answers.append(_read_one(reader, name, upload.file.read(), operating_point, full=full))
        except ImageError as error:
            reading = Reading(name, operating_point, reader.models.id, error=str(error))
            answers.append(answer_reading(reading, threshold=threshold, size=None))
    return answers


def _read_one(reader: "Reader", name: str, content: bytes, operating_point: str, *, full: bool) -> ReadingAnswer:
    image, objections = decode_radiograph(content, size=reader.models.image_size)
    size = measure_image(content)
    picture = draw_picture(content) if full else None
    (reading,) = reader.read(image[None], [name], operating_point=operating_point, objections=[objections])
    answer = answer_reading(reading, threshold=reader.threshold(operating_point), size=size)
    if full:
        if reading.decision != "refused":
            add_look(answer, reading, reader.look(image), reader)
        answer["picture"] = picture
    return answer


@asynccontextmanager
async def receive_form(
    request: Request, limits: Limits, *, file_field: str
) -> AsyncIterator[tuple[list[UploadFile], dict[str, str]]]:
    """Receive the files of a request, in the order they came, and its fields of text; close the files at exit.

    Args:
        request: whose body has not been received.
        limits: on the files.
        file_field: name of the field that contains files.

    Raises:
        RequestError: 415 if the body is not multipart, 400 if it is damaged or contains no file, 413 if it is too
            large, and see `LimitRequests`.
        ClientDisconnect: if the client left.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip() or "of no stated type"
    if media_type.lower() != "multipart/form-data":
        expected = f"multipart/form-data with one or more files in the field {file_field!r}"
        raise RequestError(415, f"a body {media_type[:80]}; expected {expected}")
    try:
        form = await _MemoryParser(request, limits.max_files).parse()
    except MultiPartException as error:
        status = 413 if error.message.startswith(("Too many", "Part exceeded")) else 400
        raise RequestError(status, f"the form was not accepted: {error.message}") from None
    except ValueError:
        raise RequestError(400, "a charset that is no encoding of text; leave it out of the Content-Type") from None
    try:
        yield _sort_parts(form, limits, file_field)
    finally:
        await form.close()


class _MemoryParser(MultiPartParser):
    """Keeps all uploads in memory, and refuses a body that ends before its last boundary."""

    spool_max_size = 0  # Starlette's own value writes an upload over 1 MB to a temporary file; 0 is no limit

    def __init__(self, request: Request, max_files: int) -> None:
        self._complete = False
        super().__init__(
            request.headers,
            self._check_end(request),
            max_files=max_files,
            max_fields=MAX_FIELDS,
            max_part_size=MAX_FIELD_BYTES,
        )

    def on_end(self) -> None:
        """Note that the last boundary came."""
        self._complete = True

    async def _check_end(self, request: Request) -> AsyncGenerator[bytes, None]:
        async for piece in request.stream():
            yield piece
        if not self._complete:
            raise MultiPartException("It ends before its last boundary.")


def _sort_parts(form: FormData, limits: Limits, file_field: str) -> tuple[list[UploadFile], dict[str, str]]:
    uploads, fields = [], {}
    for name, value in form.multi_items():
        if isinstance(value, UploadFile) != (name == file_field):
            kind = "text" if name == file_field else "a file"
            raise RequestError(
                400, f"{kind} in the field {name[:80]!r}; expected all files in the field {file_field!r}"
            )
        if isinstance(value, str):
            fields[name] = value
        elif value.filename or value.size:  # a browser sends an empty part where no file was chosen
            uploads.append(value)
            if (value.size or 0) > limits.max_file_bytes:
                limit = f"{limits.max_file_bytes / MIB:g} MiB"
                raise RequestError(413, f"file {len(uploads)} is over {limit}; expected {limit} or less")
    if not uploads:
        raise RequestError(400, f"a request without files; send one or more in the field {file_field!r}")
    return uploads, fields


def _add_descriptions(router: APIRouter, context: ApiContext) -> None:
    models_once = cache(partial(describe_models, context.reader))
    known_once = cache(partial(describe_known, context.reader, pictures=context.data_dir is not None))

    @router.get("/health", summary="Whether the server runs", responses=_answer(Health, "It runs"))
    async def health() -> JSONResponse:
        return JSONResponse(describe_health(context.reader))

    @router.get(
        "/models",
        summary="The models and their cards",
        responses=_answer(Models, "Cards, classes, layers and thresholds"),
    )
    async def models(request: Request) -> JSONResponse:
        return JSONResponse(await context.pool.run(request, models_once))

    @router.get(
        "/known", summary="The map of reference cases", responses=_answer(Known, "Names, classes and coordinates")
    )
    async def known(request: Request) -> JSONResponse:
        return JSONResponse(await context.pool.run(request, known_once))

    @router.get("/known/{index}.png", summary="Thumbnail of a reference case", response_class=Response, responses=_PNG)
    async def thumbnail(request: Request, index: int) -> Response:
        names = context.reader.models.known.names
        if context.data_dir is None:
            raise RequestError(404, "no images of reference cases; start the server with --data and their folder")
        if not 0 <= index < len(names):
            raise RequestError(404, f"no reference case {index}; expected 0 to {len(names) - 1}")
        try:
            png = await context.pool.run(request, partial(draw_thumbnail, context.data_dir, str(names[index])))
        except ImageError:
            raise RequestError(
                404, f"reference case {index} cannot be shown; --data must name the folder the models were trained on"
            ) from None
        return Response(png, media_type="image/png")


def _add_phantoms(router: APIRouter, context: ApiContext) -> None:
    @router.get("/phantoms", summary="Phantoms to try", responses=_answer(list[Phantom], "Two of each class"))
    async def phantoms(request: Request) -> JSONResponse:
        chests = await context.pool.run(request, draw_chests)
        return JSONResponse(
            [
                {"name": f"phantom-{number}", "kind": chest.kind, "url": f"/api/phantoms/{number}.png"}
                for number, chest in enumerate(chests, start=1)
            ]
        )

    @router.get("/phantoms/{number}.png", summary="A phantom", response_class=Response, responses=_PNG)
    async def phantom(request: Request, number: int) -> Response:
        chests = await context.pool.run(request, draw_chests)
        if not 1 <= number <= len(chests):
            raise RequestError(404, f"no phantom {number}; expected 1 to {len(chests)}")
        return Response(chests[number - 1].png, media_type="image/png")


def _add_reading(router: APIRouter, context: ApiContext) -> None:
    files: dict[str, Any] = {"files": {"type": "array", "items": _FILE, "maxItems": context.limits.max_files}}

    @router.post(
        "/read",
        summary="Classify radiographs",
        responses={**_answer(Readings, "One reading per file"), **_FAULTS},
        openapi_extra=_describe_form({**files, "operating_point": _POINT}),
    )
    async def read(request: Request, detail: Literal["row", "full"] = "row") -> JSONResponse:
        """Classify JPEG, PNG or DICOM files; one that cannot be decoded becomes a reading with its error."""
        async with receive_form(request, context.limits, file_field="files") as (uploads, fields):
            work = partial(
                read_uploads,
                context.reader,
                uploads,
                operating_point=_get_operating_point(context, fields),
                full=detail == "full",
                seconds=context.limits.read_seconds,
            )
            return JSONResponse(answer_all(context.reader, await context.pool.run(request, work)))


def _add_dicom(router: APIRouter, context: ApiContext) -> None:
    deidentify = {"type": "boolean", "default": False, "description": "Remove what identifies the patient"}

    @router.post(
        "/dicom",
        summary="Classify a radiograph and export the result as DICOM",
        response_class=Response,
        responses={200: {"content": {"application/zip": {}}, "description": "heatmap.dcm and report.dcm"}, **_FAULTS},
        openapi_extra=_describe_form({"file": _FILE, "operating_point": _POINT, "deidentify": deidentify}),
    )
    async def dicom(request: Request) -> Response:
        """Classify one file; the answer is a zip of a secondary capture with the heat-map and a structured report."""
        from pneumoscope.app.dicom_zip import zip_dicom_reading

        limits = replace(context.limits, max_files=1)
        async with receive_form(request, limits, file_field="file") as ((upload,), fields):
            work = partial(
                zip_dicom_reading,
                context.reader,
                upload,
                operating_point=_get_operating_point(context, fields),
                deidentify=fields.get("deidentify", "").strip().lower() in ("1", "true", "on", "yes"),
            )
            try:
                archive = await context.pool.run(request, work)
            except ImageError as error:
                raise RequestError(400, f"the file cannot be exported as DICOM: {error}") from None
        disposition = {"content-disposition": 'attachment; filename="pneumoscope-reading.zip"'}
        return Response(archive, media_type="application/zip", headers=disposition)


def _get_operating_point(context: ApiContext, fields: dict[str, str]) -> str:
    point = fields.get("operating_point", DEFAULT_POINT).strip()
    try:
        context.reader.threshold(point)
    except PneumoscopeError as error:
        raise RequestError(400, str(error)) from None
    return point


def _answer(model: Any, description: str) -> dict[int | str, dict[str, Any]]:
    return {200: {"model": model, "description": description}}


def _describe_form(properties: dict[str, Any]) -> dict[str, Any]:
    schema = {"type": "object", "properties": properties, "required": [next(iter(properties))]}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}
