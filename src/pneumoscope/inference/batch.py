"""Predictions for many files, in threads and in bounded memory. An unreadable file does not stop the others."""

import glob
import os
import sys
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pneumoscope.data.decode import DecodedImage, decode_file
from pneumoscope.data.identity import Identity
from pneumoscope.data.listing import is_image_file, walk_files
from pneumoscope.data.source import printable_name
from pneumoscope.errors import CollectionError
from pneumoscope.inference.reader import Reader
from pneumoscope.inference.reading import Reading
from pneumoscope.inference.table import make_schema
from pneumoscope.io.storage import AT_ONCE, is_url
from pneumoscope.progress import log

if TYPE_CHECKING:
    import pyarrow as pa

Outcome = TypeVar("Outcome")
# Writes the output files of one image, and returns the reading with their names.
Render = Callable[[Reader, str, DecodedImage, Reading], Reading]

_IGNORED = frozenset({"__macosx"})
_BOM = b"\xef\xbb\xbf"
_BLOCK = 1 << 16  # bytes of names that are read at once


class ReadBatch:
    """Reads a batch of files. It can be pickled; the models are opened on the first call.

    Attributes:
        operating_point: see `Reader.thresholds`.

    Example:
        >>> import pyarrow as pa
        >>> read = ReadBatch()
        >>> read(pa.table({"path": ["missing.png"]}))["error"].to_pylist()
        ['the file does not exist (or is a broken link)']
        >>> read.schema.names[:3]
        ['path', 'error', 'decision']
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | Reader | None = None,
        *,
        operating_point: str | float = "balanced",
        ignore_population: bool = False,
        deidentify: bool = False,
        render: Render | None = None,
    ) -> None:
        """Describe what to read with.

        Args:
            model: exported reader, a study that contains one, or an open reader; None is the included models.
            operating_point: see `Reader.thresholds`.
            ignore_population: see `Reader.open`.
            deidentify: whether to leave the elements of DICOM headers out of the readings. Paths stay.
            render: called for each readable image; it may write files, and returns the reading with their names.
        """
        self._model, self._ignore_population, self._render = model, ignore_population, render
        self._deidentify, self.operating_point = deidentify, operating_point
        if isinstance(model, Reader):
            model.thresholds(operating_point)

    def __getstate__(self) -> dict[str, Any]:
        state = {name: value for name, value in vars(self).items() if name != "reader"}
        if isinstance(self._model, Reader):
            raise TypeError("ReadBatch holds an open reader; expected the path of the models, to be pickled")
        return state

    @cached_property
    def reader(self) -> Reader:
        """The reader, with one thread per model."""
        if isinstance(self._model, Reader):
            return self._model
        reader = Reader.open(self._model, num_threads=1, ignore_population=self._ignore_population)
        reader.thresholds(self.operating_point)
        return reader

    @property
    def schema(self) -> "pa.Schema":
        """Columns and types of the result, which depend on the model alone."""
        return make_schema(self.reader.scored)

    def __call__(self, batch: "pa.Table | pa.RecordBatch") -> "pa.Table":
        """Return one row per file.

        Args:
            batch: with the column `path`, and optionally `bytes`, the content of the files.
        """
        import pyarrow as pa

        contents = batch["bytes"].to_pylist() if "bytes" in batch.schema.names else None
        readings = self.read(batch["path"].to_pylist(), contents)
        return pa.Table.from_pylist([reading.to_row() for reading in readings], self.schema)

    def read(self, paths: Sequence[str], contents: Sequence[bytes] | None = None) -> list[Reading]:
        """Return the reading of each file, or of each content with a name."""
        size, names = self.reader.models.image_size, [printable_name(path) for path in paths]
        decode = partial(decode_file, size=size)
        if contents is None and any(map(is_url, paths)):
            with ThreadPoolExecutor(AT_ONCE) as pool:
                images = list(pool.map(decode, paths))
        else:
            images = [decode(source) for source in (paths if contents is None else contents)]
        readings = self.reader.predict_decoded(images, names, self.operating_point)
        if self._deidentify:
            readings = [replace(reading, identity=Identity()) for reading in readings]
        if self._render is None:
            return readings
        return [
            reading if isinstance(image, str) else self._render(self.reader, path, image, reading)
            for path, image, reading in zip(paths, images, readings, strict=True)
        ]


def find_files(arguments: Sequence[str], *, null: bool = False) -> list[str]:
    """Return the files that the arguments name, in order and without duplicates; see `list_files`."""
    return list(dict.fromkeys(list_files(arguments, null=null)))


def list_files(
    arguments: Sequence[str], *, null: bool = False, holds: Callable[[str], bool] | None = None
) -> Iterator[str]:
    """Yield the files that the arguments name, in order. A file that two arguments name comes twice.

    Files in folders that are no images are passed over, and their number is logged, as that of folders that cannot be
    listed.

    Args:
        arguments: files, folders, URLs, glob patterns, or `-` to read such names from standard input, one per line. A
            folder stands for all images below it, recognised by suffix or content.
        null: whether names on standard input end with a null byte instead of a line end.
        holds: gets the path of each file, with `/`: below the folder that an argument names, else as the argument names
            the file. Files with a false result are left out. The files of a folder then come in the order of the disk,
            so that the memory does not grow with their number.

    Raises:
        CollectionError: if there is no file, not even one that `holds` leaves out.
    """
    passed: Counter[str] = Counter()
    examples: dict[str, str] = {}
    count = 0

    def report(path: str, reason: str) -> None:
        passed[reason] += 1
        examples.setdefault(reason, printable_name(path))

    for argument, is_folder in _expand(arguments, null):
        start = f"{argument.rstrip('/')}/" if is_url(argument) else os.path.join(Path(argument), "")  # noqa: PTH118
        walk = walk_files(argument, report, ignored=_IGNORED, ordered=holds is None) if is_folder else (argument,)
        for path in walk:
            held = holds is None or holds(path.removeprefix(start).replace(os.sep, "/"))
            if held and path != argument and not is_image_file(path):
                report(path, "no image by suffix or content")
                continue
            count += 1
            if held:
                yield path
    for reason, number in passed.items():
        log.warning("passed over: %d, such as %s: %s", number, examples[reason], reason)
    if not count:
        names = ", ".join("standard input" if argument == "-" else argument for argument in arguments)
        raise CollectionError(f"no file in {names}; expected images or DICOM files, or folders with such files")


def _expand(arguments: Iterable[str], null: bool) -> Iterator[tuple[str, bool]]:
    """Yield the files and folders that the arguments name, and whether each is a folder."""
    for argument in arguments:
        if argument == "-":
            yield from _expand(_read_names(null), null)
        elif is_url(argument) or Path(argument).is_dir():
            yield argument, True
        elif not os.path.lexists(argument) and glob.has_magic(argument):
            # Path.glob does not accept absolute patterns.
            yield from ((path, False) for path in sorted(glob.glob(argument, recursive=True)))  # noqa: PTH207
        else:
            yield argument, False


def _read_names(null: bool) -> Iterator[str]:
    """Yield the names on standard input."""
    # Lines of a text stream would also end at other characters that a name may contain.
    rest, start = b"", _BOM
    while block := sys.stdin.buffer.read(_BLOCK):
        if b"\0" in block and not null:
            raise CollectionError(
                "standard input holds the content of a file, or names that end with null bytes; expected names of "
                "files, one per line. Use --null for null bytes"
            )
        *names, rest = (rest + block).removeprefix(start).split(b"\0" if null else b"\n")
        yield from (os.fsdecode(name if null else name.removesuffix(b"\r")) for name in names if name.strip(b"\r"))
        start = b""
    if rest := rest.removesuffix(b"\r"):
        yield os.fsdecode(rest)


def read_files(
    read: ReadBatch, paths: Iterable[str], *, batch_size: int = 32, num_workers: int = 0
) -> Iterator[Reading]:
    """Yield the reading of each file, in order. An unreadable file gets a reading whose `error` says why.

    Args:
        read: what to read with.
        paths: the files.
        batch_size, num_workers: see `map_batches`.
    """
    _ = read.reader  # opened here, not by several threads at once
    yield from map_batches(read.read, paths, batch_size=batch_size, num_workers=num_workers)


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
            for batch in split_batches(paths, batch_size, num_workers):
                pending.append(pool.submit(work, batch))
                if len(pending) >= 2 * num_workers:
                    yield from pending.popleft().result()
            while pending:
                yield from pending.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def split_batches(paths: Iterable[str], batch_size: int, num_workers: int) -> Iterator[list[str]]:
    """Yield batches of files, of which the last ones are smaller; see `map_batches`."""
    remaining, ahead = iter(paths), deque[str]()
    while True:
        ahead.extend(islice(remaining, 2 * num_workers * batch_size - len(ahead)))
        if not ahead:
            return
        size = max(1, min(batch_size, len(ahead) // (2 * num_workers)))
        yield [ahead.popleft() for _ in range(size)]
