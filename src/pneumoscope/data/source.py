"""The bytes of an image: a file on disk, or an upload in memory."""

import hashlib
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from pneumoscope.errors import ImageError

ImageSource = str | os.PathLike[str] | bytes | BinaryIO

MIN_SIDE = 16
MAX_PIXELS = 80_000_000
MAX_BYTES = 256 * 1024 * 1024
_REASONS: dict[type[OSError], str] = {
    FileNotFoundError: "the file does not exist (or is a broken link)",
    PermissionError: "no permission to read the file",
    IsADirectoryError: "a folder, not a file",
}


@contextmanager
def open_source(source: ImageSource) -> Iterator[BinaryIO]:
    """Open an image for reading, at its first byte.

    Args:
        source: path, bytes, or a binary stream, which is read from its beginning and left open.

    Yields:
        A seekable binary stream; a pipe is held in memory.

    Raises:
        ImageError: if there is no such file, it may not be read, or a pipe carries over 256 MiB.
        TypeError: if a stream yields text.
    """
    if isinstance(source, bytes):
        yield io.BytesIO(source)
    elif isinstance(source, str | os.PathLike):
        with _open_path(source) as stream:
            yield _make_seekable(stream)
    else:
        if not isinstance(source.read(0), bytes):
            raise TypeError("a text stream; expected a binary one, such as of open(path, 'rb')")
        yield _make_seekable(source)


def check_size(width: int, height: int) -> None:
    """Reject an image that is too small to be a radiograph, or too large to be held in memory.

    Raises:
        ImageError: if a side has under 16 pixels, or all are over 80 megapixels.
    """
    if min(width, height) < MIN_SIDE:
        raise ImageError(f"{width} x {height} pixels; expected sides of {MIN_SIDE} or more")
    if width * height > MAX_PIXELS:
        raise ImageError(f"{width} x {height} pixels; expected {MAX_PIXELS // 1_000_000} megapixels or less")


def read_all(stream: BinaryIO) -> bytes:
    """Return all bytes of a seekable stream.

    Raises:
        ImageError: if they are over 256 MiB.
    """
    # With the size, because read(n) sets n bytes of memory aside however short the file is.
    size = stream.seek(0, io.SEEK_END)
    if size > MAX_BYTES:
        raise ImageError(f"a file of {size >> 20} MiB; expected {MAX_BYTES >> 20} or less")
    stream.seek(0)
    return stream.read(size)


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def printable_name(path: str | os.PathLike[str]) -> str:
    """Return a path as text that any terminal, log and JSON file can hold."""
    text = os.fsencode(path).decode("utf-8", "backslashreplace").replace(os.sep, "/")
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)


def shorten_name(name: str, *, most: int) -> str:
    """Return the last `most` letters of a longer name behind an ellipsis; any other name as it is."""
    return name if len(name) <= most else f"…{name[-most:]}"


def _open_path(path: str | os.PathLike[str]) -> BinaryIO:
    try:
        return Path(path).open("rb")
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
