"""The app, and its server on this machine."""

import ctypes
import os
import socket
import sys
import threading
import webbrowser
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse
from fastapi.staticfiles import StaticFiles
from jinja2 import PackageLoader
from starlette.exceptions import HTTPException

from pneumoscope import RESEARCH_USE_ONLY, __version__
from pneumoscope.app.answers import write_anomaly_trust
from pneumoscope.app.api import ApiContext, build_routes
from pneumoscope.app.limits import MIB, LimitRequests, Limits, RequestError
from pneumoscope.app.pool import ReadingPool
from pneumoscope.app.schema import Fault
from pneumoscope.app.security import SecureRequests, answer_fault
from pneumoscope.app.study_report import read_report, write_policy
from pneumoscope.errors import PneumoscopeError
from pneumoscope.pacs.spool import Spool
from pneumoscope.report.model_card import is_kermany
from pneumoscope.report.templates import make_environment, read_scripts

if TYPE_CHECKING:
    from pneumoscope.inference.reader import Reader

HOST = "127.0.0.1"
# An uncommon port: pages of another server at the same address would share the browser's storage with this app.
DEFAULT_PORT = 8427
PORTS_TRIED = 20
SHUTDOWN_SECONDS = 3
_M_MMAP_THRESHOLD = -3  # of malloc.h
APP_DIR = Path(__file__).parent

ShowPage = Callable[..., HTMLResponse]


def build_app(
    reader: "Reader",
    *,
    study_dir: str | os.PathLike[str] | None = None,
    references_dir: str | os.PathLike[str] | None = None,
    spool_dir: str | os.PathLike[str] | None = None,
    limits: Limits | None = None,
) -> FastAPI:
    """Return the app: pages, JSON API and security middleware.

    Args:
        reader: trained models.
        study_dir: folder of a finished study, whose report is served.
        references_dir: folder of the training images, for thumbnails of the reference cases.
        spool_dir: folder of the queue of `listen`, whose state is shown.
        limits: on requests.

    Raises:
        PneumoscopeError: if a folder is missing, or the study has no valid report.
    """
    limits = limits or Limits()
    pool = ReadingPool(limits)
    references_path, study_path = _check_folder(references_dir, "--references"), _check_folder(study_dir, "--model")
    spool_path = _check_folder(spool_dir, "--spool")
    if study_path is not None:
        read_report(study_path)  # fails at the start if the report is missing

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        pool.close()

    app = FastAPI(
        title="Pneumoscope",
        version=__version__,
        description=RESEARCH_USE_ONLY,
        openapi_url="/api/openapi.json",
        docs_url=None,
        redoc_url=None,
        # Replaces FastAPI's default, which documents 422 and repeats the input.
        responses={"4XX": {"model": Fault, "description": "Other failed requests"}},
        lifespan=lifespan,
    )
    show_page = _make_pages(reader, limits, has_study=study_path is not None, has_spool=spool_path is not None)
    context = ApiContext(reader, limits, pool, references_path)
    app.include_router(build_routes(context))
    app.state.context = context
    _add_pages(app, show_page, study_path)
    if spool_path is not None:
        _add_spool_page(app, show_page, Spool(spool_path))
    _add_faults(app, show_page)
    app.mount("/static", StaticFiles(directory=APP_DIR / "static"))
    app.add_middleware(SecureRequests)
    app.add_middleware(LimitRequests, limits=limits)
    return app


def configure_server(app: FastAPI, limits: Limits | None = None) -> uvicorn.Config:
    """Return the server configuration: no request is logged, and proxy headers are not trusted."""
    return uvicorn.Config(
        app,
        http="h11",
        ws="none",
        lifespan="on",
        log_config=None,
        log_level="critical",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=(limits or Limits()).max_connections,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
    )


def serve(
    models_dir: str | os.PathLike[str] | None = None,
    *,
    study_dir: str | os.PathLike[str] | None = None,
    references_dir: str | os.PathLike[str] | None = None,
    spool_dir: str | os.PathLike[str] | None = None,
    ignore_population: bool = False,
    port: int = DEFAULT_PORT,
    open_browser: bool = True,
    announce: Callable[[str], None] | None = None,
) -> bool:
    """Serve the app on this machine until Ctrl-C.

    Args:
        models_dir, ignore_population: see `Reader.open`; None for the included models.
        study_dir, references_dir, spool_dir: see `build_app`.
        port: the next free port is used if it is taken. 0 is any free port.
        open_browser: whether to open the page in a browser, if there is a display.
        announce: called with each message to the user; prints by default.

    Returns:
        Whether all work has ended. Else its threads, which cannot be stopped, keep the process alive.

    Raises:
        ModelError: if the models cannot be used.
        PneumoscopeError: see `build_app` and `bind_port`.
    """
    from pneumoscope.inference.reader import Reader

    _return_freed_memory()
    announce = announce or partial(print, flush=True)
    context = warm_up = None
    with suppress(KeyboardInterrupt), bind_port(port) as listener:
        reader = Reader.open(models_dir, ignore_population=ignore_population)
        app = build_app(reader, study_dir=study_dir, references_dir=references_dir, spool_dir=spool_dir)
        context = app.state.context
        bound_port = listener.getsockname()[1]
        address = f"http://{HOST}:{bound_port}/"
        if port and bound_port != port:
            announce(f"Port {port} is taken. Using port {bound_port}.")
        announce(f"Pneumoscope: {address}")
        announce(RESEARCH_USE_ONLY)
        announce("Images stay on this machine and are not stored. Press Ctrl-C to stop.")
        if open_browser and _has_screen():
            threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
        # No daemon: ONNX Runtime aborts the process if it is interrupted at exit.
        warm_up = threading.Thread(target=_warm_up, args=(context,))
        warm_up.start()
        uvicorn.Server(configure_server(app)).run(sockets=[listener])
    return context is None or (context.pool.is_idle and not (warm_up and warm_up.is_alive()))


