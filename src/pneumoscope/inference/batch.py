"""Predictions for many files, in threads and in bounded memory. An unreadable file does not stop the others."""

import glob
import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np

from pneumoscope.data.decode import decode_file
from pneumoscope.data.source import printable_name
from pneumoscope.errors import CollectionError
from pneumoscope.inference.reader import Reader
from pneumoscope.inference.reading import Reading

Outcome = TypeVar("Outcome")
Render = Callable[[Reader, str, np.ndarray, Reading], Reading]

SUFFIXES = (".jpeg", ".jpg", ".png", ".dcm", ".dicom", "")


def find_files(arguments: Sequence[str]) -> list[str]:
    """Return the files that the arguments name, in order and without duplicates.

    Args:
        arguments: files, folders, glob patterns, or `-` to read such names from standard input, one per line. A folder
            stands for all files below it with the suffix of a radiograph; hidden files and `__MACOSX` are skipped.

    Raises:
        CollectionError: if there is no file.
    """
    paths: list[str] = []
    for argument in arguments:
        if argument == "-":
            paths += _read_names()
        elif Path(argument).is_dir():
            paths += _walk(argument)
        elif not os.path.lexists(argument) and glob.has_magic(argument):
            # Path.glob does not accept absolute patterns.
            paths += sorted(glob.glob(argument, recursive=True))  # noqa: PTH207
        else:
            paths.append(argument)
    if not paths:
        names = ", ".join("standard input" if argument == "-" else argument for argument in arguments)
        raise CollectionError(f"no file in {names}; expected JPEG, PNG or DICOM files, or folders with such files")
    return list(dict.fromkeys(paths))


def _read_names() -> list[str]:
    """Return the files that standard input names."""
    names = [line for line in sys.stdin.read().splitlines() if line]
    if any("\0" in name for name in names):
        raise CollectionError("standard input holds the content of a file; expected names of files, one per line")
    return find_files(names) if names else []


def read_files(
    reader: Reader,
    paths: Iterable[str],
    *,
    operating_point: str = "balanced",
    batch_size: int = 32,
    num_workers: int = 0,
    render: Render | None = None,
) -> Iterator[Reading]:
    """Yield the reading of each file, in order. An unreadable file gets a reading whose `error` says why.

    Args:
        reader: the models. With more than one worker, open the reader with `num_threads=1`.
        paths: the files.
        operating_point: see `Reader.threshold`; an unknown one is a `PneumoscopeError`.
        batch_size, num_workers: see `map_batches`.
        render: writes the output files of one reading. Workers call it for each readable file with the reader, the
            path, the `(size, size)` uint8 image and the reading. It returns the reading, with added fields if any.
    """
    reader.thresholds(operating_point)
    work = partial(_read_batch, reader, operating_point, render)
    yield from map_batches(work, paths, batch_size=batch_size, num_workers=num_workers)


def map_batches(
    work: Callable[[list[str]], list[Outcome]], paths: Iterable[str], *, batch_size: int = 4, num_workers: int = 0
) -> Iterator[Outcome]:
    """Yield the outcome of each file, in order. At most two batches per worker are in progress.

    Args:
        work: function from a list of paths to a list of outcomes, one per path.
        paths: the files.
        batch_size: largest number of files in a batch. The last batches are smaller, so that all workers end together.
        num_workers: number of threads; 0 is one per core.
    """
    from threadpoolctl import threadpool_limits

    num_workers = num_workers or os.cpu_count() or 1
    # Matrices are small: BLAS threads would occupy the cores of the workers with waiting.
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
    outcomes = [decode_file(path, size=reader.models.image_size) for path in paths]
    readings = reader.predict_decoded(outcomes, [printable_name(path) for path in paths], operating_point)
    if render is None:
        return readings
    return [
        reading if isinstance(outcome, str) else render(reader, path, outcome[0], reading)
        for path, outcome, reading in zip(paths, outcomes, readings, strict=True)
    ]
