"""The routes of the JSON API."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import TypeAdapter, ValidationError

from pneumoscope import RESEARCH_USE_ONLY, __version__
from pneumoscope.app.answers import describe_decision, describe_models, describe_references
from pneumoscope.app.images import PhantomImage, choose_phantoms, draw_thumbnail
from pneumoscope.app.limits import MIB, Limits, RequestError
from pneumoscope.app.pool import ReadingPool
from pneumoscope.app.predictions import read_uploads, zip_dicom_reading
from pneumoscope.app.schema import (
    DecideRequest,
    Decisions,
    Fault,
    Health,
    Models,
    Phantom,
    Readings,
    ReferenceCases,
)
from pneumoscope.app.uploads import receive_form
from pneumoscope.errors import ImageError

if TYPE_CHECKING:
    from pneumoscope.inference.reader import Reader

DEFAULT_POINT = "balanced"
MAX_EVIDENCE_BYTES = 16 * MIB

_FAULTS: dict[int | str, dict[str, Any]] = {
    400: {"model": Fault, "description": "No files, a damaged body, or an unknown operating point"},
    403: {"model": Fault, "description": "The request names another host, or comes from a page of another origin"},
    408: {"model": Fault, "description": "The body arrived too slowly"},
    413: {"model": Fault, "description": "The files are too many or too large"},
    415: {"model": Fault, "description": "The body is not multipart/form-data"},
    503: {"model": Fault, "description": "The server is busy; try again in a moment"},
}
_PNG: dict[int | str, dict[str, Any]] = {
    200: {"content": {"image/png": {}}, "description": "8-bit grayscale image"},
    404: {"model": Fault, "description": "Not found"},
}
_FILE = {"type": "string", "format": "binary"}
_POINT = {
    "type": "string",
    "default": DEFAULT_POINT,
    "description": "`screening`, `balanced`, `specific`, or a threshold between 0 and 1",
}


@dataclass(frozen=True)
class ApiContext:
    """What the routes share; `references_dir` is the folder of the training images, or None."""

    reader: "Reader"
    limits: Limits
    pool: ReadingPool
    references_dir: Path | None = None

    @cached_property
    def phantoms(self) -> tuple[PhantomImage, ...]:
        """The example phantoms. The first access draws and reads them."""
        return choose_phantoms(self.reader)


def build_routes(context: ApiContext) -> APIRouter:
    """Return the routes of the API."""
    router = APIRouter(prefix="/api")
    _add_descriptions(router, context)
    _add_references(router, context)
    _add_phantoms(router, context)
    _add_reading(router, context)
    _add_deciding(router, context)
    _add_dicom(router, context)
    return router


def _add_descriptions(router: APIRouter, context: ApiContext) -> None:
    models_id = context.reader.models.id
    models_once = cache(partial(describe_models, context.reader))

    @router.get("/health", summary="Status of the server", responses=_answer(Health, "Status and version"))
    async def health() -> JSONResponse:
        answer: Health = {"status": "ok", "notice": RESEARCH_USE_ONLY, "version": __version__, "model": models_id}
        return JSONResponse(answer)

    @router.get("/models", summary="Models and their cards", responses=_answer(Models, "Cards and operating points"))
    async def models(request: Request) -> JSONResponse:
        return JSONResponse(await context.pool.run(request, models_once))


def _add_references(router: APIRouter, context: ApiContext) -> None:
    references_once = cache(partial(describe_references, context.reader, has_images=context.references_dir is not None))
    responses = _answer(ReferenceCases, "Names, labels and map coordinates")

    @router.get("/references", summary="Map of reference cases", responses=responses)
    async def references(request: Request) -> JSONResponse:
        return JSONResponse(await context.pool.run(request, references_once))

    @router.get("/references/{index}.png", summary="Image of a reference case", response_class=Response, responses=_PNG)
    async def thumbnail(request: Request, index: int) -> Response:
        references = context.reader.models.references
        names: Sequence[str] = () if references is None else references.names.tolist()
        if context.references_dir is None:
            expected = "start the server with --references and the folder of the training images"
            raise RequestError(404, f"there are no images of reference cases; {expected}")
        if not 0 <= index < len(names):
            raise RequestError(404, f"there is no reference case {index}; there are {len(names)}")
        try:
            png = await context.pool.run(request, partial(draw_thumbnail, context.references_dir, str(names[index])))
        except ImageError:
            expected = "--references must name the folder of the training images"
            raise RequestError(404, f"reference case {index} could not be loaded; {expected}") from None
        return Response(png, media_type="image/png")


def _add_phantoms(router: APIRouter, context: ApiContext) -> None:
    @router.get(
        "/phantoms",
        summary="Example phantoms",
        responses=_answer(list[Phantom], "Up to three phantoms of each decision"),
    )
    async def phantoms(request: Request) -> JSONResponse:
        images = await context.pool.run(request, lambda: context.phantoms)
        labels = enumerate((image.label for image in images), start=1)
        urls = "/api/phantoms/{}.png"
        return JSONResponse([{"name": f"phantom-{n}", "label": label, "url": urls.format(n)} for n, label in labels])

    @router.get("/phantoms/{number}.png", summary="Image of a phantom", response_class=Response, responses=_PNG)
    async def phantom(request: Request, number: int) -> Response:
        images = await context.pool.run(request, lambda: context.phantoms)
        if not 1 <= number <= len(images):
            raise RequestError(404, f"there is no phantom {number}; expected 1 to {len(images)}")
        return Response(images[number - 1].png, media_type="image/png")


def _add_reading(router: APIRouter, context: ApiContext) -> None:
    files = {"files": {"type": "array", "items": _FILE, "maxItems": context.limits.max_files}}

    @router.post(
        "/read",
        summary="Classify radiographs",
        responses={**_answer(Readings, "One reading per file"), **_FAULTS},
        openapi_extra=_describe_form({**files, "operating_point": _POINT}),
    )
    async def read(request: Request, detail: Literal["row", "full"] = "row") -> JSONResponse:
        """Classify image or DICOM files. A file that cannot be decoded gets a reading with `error` set."""
        async with receive_form(request, context.limits, file_field="files") as (uploads, fields):
            work = partial(
                read_uploads,
                context.reader,
                uploads,
                operating_point=fields.get("operating_point", DEFAULT_POINT).strip(),
                full=detail == "full",
                seconds=context.limits.read_seconds,
            )
            readings = await context.pool.run(request, work)
        answer: Readings = {"notice": RESEARCH_USE_ONLY, "model": context.reader.models.id, "readings": readings}
        return JSONResponse(answer)


def _add_deciding(router: APIRouter, context: ApiContext) -> None:
    evidence = {"type": "array", "items": {"$ref": "#/components/schemas/Evidence"}}
    properties = {"model": {"type": "string"}, "operating_point": _POINT, "evidence": evidence}
    form = TypeAdapter(DecideRequest)

    def decide(body: bytes) -> Decisions:
        try:
            wanted = form.validate_json(body)
        except ValidationError as error:
            place = ".".join(map(str, error.errors()[0]["loc"])) or "the body"
            expected = "expected JSON with model, operating_point and evidence, as /api/read answers them"
            raise RequestError(400, f"{place[:80]}: {error.errors()[0]['msg'].lower()}; {expected}") from None
        if wanted["model"] != context.reader.models.id:
            raise RequestError(400, "the readings are of other models; read the images again")
        point = wanted["operating_point"].strip()
        return {
            "notice": RESEARCH_USE_ONLY,
            "model": context.reader.models.id,
            "operating_point": point,
            "thresholds": context.reader.thresholds(point),
            "decisions": [describe_decision(one, context.reader, point) for one in wanted["evidence"]],
        }

    @router.post(
        "/decide",
        summary="Decide at another operating point",
        responses={**_answer(Decisions, "One decision per evidence"), **_FAULTS},
        openapi_extra=_describe_form(properties, "application/json"),
    )
    async def answer(request: Request) -> JSONResponse:
        """Decide again from the evidence of readings, without inference."""
        body = bytearray()
        async for piece in request.stream():
            body += piece
            if len(body) > MAX_EVIDENCE_BYTES:
                expected = f"{MAX_EVIDENCE_BYTES // MIB} MiB at most; send the evidence in several requests"
                raise RequestError(413, f"the request is too large; {expected}")
        return JSONResponse(await context.pool.run(request, partial(decide, bytes(body))))


def _add_dicom(router: APIRouter, context: ApiContext) -> None:
    deidentify = {"type": "boolean", "default": False, "description": "Remove the identity of the patient"}

    @router.post(
        "/dicom",
        summary="Classify one radiograph and return DICOM files",
        response_class=Response,
        responses={200: {"content": {"application/zip": {}}, "description": "heatmap.dcm and report.dcm"}, **_FAULTS},
        openapi_extra=_describe_form({"file": _FILE, "operating_point": _POINT, "deidentify": deidentify}),
    )
    async def dicom(request: Request) -> Response:
        """Classify one file. The response is a zip with a secondary capture of the heatmap and a structured report."""
        limits = replace(context.limits, max_files=1)
        async with receive_form(request, limits, file_field="file") as ((upload,), fields):
            work = partial(
                zip_dicom_reading,
                context.reader,
                upload,
                operating_point=fields.get("operating_point", DEFAULT_POINT).strip(),
                deidentify=fields.get("deidentify", "").strip().lower() in ("1", "true", "on", "yes"),
            )
            try:
                archive = await context.pool.run(request, work)
            except ImageError as error:
                raise RequestError(400, f"the file cannot be exported as DICOM: {error}") from None
        disposition = {"content-disposition": 'attachment; filename="pneumoscope-reading.zip"'}
        return Response(archive, media_type="application/zip", headers=disposition)


def _answer(model: Any, description: str) -> dict[int | str, dict[str, Any]]:
    return {200: {"model": model, "description": description}}


def _describe_form(properties: dict[str, Any], media_type: str = "multipart/form-data") -> dict[str, Any]:
    schema = {"type": "object", "properties": properties, "required": [next(iter(properties))]}
    return {"requestBody": {"required": True, "content": {media_type: {"schema": schema}}}}
