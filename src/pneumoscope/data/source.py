"""Open an image file: a path, bytes in memory, or a binary stream."""

import hashlib
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from pneumoscope.errors import ImageError, escape_controls
from pneumoscope.io.read import open_regular
from pneumoscope.io.storage import fetch_object, is_url

ImageSource = str | os.PathLike[str] | bytes | BinaryIO

MIN_SIDE = 16
MAX_PIXELS = 40_000_000
MAX_BYTES = 256 * 1024 * 1024
_REASONS: dict[type[OSError], str] = {
    FileNotFoundError: "the file does not exist (or is a broken link)",
    PermissionError: "no permission to read the file",
    IsADirectoryError: "a folder, not a file",
}


@contextmanager
def open_source(source: ImageSource) -> Iterator[BinaryIO]:
    """Open an image file for reading.

    Args:
        source: path or URL, bytes, or a binary stream. A stream is read from its first byte and stays open.

    Yields:
        A seekable binary stream at its first byte. The content of a pipe is held in memory.

    Raises:
        ImageError: if the file or object does not exist, cannot be read or is a named pipe or device, if the stream
            yields text, if a pipe or object holds more than 256 MiB, or if `source` is of another type.
    """
    if isinstance(source, bytes | bytearray | memoryview):
        yield io.BytesIO(source)
    elif isinstance(source, str | os.PathLike):
        with _open_path(source) as stream:
            yield _make_seekable(stream)
    elif not hasattr(source, "read"):
        raise ImageError(f"{type(source).__name__}; expected a path, bytes, a PIL image or a uint8 array")
    elif not isinstance(source.read(0), bytes):
        raise ImageError("a text stream; expected a binary stream: use open(path, 'rb')")
    else:
        yield _make_seekable(source)


def check_size(width: int, height: int, *, most: int = MAX_PIXELS) -> None:
    """Check the number of pixels of an image.

    Args:
        width: number of columns.
        height: number of rows.
        most: highest number of pixels.

    Raises:
        ImageError: if a side has fewer than 16 pixels, or the image has more than `most` pixels.
    """
    if min(width, height) < MIN_SIDE:
        raise ImageError(f"{width} x {height} pixels; expected sides of {MIN_SIDE} or more")
    if width * height > most:
        raise ImageError(f"{width} x {height} pixels; expected {most // 1_000_000} megapixels or less: save it smaller")


def read_all(stream: BinaryIO) -> bytes:
    """Return all bytes of a seekable stream.

    Raises:
        ImageError: if the stream holds more than 256 MiB.
    """
    # The size is passed because read(n) allocates n bytes even for a shorter file.
    size = stream.seek(0, io.SEEK_END)
    if size > MAX_BYTES:
        raise ImageError(f"a file of {size >> 20} MiB; expected {MAX_BYTES >> 20} or less")
    stream.seek(0)
    return stream.read(size)


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits."""
    with open_regular(path) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def printable_name(path: str | os.PathLike[str]) -> str:
    """Return a path as printable text: control characters and bytes that are not UTF-8 are escaped."""
    return escape_controls(os.fsencode(path).decode("utf-8", "backslashreplace").replace(os.sep, "/"))


def shorten_name(name: str, *, most: int) -> str:
    """Return a name of at most `most` characters; a longer name keeps its end, after an ellipsis."""
    return name if len(name) <= most else f"…{name[-most:]}"


def _open_path(path: str | os.PathLike[str]) -> BinaryIO:
    if is_url(path):
        return io.BytesIO(fetch_object(str(path), most=MAX_BYTES))
    try:
        return open_regular(path)
    except OSError as error:
        raise ImageError(_REASONS.get(type(error), f"the file cannot be opened: {error.strerror}")) from None
    except ValueError as error:  # a null byte in the name
        raise ImageError(f"the file cannot be opened: {error}") from None


def _make_seekable(stream: BinaryIO) -> BinaryIO:
    if stream.seekable():
        stream.seek(0)
        return stream
    data = stream.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise ImageError(f"over {MAX_BYTES >> 20} MiB from a pipe; expected a single image")
    return io.BytesIO(data)
