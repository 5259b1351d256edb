"""Reads of files that may come from anyone: regular files, JSON and arrays of bounded size. No code is executed."""

import errno
import json
import math
import os
import stat
from collections.abc import Callable
from io import BufferedReader
from typing import Any, NoReturn
from zipfile import ZipFile

import numpy as np

MAX_TEXT_BYTES = 64 << 20
# Arrays may claim this much in any archive, and MAX_RATIO times the archive's size in a larger one.
MAX_ARRAY_BYTES = 256 << 20
MAX_RATIO = 20
NOT_REGULAR = "a pipe, socket or device, not a regular file"


def open_regular(path: str | os.PathLike[str]) -> BufferedReader:
    """Open a regular file for reading. A named pipe or a device, which could block for good, is an error.

    Raises:
        OSError: if the file is missing, a folder, not a regular file, or cannot be opened.
        ValueError: if the path has a null byte.
    """
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, NOT_REGULAR, str(path))
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_text(path: str | os.PathLike[str]) -> str:
    """Return the text of a regular UTF-8 file of up to 64 MiB, without a byte order mark.

    Raises:
        OSError: see `open_regular`.
        ValueError: if the file is larger or no UTF-8.
    """
    with open_regular(path) as stream:
        data = stream.read(MAX_TEXT_BYTES + 1)
    if len(data) > MAX_TEXT_BYTES:
        raise ValueError(f"larger than {MAX_TEXT_BYTES >> 20} MiB")
    return data.decode("utf-8-sig")


def decode_json(text: str, *, finite: bool = True, object_hook: Callable[[dict[str, Any]], Any] | None = None) -> Any:
    """Return the values of a JSON text.

    Args:
        text: the text.
        finite: whether NaN and infinite numbers are errors.
        object_hook: see `json.loads`.

    Raises:
        ValueError: if the text is no JSON, has lone surrogates or numbers that are not finite, or is nested too deeply.
    """
    numbers: dict[str, Any] = {"parse_constant": _reject_number, "parse_float": _parse_finite} if finite else {}
    try:
        values = json.loads(text, object_hook=object_hook, **numbers)
        json.dumps(values, ensure_ascii=False).encode()
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except UnicodeEncodeError:
        raise ValueError("a text has half of a surrogate pair") from None
    return values


def read_arrays(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Return the arrays of an `.npz` file by name. Arrays of Python objects are rejected.

    The shapes that the headers state are compared with the size of the data before memory is allocated.

    Raises:
        OSError: see `open_regular`.
        ValueError: if the file is no archive of arrays, is damaged or encrypted, or claims too many bytes.
    """
    with open_regular(path) as stream:
        try:
            size = stream.seek(0, os.SEEK_END)
            with ZipFile(stream) as archive:
                _check_claims(archive, max(MAX_ARRAY_BYTES, MAX_RATIO * size))
            stream.seek(0)
            with np.load(stream, allow_pickle=False) as arrays:
                return dict(arrays)
        except (OSError, ValueError):
            raise
        except Exception as error:  # zipfile, zlib and the parser of array headers raise many classes
            raise ValueError(str(error).partition("\n")[0] or type(error).__name__) from None


def _check_claims(archive: ZipFile, most: int) -> None:
    if (total := sum(member.file_size for member in archive.infolist())) > most:
        raise ValueError(f"arrays of {total} bytes; expected {most} or fewer")
    for member in archive.infolist():
        with archive.open(member) as stream:
            version = np.lib.format.read_magic(stream)
            if version not in ((1, 0), (2, 0)):
                raise ValueError(f"arrays of version {version}; expected 1.0 or 2.0")
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, _, dtype = read(stream)
            claimed, held = math.prod(shape) * dtype.itemsize, member.file_size - stream.tell()
        if claimed != held or min(shape, default=0) < 0:
            raise ValueError(f"an array of shape {shape} needs {claimed} bytes and has {held}")


def _parse_finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _reject_number(text)


def _reject_number(text: str) -> NoReturn:
    raise ValueError(f"{text[:20]} is no finite number")
