"""Predictions in child processes, so that a file whose decoder ends its process costs one row.

A file may make a decoder in C crash, or take so much memory that the system kills the process. Python cannot catch
that. The batches that were in progress are read again, one at a time and up to three times in all, and then file by
file. A file that ends its process alone gets a reading with an error.
"""

import os
import signal
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context, parent_process

from pneumoscope.data.source import printable_name
from pneumoscope.errors import PneumoscopeError
from pneumoscope.inference.batch import ReadBatch, split_batches
from pneumoscope.inference.reading import Reading
from pneumoscope.progress import log

TRIES = 3
ENDED = (
    "reading the file ended the process, as a fault of a decoder or too little memory does; expected a file that can "
    "be decoded"
)

_Pending = tuple[list[str], Future[list[Reading]]]
_read: ReadBatch  # of a child process


def read_in_processes(
    read: ReadBatch, paths: Iterable[str], *, batch_size: int = 32, num_workers: int = 0
) -> Iterator[Reading]:
    """Yield the reading of each file, in order, as `read_files` does. A file that ends its process gets an error.

    Args:
        read: what to read with. It is pickled: its model is a path or None.
        paths: the files. At most two batches per process are in progress.
        batch_size: see `map_batches`.
        num_workers: number of processes; 0 is one per core.

    Raises:
        PneumoscopeError: if a process ends before it reads a file.
    """
    num_workers = num_workers or os.cpu_count() or 1
    pending: deque[_Pending] = deque()
    pool = _start(read, num_workers)
    try:
        for batch in split_batches(paths, batch_size, num_workers):
            pending.append((batch, _submit(pool, batch)))
            if len(pending) < 2 * num_workers:
                continue
            if _is_broken(pending[0][1]):
                yield from _finish(read, pending)
                pool = _start(read, num_workers)
            else:
                yield from pending.popleft()[1].result()
        yield from _finish(read, pending)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _finish(read: ReadBatch, pending: deque[_Pending]) -> Iterator[Reading]:
    """Yield the readings of the batches in progress. A batch whose process ended is read again."""
    while pending:
        batch, future = pending.popleft()
        yield from _read_again(read, batch) if _is_broken(future) else future.result()


def _read_again(read: ReadBatch, batch: list[str]) -> list[Reading]:
    log.warning("a process ended while it read %d files; they are read again", len(batch))
    for _ in range(TRIES - 1):
        with _start(read, 1) as pool:
            future = _submit(pool, batch)
            if not _is_broken(future):
                return future.result()
    readings: list[Reading] = []
    while len(readings) < len(batch):
        with _start(read, 1) as pool:
            for path in batch[len(readings) :]:
                future = _submit(pool, [path])
                if _is_broken(future):
                    readings.append(read.reader.refuse(printable_name(path), read.operating_point, ENDED))
                    break
                readings += future.result()
    return readings


def _start(read: ReadBatch, num_workers: int) -> ProcessPoolExecutor:
    pool = ProcessPoolExecutor(num_workers, get_context("spawn"), _prepare, (read,))
    try:
        _submit(pool, []).result()
    except BrokenProcessPool:
        raise PneumoscopeError(
            "a process that reads files ended before its first file; expected enough memory for the models. Use fewer "
            "--workers"
        ) from None
    return pool


@contextmanager
def _block_interrupts() -> Iterator[None]:
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _prepare(read: ReadBatch) -> None:
    """Open the models in a child process."""
    global _read
    from threadpoolctl import threadpool_limits

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # where it is not blocked
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _read = read
    _ = read.reader
    threadpool_limits(1, user_api="blas")


def _end_with_parent() -> None:
    if parent := parent_process():
        parent.join()
    os._exit(1)


def _read_batch(paths: list[str]) -> list[Reading]:
    return _read.read(paths) if paths else []


def _submit(pool: ProcessPoolExecutor, batch: list[str]) -> Future[list[Reading]]:
    try:
        with _block_interrupts():  # a process that starts here inherits it: the parent stops the work
            return pool.submit(_read_batch, batch)
    except BrokenProcessPool as error:
        future: Future[list[Reading]] = Future()
        future.set_exception(error)
        return future


def _is_broken(future: Future[list[Reading]]) -> bool:
    """Wait for a batch, and return whether its process ended."""
    return isinstance(future.exception(), BrokenProcessPool)
