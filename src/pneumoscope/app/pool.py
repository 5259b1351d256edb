"""The threads that read, and the line before them: the event loop stays free, and work never piles up."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from fastapi import Request
from starlette.requests import ClientDisconnect

from pneumoscope.app.limits import Limits, RequestError

Answer = TypeVar("Answer")

# Times `read_seconds`: work looks at the clock only between two files.
_PATIENCE = 2


class ReadingPool:
    """As many threads as requests may be worked on at a time."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._free = asyncio.Semaphore(limits.num_readers)
        self._threads = ThreadPoolExecutor(limits.num_readers, thread_name_prefix="reader")

    async def run(self, request: Request, work: Callable[[], Answer]) -> Answer:
        """Do some work in a thread, once one is free.

        A client that left the line is not worked for. A thread cannot be stopped: where work outlasts its time its
        place stays taken until it ends.

        Args:
            request: whom the work is for; its body has been received.
            work: takes about `read_seconds` at most.

        Raises:
            RequestError: 503, if the line or the work was too long.
            ClientDisconnect: if nobody waits for the answer any more.
        """
        try:
            async with asyncio.timeout(self._limits.wait_seconds):
                await self._free.acquire()
        except TimeoutError:
            raise RequestError(503, "too many requests are in line; send this one again in a moment") from None
        try:
            if await request.is_disconnected():
                raise ClientDisconnect
            future = asyncio.get_running_loop().run_in_executor(self._threads, work)
        except BaseException:
            self._free.release()
            raise
        future.add_done_callback(self._release)
        seconds = _PATIENCE * self._limits.read_seconds
        done, _ = await asyncio.wait([future], timeout=seconds)
        if not done:
            raise RequestError(503, f"the work took over {seconds:g} s; send fewer or smaller files at a time")
        return future.result()

    def close(self) -> None:
        """Take no more work."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _release(self, future: "asyncio.Future[Answer]") -> None:
        self._free.release()
        # Asked for, because asyncio logs the error of a future that nobody asks, with all that its message names.
        if not future.cancelled():
            future.exception()
