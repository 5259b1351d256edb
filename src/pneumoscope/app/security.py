"""Which requests are allowed, and the security headers of every response.

The server listens on this machine only, but any web page in the browser can send requests to it. A request is rejected
if its host is not this machine (DNS rebinding), or if it comes from a page of another origin (cross-site request
forgery).
"""

import re
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from fastapi.responses import JSONResponse
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect

from pneumoscope import RESEARCH_USE_ONLY
from pneumoscope.progress import log

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

CONTENT_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "font-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": CONTENT_POLICY,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}

_OWN_HOST = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:\d{1,5})?", re.IGNORECASE)


class SecureRequests:
    """Middleware that rejects foreign requests, adds security headers, and responds with 500 if the app fails."""

    def __init__(self, app: "ASGIApp") -> None:
        self.app = app

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Forward a request, or reject it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = False

        async def send_answer(message: "Message") -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                _add_headers(MutableHeaders(scope=message), scope["path"])
            await send(message)

        rejection = find_rejection(scope["method"], scope["scheme"], Headers(scope=scope))
        if rejection:
            await answer_fault(403, rejection)(scope, receive, send_answer)
            return
        try:
            await self.app(scope, receive, send_answer)
        except ClientDisconnect:
            return
        except Exception as error:
            log.error("a request failed with an internal error: %s", locate_error(error))
            if not started:
                fault = answer_fault(500, "the request failed with an internal error; see the log of the server")
                await fault(scope, receive, send_answer)


def find_rejection(method: str, scheme: str, headers: "Headers") -> str:
    """Return why a request is rejected, or an empty string.

    Browsers set `Sec-Fetch-*` and `Origin`, and pages cannot forge them. Other clients may omit them.

    Args:
        method: such as `GET`.
        scheme: `http` or `https`.
        headers: of the request.
    """
    host = headers.get("host", "")
    if not _OWN_HOST.fullmatch(host):
        return (
            "the request names another host; expected http://127.0.0.1 or http://localhost with the port of the server"
        )
    origin = headers.get("origin")
    if origin is not None and origin.lower() != f"{scheme}://{host}".lower():
        return "the request comes from a page of another origin; use the page of this server"
    site, is_link = headers.get("sec-fetch-site", "none"), headers.get("sec-fetch-mode") == "navigate"
    if site not in ("same-origin", "none") and not (is_link and method in ("GET", "HEAD")):
        return "the request comes from a page of another site; use the page of this server"
    return ""


def answer_fault(status: int, message: str) -> JSONResponse:
    """Return the response to a failed request.

    Args:
        status: 4xx or 5xx.
        message: what was received, what was expected, and how to fix it.
    """
    headers = {"retry-after": "2"} if status == 503 else {}
    return JSONResponse({"notice": RESEARCH_USE_ONLY, "error": message}, status, headers)


def locate_error(error: BaseException) -> str:
    """Return the type and line of an error without its message, which may contain a file name."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "an unknown line"
    return f"{type(error).__name__} at {place}"


def _add_headers(headers: MutableHeaders, path: str) -> None:
    # A route may set its own header, as the route of the report does.
    for name, value in HEADERS.items():
        headers.setdefault(name, value)
    # The browser may cache scripts and styles but must revalidate them, so that a new version is used at once.
    headers.setdefault("cache-control", "no-cache" if path.startswith("/static/") else "no-store")
