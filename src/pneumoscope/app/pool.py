"""The threads that predict and the queue before them: the event loop stays free, and work never piles up."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from fastapi import Request
from starlette.requests import ClientDisconnect

from pneumoscope.app.limits import Limits, RequestError

Answer = TypeVar("Answer")

# Multiple of `read_seconds`: work checks its time only between two files.
_MAX_OVERRUN = 2


class ReadingPool:
    """`Limits.num_readers` threads, and the requests that wait for one."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._free = asyncio.Semaphore(limits.num_readers)
        self._threads = ThreadPoolExecutor(limits.num_readers, thread_name_prefix="reader")

    async def run(self, request: Request, work: Callable[[], Answer]) -> Answer:
        """Do some work in a thread, once one is free, unless the client left the queue.

        A thread cannot be stopped: work that exceeds its time occupies its thread until it ends.

        Args:
            request: whose body has been received.
            work: takes about `read_seconds` at most.

        Raises:
            RequestError: 503, if the queue or the work took too long.
            ClientDisconnect: if the client left.
        """
        try:
            async with asyncio.timeout(self._limits.wait_seconds):
                await self._free.acquire()
        except TimeoutError:
            raise RequestError(503, "too many requests are waiting; send this one again in a moment") from None
        try:
            if await request.is_disconnected():
                raise ClientDisconnect
            future = asyncio.get_running_loop().run_in_executor(self._threads, work)
        except BaseException:
            self._free.release()
            raise
        future.add_done_callback(self._release)
        seconds = _MAX_OVERRUN * self._limits.read_seconds
        done, _ = await asyncio.wait([future], timeout=seconds)
        if not done:
            raise RequestError(503, f"the work took over {seconds:g} s; send fewer or smaller files at a time")
        return future.result()

    def close(self) -> None:
        """Take no more work."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _release(self, future: "asyncio.Future[Answer]") -> None:
        self._free.release()
        # asyncio logs the error of a future that nobody retrieves, and its message may contain a file name.
        if not future.cancelled():
            future.exception()
