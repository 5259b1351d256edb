"""Many files to predictions, in threads and in bounded memory; a file that cannot be read stops no other."""

import glob
import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np

from pneumoscope.data.source import printable_name
from pneumoscope.errors import CollectionError, ImageError
from pneumoscope.inference.decode import decode_radiograph
from pneumoscope.inference.reader import Reader
from pneumoscope.inference.reading import Reading

Outcome = TypeVar("Outcome")
Render = Callable[[Reader, str, np.ndarray, Reading], Reading]

SUFFIXES = (".jpeg", ".jpg", ".png", ".dcm", ".dicom", "")


@dataclass(frozen=True)
class BatchSettings:
    """How files are read.

    Attributes:
        operating_point: see `Reader.threshold`.
        batch_size: see `map_batches`.
        num_workers: see `map_batches`.
    """

    operating_point: str = "balanced"
    batch_size: int = 32
    num_workers: int = 0


def find_files(arguments: Sequence[str]) -> list[str]:
    """Return the files that the arguments name, in their order, each once.

    Args:
        arguments: files, folders (all radiographs below, by their suffix, without hidden ones and `__MACOSX`), globs,
            or `-` for a list of them on standard input, one a line.

    Raises:
        CollectionError: if nothing is named.
    """
    paths: list[str] = []
    for argument in arguments:
        if argument == "-":
            paths += find_files([line for line in sys.stdin.read().splitlines() if line])
        elif Path(argument).is_dir():
            paths += _walk(argument)
        elif not os.path.lexists(argument) and glob.has_magic(argument):
            # Path.glob refuses patterns that are absolute.
            paths += sorted(glob.glob(argument, recursive=True))  # noqa: PTH207
        else:
            paths.append(argument)
    if not paths:
        names = ", ".join(arguments)
        raise CollectionError(f"{names} names no file; expected JPEG, PNG or DICOM files, or folders that hold some")
    return list(dict.fromkeys(paths))


def read_files(
    reader: Reader, paths: Iterable[str], settings: BatchSettings, render: Render | None = None
) -> Iterator[Reading]:
    """Yield the reading of each file, in order; a file that cannot be read gets a reading with its error.

    Args:
        reader: the models; with more than one worker, open it with `num_threads=1`.
        paths: the files.
        settings: how they are read.
        render: called by the workers with the reader, the path, the `(size, size)` uint8 image and the reading of each
            file that could be read, to write pictures of it; returns the reading, with what it adds.

    Raises:
        PneumoscopeError: if there is no such operating point.
    """
    reader.threshold(settings.operating_point)
    work = partial(_read_batch, reader, settings.operating_point, render)
    yield from map_batches(work, paths, batch_size=settings.batch_size, num_workers=settings.num_workers)


def map_batches(
    work: Callable[[list[str]], list[Outcome]], paths: Iterable[str], *, batch_size: int = 4, num_workers: int = 0
) -> Iterator[Outcome]:
    """Yield the outcome of each file, in order, with at most two batches per worker in progress.

    Args:
        work: takes some paths and returns one outcome for each.
        paths: the files.
        batch_size: files that a worker takes at once; fewer towards the end, so that all workers end together.
        num_workers: threads; 0 is one for each core.
    """
    from threadpoolctl import threadpool_limits

    num_workers = num_workers or os.cpu_count() or 1
    # The matrices are small: BLAS would have threads of its own wait for them, busily, on the workers' cores.
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(num_workers) as pool:
        pending: deque[Future[list[Outcome]]] = deque()
        try:
            for batch in _split(list(paths), batch_size, num_workers):
                pending.append(pool.submit(work, batch))
                if len(pending) >= 2 * num_workers:
                    yield from pending.popleft().result()
            while pending:
                yield from pending.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def decode_file(path: str, size: int) -> tuple[np.ndarray, list[str]] | str:
    """Return the result of `decode_radiograph`, or why the file cannot be read."""
    try:
        return decode_radiograph(path, size=size)
    except ImageError as error:
        return str(error)


def _split(paths: list[str], batch_size: int, num_workers: int) -> Iterator[list[str]]:
    start = 0
    while start < len(paths):
        size = max(1, min(batch_size, (len(paths) - start) // (2 * num_workers)))
        yield paths[start : start + size]
        start += size


def _walk(folder: str) -> list[str]:
    return sorted(
        str(Path(root, name))
        for root, _, names in os.walk(folder)
        if not any(part.startswith(".") or part == "__MACOSX" for part in Path(root).relative_to(folder).parts)
        for name in names
        if Path(name).suffix.lower() in SUFFIXES and not name.startswith(".") and name != "DICOMDIR"
    )


def _read_batch(reader: Reader, operating_point: str, render: Render | None, paths: list[str]) -> list[Reading]:
    readings: dict[str, Reading] = {}
    decoded: dict[str, tuple[np.ndarray, list[str]]] = {}
    for path in paths:
        outcome = decode_file(path, reader.models.image_size)
        if isinstance(outcome, str):
            readings[path] = Reading(printable_name(path), operating_point, reader.models.id, error=outcome)
        else:
            decoded[path] = outcome
    if decoded:
        images = np.stack([image for image, _ in decoded.values()])
        objections = [reasons for _, reasons in decoded.values()]
        names = [printable_name(path) for path in decoded]
        predictions = reader.read(images, names, operating_point=operating_point, objections=objections)
        for path, image, reading in zip(decoded, images, predictions, strict=True):
            readings[path] = render(reader, path, image, reading) if render else reading
    return [readings[path] for path in paths]