def bind_port(port: int) -> socket.socket:
    """Return a socket that listens on this machine only, at a port or the next free one.

    Raises:
        PneumoscopeError: if the port is out of range, is privileged, or no port is free.
    """
    if not 0 <= port < 1 << 16:
        raise PneumoscopeError(f"port {port} is out of range; expected 1 to 65535, or 0 for any free port")
    for tried in range(port, min(port + PORTS_TRIED, 1 << 16)):
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            # On Windows this option would allow a port that is in use.
            if os.name == "posix":
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((HOST, tried))
            listener.listen(2048)
            return listener
        except PermissionError:
            listener.close()
            raise PneumoscopeError(f"port {tried} is privileged; choose a port above 1023 with --port") from None
        except OSError:
            listener.close()
    raise PneumoscopeError(f"ports {port} to {tried} are taken; choose another with --port, or 0 for any free port")


def _make_pages(reader: "Reader", limits: Limits, *, has_study: bool, has_spool: bool) -> ShowPage:
    """Return a function that renders a template with the values that all pages share."""
    environment = make_environment().overlay(loader=PackageLoader("pneumoscope", "app/templates"))
    cards, labels = reader.models.cards, reader.label_set
    thresholded = labels.positive is not None or labels.multi_label
    values = {
        "notice": RESEARCH_USE_ONLY,
        "version": __version__,
        "has_study": has_study,
        "has_spool": has_spool,
        "max_megabytes": limits.max_file_bytes // MIB,
        **reader.trust,
        "label_set": labels,
        "anomaly_trust": write_anomaly_trust(cards.anomaly, labels.positive or "findings") if cards.anomaly else "",
        "has_anomaly": cards.anomaly is not None,
        "has_ood_detector": reader.models.ood_detector is not None,
        "has_heatmaps": reader.has_heatmaps,
        "of_children": is_kermany(cards.classifier.data),
        "points": list(cards.classifier.operating_points) or (["balanced"] if thresholded else []),
        "missing": reader.missing,
        "population": str(cards.classifier.population),
    }

    def show_page(template: str, status: int = 200, **more: Any) -> HTMLResponse:
        return HTMLResponse(environment.get_template(template).render(values | more), status)

    return show_page


def _add_pages(app: FastAPI, show_page: ShowPage, study_dir: Path | None) -> None:
    @app.get("/", include_in_schema=False)
    async def show_index() -> HTMLResponse:
        return show_page("index.html.j2")

    @app.get("/study", include_in_schema=False)
    def show_study() -> HTMLResponse:
        message = "Stop the server and start it again with the folder of a study:"
        command = "pneumoscope app --model STUDY"
        if study_dir is not None:
            try:
                report = read_report(study_dir)
                return HTMLResponse(report, headers={"content-security-policy": write_policy(report)})
            except PneumoscopeError as error:
                message, command = str(error), ""
        return show_page("message.html.j2", 404, title="No report", message=message, command=command)

    # Reports contain the same script inline.
    @app.get("/static/map.js", include_in_schema=False)
    async def serve_map_script() -> Response:
        return Response(read_scripts()["map.js"], media_type="text/javascript")


def _add_spool_page(app: FastAPI, show_page: ShowPage, spool: Spool) -> None:
    @app.get("/spool", include_in_schema=False)
    def show_spool() -> HTMLResponse:
        return show_page("spool.html.j2", spool=spool.get_status())


def _add_faults(app: FastAPI, show_page: ShowPage) -> None:
    @app.exception_handler(RequestError)
    async def answer_request_fault(request: Request, fault: RequestError) -> Response:
        return answer_fault(fault.status, fault.message)

    @app.exception_handler(PneumoscopeError)
    async def answer_user_error(request: Request, error: PneumoscopeError) -> Response:
        return answer_fault(400, str(error))

    @app.exception_handler(RequestValidationError)
    async def answer_invalid(request: Request, error: RequestValidationError) -> Response:
        messages = [f"{item['loc'][-1]}: {item['msg'][:1].lower()}{item['msg'][1:]}" for item in error.errors()]
        return answer_fault(400, "; ".join(messages))

    @app.exception_handler(HTTPException)
    async def answer_http(request: Request, error: HTTPException) -> Response:
        title = HTTPStatus(error.status_code).phrase
        if request.url.path.startswith(("/api/", "/static/")):
            response: Response = answer_fault(
                error.status_code, f"{title.lower()}; see /api/openapi.json for all routes"
            )
        else:
            values = {"title": title, "message": "This page does not exist.", "command": ""}
            response = show_page("message.html.j2", error.status_code, **values)
        response.headers.update(error.headers or {})
        return response


def _return_freed_memory() -> None:
    """Give freed blocks of 1 MiB or more back to the system; glibc would keep up to 64 MB for each thread."""
    with suppress(AttributeError, OSError, TypeError):  # other systems have no mallopt
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, MIB)


def _warm_up(context: ApiContext) -> None:
    """Run each model once, because the first run is slow. What fails here fails again in a request."""
    size = context.reader.models.image_size
    with suppress(Exception):
        context.reader.compute_maps(np.zeros((size, size), np.uint8))
        _ = context.phantoms


def _check_folder(folder: str | os.PathLike[str] | None, option: str) -> Path | None:
    if folder is None:
        return None
    if not Path(folder).is_dir():
        raise PneumoscopeError(f"{option} {folder} is not a folder")
    return Path(folder).resolve()


def _has_screen() -> bool:
    """Whether a browser would open a window instead of running in the terminal."""
    return sys.platform in ("win32", "darwin") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
