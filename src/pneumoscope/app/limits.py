"""How much a request may bring and how long it may take, and the middleware that holds requests to it."""

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

MIB = 1 << 20


@dataclass(frozen=True)
class Limits:
    """Bounds on what the server takes.

    Attributes:
        max_files: files of one request.
        max_file_bytes: bytes of one file.
        max_request_bytes: bytes of the body of one request.
        max_held_bytes: bytes of the bodies of all requests that are under way.
        max_connections: open at a time.
        num_readers: requests that are worked on at a time, each in a thread.
        head_seconds: for the head of a request.
        idle_seconds: between two pieces of a body.
        receive_seconds: for a whole body.
        wait_seconds: in line for a reader.
        read_seconds: for the work on a request.
        send_seconds: for the client to take an answer.
    """

    max_files: int = 32
    max_file_bytes: int = 64 * MIB
    max_request_bytes: int = 256 * MIB
    max_held_bytes: int = 1024 * MIB
    max_connections: int = 512
    num_readers: int = 2
    head_seconds: float = 10
    idle_seconds: float = 10
    receive_seconds: float = 30
    wait_seconds: float = 120
    read_seconds: float = 30
    send_seconds: float = 30


class RequestError(Exception):
    """A request that is not answered, for a reason that its sender can mend.

    Attributes:
        status: of the HTTP answer, 4xx or 503.
        message: what came, what was expected, how to mend it; names no file.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class LimitRequests:
    """Middleware that bounds bodies in size and time.

    Nothing is read before the app asks for it. A body that is too large is read to its end and dropped, as far as
    its time and as much again as is allowed, so that the client hears why: one that still sends does not listen.

    The app meets a `RequestError` where it asks for the body: 413 too large, 408 too slow, 503 too much at once.
    """

    def __init__(self, app: "ASGIApp", limits: Limits) -> None:
        self.app = app
        self.limits = limits
        self.held_bytes = 0

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Hand a request on with a body that is watched."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        body = _WatchedBody(self, scope, receive)
        try:
            await self.app(scope, body.receive, send)
        finally:
            self.held_bytes -= body.num_bytes


class _WatchedBody:
    """The body of one request.

    Attributes:
        num_bytes: received so far and counted as held.
    """

    def __init__(self, watch: LimitRequests, scope: "Scope", receive: "Receive") -> None:
        self.num_bytes = 0
        self._watch = watch
        self._limits = watch.limits
        self._receive = receive
        self._headers = dict(scope["headers"])
        self._deadline: float | None = None
        self._complete = False

    async def receive(self) -> "Message":
        """Return the next piece.

        Raises:
            RequestError: if the body is beyond a limit.
        """
        if self._complete:
            return await self._receive()
        if self._deadline is None:
            self._deadline = asyncio.get_running_loop().time() + self._limits.receive_seconds
            await self._check_announced()
        message = await self._receive_in_time()
        size = len(message.get("body", b""))
        if self.num_bytes + size > self._limits.max_request_bytes:
            await self._drop_rest(message)
            raise self._too_large(f"over {self._limits.max_request_bytes / MIB:.0f} MiB")
        if self._watch.held_bytes + size > self._limits.max_held_bytes:
            await self._drop_rest(message)
            raise RequestError(503, "too many large uploads at once; send this one again in a moment")
        self.num_bytes += size
        self._watch.held_bytes += size
        return message

    async def _check_announced(self) -> None:
        announced = int(self._headers.get(b"content-length", b"0"))
        if announced <= self._limits.max_request_bytes:
            return
        # A client that asks first hears the answer without sending anything.
        if b"expect" not in self._headers:
            await self._drop_rest({"type": "http.request", "more_body": True})
        raise self._too_large(f"of {announced / MIB:.0f} MiB")

    def _too_large(self, found: str) -> RequestError:
        return RequestError(
            413,
            f"a request {found}; expected {self._limits.max_request_bytes / MIB:.0f} MiB or less. "
            "Send the files in several requests.",
        )

    async def _receive_in_time(self) -> "Message":
        left = (self._deadline or 0) - asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(min(left, self._limits.idle_seconds)):
                message = await self._receive()
        except TimeoutError:
            raise RequestError(
                408,
                f"the request did not arrive in time; expected a piece every {self._limits.idle_seconds:g} s "
                f"and all of it in {self._limits.receive_seconds:g} s. Send it again, or fewer files at a time.",
            ) from None
        self._complete = not message.get("more_body", False)
        return message

    async def _drop_rest(self, message: "Message") -> None:
        dropped = 0
        while message.get("more_body", False) and dropped < self._limits.max_request_bytes:
            message = await self._receive_in_time()
            dropped += len(message.get("body", b""))
