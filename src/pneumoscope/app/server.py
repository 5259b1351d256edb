"""The app of the reading room, and its server on this machine."""

import os
import socket
import sys
import threading
import webbrowser
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
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
from pneumoscope.app.pictures import render_phantoms
from pneumoscope.app.pool import ReadingPool
from pneumoscope.app.schema import Fault
from pneumoscope.app.security import SecureRequests, answer_fault
from pneumoscope.app.study_report import read_report, write_policy
from pneumoscope.errors import PneumoscopeError
from pneumoscope.report.templates import make_environment, read_scripts

if TYPE_CHECKING:
    from pneumoscope.inference.reader import Reader

HOST = "127.0.0.1"
# An uncommon port: the browser would share with us what another server at the same address stored.
DEFAULT_PORT = 8427
PORTS_TRIED = 20
SHUTDOWN_SECONDS = 3
APP_DIR = Path(__file__).parent

ShowPage = Callable[..., HTMLResponse]


def build_app(
    reader: "Reader",
    *,
    study_dir: str | os.PathLike[str] | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    limits: Limits | None = None,
) -> FastAPI:
    """Return the app: pages, JSON API, and the middleware that protects them.

    Args:
        reader: trained models.
        study_dir: folder that a study left, to serve its report.
        data_dir: root of the training images, for thumbnails of the reference cases.
        limits: on requests.

    Raises:
        PneumoscopeError: if one of the folders is missing.
    """
    limits = limits or Limits()
    pool = ReadingPool(limits)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        pool.close()

    app = FastAPI(
        title="Pneumoscope reading room",
        version=__version__,
        description=RESEARCH_USE_ONLY,
        openapi_url="/api/openapi.json",
        docs_url=None,
        redoc_url=None,
        # Instead of FastAPI's own, which documents 422 and repeats the input.
        responses={"4XX": {"model": Fault, "description": "Any other request that fails"}},
        lifespan=lifespan,
    )
    show_page = _make_pages(reader, limits, has_study=study_dir is not None)
    app.include_router(build_routes(ApiContext(reader, limits, pool, _check_folder(data_dir, "collection"))))
    _add_pages(app, show_page, _check_folder(study_dir, "study"))
    _add_faults(app, show_page)
    app.mount("/static", StaticFiles(directory=APP_DIR / "static"))
    app.add_middleware(SecureRequests)
    app.add_middleware(LimitRequests, limits=limits)
    return app


def configure_server(app: FastAPI, limits: Limits | None = None) -> uvicorn.Config:
    """Return how an app is served: requests are not logged, and headers of a proxy are not trusted."""
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
    data_dir: str | os.PathLike[str] | None = None,
    port: int = DEFAULT_PORT,
    open_browser: bool = True,
    announce: Callable[[str], None] | None = None,
) -> None:
    """Serve the reading room on this machine until Ctrl-C.

    Args:
        models_dir: see `Reader.open`; None takes the models that ship with the package.
        study_dir, data_dir: see `build_app`.
        port: to listen at; where it is taken, the next free one is. 0 is any free one.
        open_browser: show the page in the browser, where there is a screen.
        announce: gets messages to the user, line by line; they are printed by default.

    Raises:
        ModelError: if the models cannot be used.
        PneumoscopeError: if a folder is missing, or no port can be had.
    """
    from pneumoscope.inference.reader import Reader

    announce = announce or partial(print, flush=True)
    with suppress(KeyboardInterrupt), bind_port(port) as listener:
        reader = Reader.open(models_dir)
        app = build_app(reader, study_dir=study_dir, data_dir=data_dir)
        bound_port = listener.getsockname()[1]
        address = f"http://{HOST}:{bound_port}/"
        if port and bound_port != port:
            announce(f"Port {port} is taken; this is port {bound_port}.")
        announce(f"Reading room: {address}")
        announce(RESEARCH_USE_ONLY)
        announce("Radiographs stay on this machine and are not kept. Ctrl-C ends.")
        if open_browser and _has_screen():
            threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
        with _warmed_up(reader):
            uvicorn.Server(configure_server(app)).run(sockets=[listener])


