"""Threads for predictions with a bounded queue, so that the event loop stays free."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from fastapi import Request
from starlette.requests import ClientDisconnect

from pneumoscope.app.limits import Limits, RequestError

Answer = TypeVar("Answer")

# Multiple of `read_seconds`, because work checks its time between two files only.
_MAX_OVERRUN = 2


class ReadingPool:
    """`Limits.num_readers` threads, and a queue of requests."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._free = asyncio.Semaphore(limits.num_readers)
        self._threads = ThreadPoolExecutor(limits.num_readers, thread_name_prefix="reader")
        self._running: set[asyncio.Future[Any]] = set()

    async def run(self, request: Request, work: Callable[[], Answer]) -> Answer:
        """Run work in the next free thread, unless the client disconnects first.

        A thread cannot be stopped. Work that exceeds its time occupies its thread until it ends.

        Args:
            request: its body must have been received.
            work: takes at most about `read_seconds`.

        Raises:
            RequestError: 503, if waiting or the work took too long.
            ClientDisconnect: if the client disconnected.
        """
        try:
            async with asyncio.timeout(self._limits.wait_seconds):
                await self._free.acquire()
        except TimeoutError:
            raise RequestError(503, "too many requests are waiting; try again in a moment") from None
        try:
            if await request.is_disconnected():
                raise ClientDisconnect
            future = asyncio.get_running_loop().run_in_executor(self._threads, work)
        except BaseException:
            self._free.release()
            raise
        self._running.add(future)
        future.add_done_callback(self._release)
        seconds = _MAX_OVERRUN * self._limits.read_seconds
        done, _ = await asyncio.wait([future], timeout=seconds)
        if not done:
            raise RequestError(503, f"the request took over {seconds:g} s; send fewer or smaller files")
        return future.result()

    @property
    def is_idle(self) -> bool:
        """Whether no thread works."""
        return not self._running

    def close(self) -> None:
        """Stop accepting work."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _release(self, future: "asyncio.Future[Answer]") -> None:
        self._free.release()
        self._running.discard(future)
        # asyncio logs errors that are never retrieved, and their messages may contain a file name.
        if not future.cancelled():
            future.exception()
