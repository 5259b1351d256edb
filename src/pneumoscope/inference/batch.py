"""Many files, one after the other: each becomes a reading, a bad one too, and memory stays as it is."""

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
    """How a batch is read.

    Attributes:
        operating_point: see `Reader.threshold`.
        batch_size: files that a worker takes at once; fewer towards the end, so that all workers end together.
        num_workers: threads that decode and read; 0 is one for each core.
    """

    operating_point: str = "balanced"
    batch_size: int = 32
    num_workers: int = 0


def find_files(arguments: Sequence[str]) -> list[str]:
    """Return the files that some arguments name, in their order, each once.

    Args:
        arguments: files, folders (all radiographs below, by their suffix; hidden ones and `__MACOSX` left out),
            globs, or `-` for a list of them on standard input, one a line.

    Raises:
        CollectionError: if nothing is named.
    """
    found: dict[str, None] = {}
    for argument in arguments:
        if argument == "-":
            found |= dict.fromkeys(find_files([line for line in sys.stdin.read().splitlines() if line]))
        elif Path(argument).is_dir():
            found |= dict.fromkeys(_walk(argument))
        elif not os.path.lexists(argument) and glob.has_magic(argument):
            # Path.glob refuses patterns that are absolute.
            found |= dict.fromkeys(sorted(glob.glob(argument, recursive=True)))  # noqa: PTH207
        else:
            found[argument] = None
    if not found:
        told = ", ".join(arguments)
        raise CollectionError(f"{told} names no file; expected JPEG, PNG or DICOM files, or folders that hold some")
    return list(found)


def read_files(
    reader: Reader, paths: Iterable[str], settings: BatchSettings, render: Render | None = None
) -> Iterator[Reading]:
    """Yield the reading of each file, in order.

    Each worker decodes some files and then reads them, and no more than two batches a worker are under way, so that
    memory does not grow with the number of files. What cannot be read becomes a reading with its error. Use a reader
    whose graphs take one thread each where there is more than one worker.

    Args:
        reader: the models.
        paths: the files.
        settings: how they are read.
        render: called by the workers with the reader, the path, the `(size, size)` uint8 image and the reading of each
            file that could be read, to write pictures of it; returns the reading, with what it adds.

    Raises:
        PneumoscopeError: if there is no such operating point.
    """
    reader.threshold(settings.operating_point)
    work = partial(_read_batch, reader, settings, render)
    yield from map_batches(work, paths, batch_size=settings.batch_size, num_workers=settings.num_workers)


def map_batches(
    work: Callable[[list[str]], list[Outcome]], paths: Iterable[str], *, batch_size: int = 4, num_workers: int = 0
) -> Iterator[Outcome]:
    """Yield what comes of each file, in order, with no more than two batches a worker under way.

    Args:
        work: takes some paths and returns one outcome for each.
        paths: the files.
        batch_size: files that a worker takes at once; fewer towards the end, so that all workers end together.
        num_workers: threads; 0 is one for each core.
    """
    from threadpoolctl import threadpool_limits

    num_workers = num_workers or os.cpu_count() or 1
    batches = _part(list(paths), batch_size, num_workers)
    # The matrices are small: BLAS would have threads of its own wait for them, busily, on the workers' cores.
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(num_workers) as pool:
        coming: deque[Future[list[Outcome]]] = deque()
        try:
            for batch in batches:
                coming.append(pool.submit(work, batch))
                if len(coming) >= 2 * num_workers:
                    yield from coming.popleft().result()
            while coming:
                yield from coming.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _part(paths: list[str], most: int, num_workers: int) -> Iterator[list[str]]:
    start = 0
    while start < len(paths):
        size = max(1, min(most, (len(paths) - start) // (2 * num_workers)))
        yield paths[start : start + size]
        start += size


def _walk(folder: str) -> list[str]:
    return sorted(
        str(Path(root, name))
        for root, folders, names in os.walk(folder)
        if not _is_hidden(Path(root).relative_to(folder))
        for name in names
        if Path(name).suffix.lower() in SUFFIXES and not name.startswith(".") and name != "DICOMDIR"
    )


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in path.parts)


def decode_file(path: str, size: int) -> tuple[np.ndarray, list[str]] | str:
    """Return what `decode_radiograph` does, or why the file cannot be read."""
    try:
        return decode_radiograph(path, size=size)
    except ImageError as error:
        return str(error)


def _read_batch(reader: Reader, settings: BatchSettings, render: Render | None, paths: list[str]) -> list[Reading]:
    decoded = {path: decode_file(path, reader.models.image_size) for path in paths}
    good = [(path, *outcome) for path, outcome in decoded.items() if not isinstance(outcome, str)]
    readings = {
        path: Reading(printable_name(path), settings.operating_point, reader.models.id, error=outcome)
        for path, outcome in decoded.items()
        if isinstance(outcome, str)
    }
    if good:
        readable, images, objections = zip(*good, strict=True)
        stack, names = np.stack(images), [printable_name(path) for path in readable]
        answers = reader.read(stack, names, operating_point=settings.operating_point, objections=objections)
        if render:
            answers = [render(reader, *file) for file in zip(readable, images, answers, strict=True)]
        readings |= dict(zip(readable, answers, strict=True))
    return [readings[path] for path in paths]
