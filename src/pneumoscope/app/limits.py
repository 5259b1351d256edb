"""Limits on the size and time of requests, and the middleware that enforces them."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from starlette.datastructures import Headers, MutableHeaders

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

MIB = 1 << 20
LINGER_SECONDS = 2


@dataclass(frozen=True)
class Limits:
    """Limits of the server.

    Attributes:
        max_files: number of files in one request.
        max_file_bytes: size of one file.
        max_request_bytes: size of the body of one request.
        max_held_bytes: total size of the bodies of all requests in progress.
        max_connections: number of open connections.
        num_readers: number of threads; each processes one request at a time.
        receive_seconds: time to receive a body.
        wait_seconds: time in the queue for a thread.
        read_seconds: time to process a request.
    """

    max_files: int = 32
    max_file_bytes: int = 64 * MIB
    max_request_bytes: int = 144 * MIB
    max_held_bytes: int = 144 * MIB
    max_connections: int = 512
    num_readers: int = 2
    receive_seconds: float = 30
    wait_seconds: float = 120
    read_seconds: float = 30


class RequestError(Exception):
    """A request that failed for a reason that the client can fix.

    Attributes:
        status: HTTP status, 4xx or 503.
        message: what was received, what was expected, and how to fix it; contains no file name.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class LimitRequests:
    """Middleware that limits the size of bodies and the time to receive them.

    A body over a limit raises a `RequestError`: 413 if it is too large, 408 if it is too slow, 503 if all bodies in
    progress are too large together. The response is then sent before the end of the body, and the connection is closed.
    Before closing, the server receives and drops a limited part of the rest: some clients read the response only after
    they have sent the whole body, and closing a connection with unread data resets it.
    """

    def __init__(self, app: "ASGIApp", limits: Limits) -> None:
        self.app = app
        self.limits = limits
        self.held_bytes = 0

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Forward a request with a limited body."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        body = _BoundedBody(self, Headers(scope=scope), receive)

        async def send_answer(message: "Message") -> None:
            if body.complete:
                await send(message)
            elif message["type"] == "http.response.start":
                MutableHeaders(scope=message)["connection"] = "close"
                await send(message)
            else:
                await send({**message, "more_body": True})
                if not message.get("more_body", False):
                    await body.drop_rest()
                    await send({"type": "http.response.body"})

        try:
            await self.app(scope, body.receive, send_answer)
        finally:
            self.held_bytes -= body.num_bytes


class _BoundedBody:
    """The body of one request.

    Attributes:
        num_bytes: announced size, or that of the part received if it is larger; counted in `held_bytes`.
        complete: whether the whole body was received.
    """

    def __init__(self, owner: LimitRequests, headers: Headers, receive: "Receive") -> None:
        self._owner = owner
        self._receive = receive
        self._announced_bytes = int(headers.get("content-length", "0"))
        self._deadline = asyncio.get_running_loop().time() + owner.limits.receive_seconds
        self.num_bytes = self._num_received = 0
        self.complete = not self._announced_bytes and "transfer-encoding" not in headers

    async def receive(self) -> "Message":
        """Return the next message.

        Raises:
            RequestError: if the body is over a limit.
        """
        if self.complete:
            return await self._receive()
        limits = self._owner.limits
        # Before the first message, because receiving one sends "100 Continue" to a client that waits for it. The whole
        # body is held, so that of several large ones the first are received completely.
        self._hold(self._announced_bytes)
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await self._receive()
        except TimeoutError:
            expected = f"expected the whole body within {limits.receive_seconds:g} s"
            raise RequestError(408, f"the request did not arrive in time; {expected}; send fewer files") from None
        self._num_received += len(message.get("body", b""))
        self._hold(self._num_received)
        self.complete = not message.get("more_body", False)
        return message

    async def drop_rest(self) -> None:
        """Receive and drop the rest of the body, up to `LINGER_SECONDS` and the size of a whole request."""
        num_dropped = 0
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER_SECONDS):
                while not self.complete and num_dropped < self._owner.limits.max_request_bytes:
                    message = await self._receive()
                    num_dropped += len(message.get("body", b""))
                    self.complete = not message.get("more_body", False)

    def _hold(self, size: int) -> None:
        """Count a body of at least `size` bytes as held."""
        limits, more = self._owner.limits, max(0, size - self.num_bytes)
        if size > limits.max_request_bytes:
            limit = f"{limits.max_request_bytes / MIB:.0f} MiB"
            raise RequestError(413, f"the request is larger than {limit}; send the files in several requests")
        if self._owner.held_bytes + more > limits.max_held_bytes:
            raise RequestError(503, "too many large uploads at once; try again in a moment")
        self.num_bytes += more
        self._owner.held_bytes += more
