"""Clients that are slow to ask or slow to listen: the time limits that only the connection itself can keep."""

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from pneumoscope.app.limits import Limits


class PatientProtocol(H11Protocol):
    """HTTP/1.1 that waits for the head of a request, and for the client to take an answer, but not for ever."""

    limits = Limits()
    _head_timer: asyncio.TimerHandle | None = None
    _send_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start to wait for the first request."""
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing any more."""
        for timer in (self._head_timer, self._send_timer):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        """Start to wait for the next request."""
        super().on_response_complete()
        self._await_head()

    def pause_writing(self) -> None:
        """Start to wait for the client to take what was written."""
        super().pause_writing()
        self._send_timer = self.loop.call_later(self.limits.send_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """Stop to wait: the client has taken most of it."""
        if self._send_timer is not None:
            self._send_timer.cancel()
        super().resume_writing()

    def _await_head(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
        self._head_timer = self.loop.call_later(self.limits.head_seconds, self._give_up, self.cycle)

    def _give_up(self, last: RequestResponseCycle | None) -> None:
        if self.cycle is last and (last is None or last.response_complete):
            self.transport.abort()


def limit_connections(limits: Limits) -> type[PatientProtocol]:
    """Return the protocol with limits of one's own."""
    return type("LimitedProtocol", (PatientProtocol,), {"limits": limits})