def bind_port(port: int) -> socket.socket:
    """Return a socket that listens on this machine alone, at a port or the next free one.

    Raises:
        PneumoscopeError: if the port is out of range, needs more rights, or is taken and so are the next.
    """
    if not 0 <= port < 1 << 16:
        raise PneumoscopeError(f"port {port}; expected 1 to 65535, or 0 for any free one")
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
            raise PneumoscopeError(f"port {tried} may not be used; name one above 1023 with --port") from None
        except OSError:
            listener.close()
    raise PneumoscopeError(f"ports {port} to {tried} are taken; name another with --port, or 0 for any free one")


def _make_pages(reader: "Reader", limits: Limits, *, has_study: bool) -> ShowPage:
    """Return a function that renders a template with the values that all pages use."""
    environment = make_environment().overlay(loader=PackageLoader("pneumoscope", "app/templates"))
    values = {
        "notice": RESEARCH_USE_ONLY,
        "version": __version__,
        "has_study": has_study,
        "anomaly_trust": write_anomaly_trust(reader.models.cards.anomaly),
        "max_megabytes": limits.max_file_bytes // MIB,
        **reader.trust,
    }

    def show_page(template: str, status: int = 200, **more: Any) -> HTMLResponse:
        return HTMLResponse(environment.get_template(template).render(values | more), status)

    return show_page


def _add_pages(app: FastAPI, show_page: ShowPage, study_dir: Path | None) -> None:
    @app.get("/", include_in_schema=False)
    async def show_room() -> HTMLResponse:
        return show_page("room.html.j2")

    @app.get("/study", include_in_schema=False)
    def show_study() -> HTMLResponse:
        message = "To show the report of a study here, stop the server and start it again with its folder:"
        command = "pneumoscope app --study FOLDER"
        if study_dir is not None:
            try:
                report = read_report(study_dir)
                return HTMLResponse(report, headers={"content-security-policy": write_policy(report)})
            except PneumoscopeError as error:
                message, command = str(error), "pneumoscope study --resume --out FOLDER"
        return show_page("message.html.j2", 404, title="No report to show", message=message, command=command)

    # The report holds the same script inline.
    @app.get("/static/map.js", include_in_schema=False)
    async def serve_map_script() -> Response:
        return Response(read_scripts()["map.js"], media_type="text/javascript")


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
            response: Response = answer_fault(error.status_code, f"{title.lower()}; /api/openapi.json lists all routes")
        else:
            values = {"title": title, "message": "There is no page here.", "command": ""}
            response = show_page("message.html.j2", error.status_code, **values)
        response.headers.update(error.headers or {})
        return response


@contextmanager
def _warmed_up(reader: "Reader") -> Iterator[None]:
    """Run what takes longer the first time in the background, so that no request waits for it."""
    blank = np.zeros((reader.models.image_size, reader.models.image_size), np.uint8)
    steps: list[Callable[[], Any]] = [
        lambda: reader.predict_images(blank[None], [""]),
        lambda: reader.compute_maps(blank),
        render_phantoms,
    ]
    ended = threading.Event()

    def warm_up() -> None:
        # What fails here fails again in the request that needs it, and is reported there.
        with suppress(Exception):
            for step in steps:
                if not ended.is_set():
                    step()

    thread = threading.Thread(target=warm_up)
    thread.start()
    try:
        yield
    finally:
        # Joined, because ONNX Runtime aborts the process if it is interrupted at exit.
        ended.set()
        thread.join()


def _check_folder(folder: str | os.PathLike[str] | None, kind: str) -> Path | None:
    if folder is None:
        return None
    if not Path(folder).is_dir():
        raise PneumoscopeError(f"{folder} is no folder; expected that of a {kind}")
    return Path(folder).resolve()


def _has_screen() -> bool:
    """Whether a browser would open a window, rather than take over the terminal."""
    return sys.platform in ("win32", "darwin") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
