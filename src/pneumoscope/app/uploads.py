"""Files and fields of a multipart request, parsed by Starlette and kept in memory."""

import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

from fastapi import Request
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from pneumoscope.app.limits import MIB, Limits, RequestError

# The parser logs excerpts of data that it cannot parse.
logging.getLogger("python_multipart").setLevel(logging.CRITICAL)

MAX_FIELDS = 16
MAX_FIELD_BYTES = 1024


@asynccontextmanager
async def receive_form(
    request: Request, limits: Limits, *, file_field: str
) -> AsyncIterator[tuple[list[UploadFile], dict[str, str]]]:
    """Yield the files of a request in order and its text fields; close the files at exit.

    Args:
        request: its body must not have been received.
        limits: number and size of the files.
        file_field: name of the form field of the files.

    Raises:
        RequestError: 415 if the body is not multipart, 400 if it is damaged or contains no file, 413 if it is too
            large; see also `LimitRequests`.
        ClientDisconnect: if the client disconnected.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip() or "not stated"
    if media_type.lower() != "multipart/form-data":
        expected = f"multipart/form-data with one or more files in the field {file_field!r}"
        raise RequestError(415, f"the media type is {media_type[:80]}; expected {expected}")
    try:
        form = await _MemoryParser(request, limits.max_files).parse()
    except MultiPartException as error:
        status = 413 if error.message.startswith(("Too many", "Part exceeded")) else 400
        raise RequestError(status, f"the form is invalid: {error.message}") from None
    except ValueError:
        raise RequestError(400, "the charset in the Content-Type is unknown; omit it") from None
    try:
        yield _sort_parts(form, limits, file_field)
    finally:
        await form.close()


class _MemoryParser(MultiPartParser):
    """Keeps all uploads in memory, and rejects a body that ends before its last boundary."""

    spool_max_size = 0  # no limit; Starlette's default writes an upload over 1 MB to a temporary file

    def __init__(self, request: Request, max_files: int) -> None:
        self._complete = False
        limits = {"max_files": max_files, "max_fields": MAX_FIELDS, "max_part_size": MAX_FIELD_BYTES}
        super().__init__(request.headers, self._check_end(request), **limits)

    def on_end(self) -> None:
        """Record that the last boundary arrived."""
        self._complete = True

    async def _check_end(self, request: Request) -> AsyncGenerator[bytes, None]:
        async for piece in request.stream():
            yield piece
        if not self._complete:
            raise MultiPartException("The body ends before its last boundary.")


def _sort_parts(form: FormData, limits: Limits, file_field: str) -> tuple[list[UploadFile], dict[str, str]]:
    uploads, fields = [], {}
    for name, value in form.multi_items():
        if isinstance(value, UploadFile) != (name == file_field):
            content = "text" if name == file_field else "a file"
            expected = f"expected all files in the field {file_field!r}"
            raise RequestError(400, f"the field {name[:80]!r} contains {content}; {expected}")
        if isinstance(value, str):
            fields[name] = value
        elif value.filename or value.size:  # a browser sends an empty part if no file was chosen
            uploads.append(value)
            if (value.size or 0) > limits.max_file_bytes:
                limit = f"{limits.max_file_bytes / MIB:g} MiB"
                raise RequestError(413, f"file {len(uploads)} is larger than {limit}")
    if not uploads:
        raise RequestError(400, f"the request contains no files; send one or more in the field {file_field!r}")
    return uploads, fields
