"""How large and how slow a request may be, and the middleware that enforces it."""

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
    """Bounds on what the server accepts.

    Attributes:
        max_files: files of one request.
        max_file_bytes: bytes of one file.
        max_request_bytes: bytes of the body of one request.
        max_held_bytes: bytes of the bodies of all requests in progress.
        max_connections: open at a time.
        num_readers: requests processed at a time, each in a thread.
        receive_seconds: for a whole body.
        wait_seconds: in the queue for a thread.
        read_seconds: for the work on a request.
    """

    max_files: int = 32
    max_file_bytes: int = 64 * MIB
    max_request_bytes: int = 256 * MIB
    max_held_bytes: int = 1024 * MIB
    max_connections: int = 512
    num_readers: int = 2
    receive_seconds: float = 30
    wait_seconds: float = 120
    read_seconds: float = 30


class RequestError(Exception):
    """A request that is not answered, for a reason that the client can fix.

    Attributes:
        status: of the HTTP answer, 4xx or 503.
        message: what came, what was expected, how to fix it; contains no file name.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class LimitRequests:
    """Middleware that bounds bodies in size and time.

    Receiving a body beyond a limit raises a `RequestError`: 413 too large, 408 too slow, 503 too many bytes at once.
    An answer that comes before the end of the body closes the connection; before that, a bounded part
    of the rest is dropped, because a client may read the answer only after it sent its body, and a connection closed
    on unread data is reset.
    """

    def __init__(self, app: "ASGIApp", limits: Limits) -> None:
        self.app = app
        self.limits = limits
        self.held_bytes = 0

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Hand a request on with a body that is bounded."""
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
        num_bytes: received so far and counted as held.
        complete: whether nothing of it is left to receive.
    """

    def __init__(self, owner: LimitRequests, headers: Headers, receive: "Receive") -> None:
        self._owner = owner
        self._receive = receive
        self._announced_bytes = int(headers.get("content-length", "0"))
        self._deadline = asyncio.get_running_loop().time() + owner.limits.receive_seconds
        self.num_bytes = 0
        self.complete = not self._announced_bytes and "transfer-encoding" not in headers

    async def receive(self) -> "Message":
        """Return the next piece.

        Raises:
            RequestError: if the body is beyond a limit.
        """
        if self.complete:
            return await self._receive()
        limits = self._owner.limits
        # Checked before the first piece is received: that would send "100 Continue" to a client that waits for it.
        self._check_size(self._announced_bytes)
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await self._receive()
        except TimeoutError:
            expected = f"expected all of it in {limits.receive_seconds:g} s"
            advice = "Send it again, or fewer files at a time."
            raise RequestError(408, f"the request did not arrive in time; {expected}. {advice}") from None
        size = len(message.get("body", b""))
        self._check_size(self.num_bytes + size)
        if self._owner.held_bytes + size > limits.max_held_bytes:
            raise RequestError(503, "too many large uploads at once; send this one again in a moment")
        self.num_bytes += size
        self._owner.held_bytes += size
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

    def _check_size(self, size: int) -> None:
        if size > self._owner.limits.max_request_bytes:
            limit = f"{self._owner.limits.max_request_bytes / MIB:.0f} MiB"
            advice = "Send the files in several requests."
            raise RequestError(413, f"a request over {limit}; expected {limit} or less. {advice}")
