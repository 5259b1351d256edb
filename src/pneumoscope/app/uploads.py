"""Files received as multipart/form-data, in memory only: nothing here knows how to write a file."""

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from pneumoscope.app.limits import MIB, Limits, RequestError

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

# It quotes what it cannot parse.
logging.getLogger("python_multipart").setLevel(logging.CRITICAL)

MAX_FIELDS = 16
MAX_FIELD_BYTES = 1000


@dataclass(frozen=True)
class Upload:
    """A file that came with a request.

    Attributes:
        name: as the client calls it; never used as a path.
        content: its bytes.
    """

    name: str
    content: bytes


@dataclass
class Form:
    """What came with a request.

    Attributes:
        files: in the order they came.
        fields: the last value of each field of text.
    """

    files: list[Upload] = field(default_factory=list)
    fields: dict[str, str] = field(default_factory=dict)


async def receive_form(request: Request, limits: Limits, *, file_field: str) -> Form:
    """Receive the files and fields of a request.

    Args:
        request: whose body has not been asked for.
        limits: on the files.
        file_field: name of the field that files come in.

    Raises:
        RequestError: 415 if the body is no multipart, 400 if it is damaged or brings no file, 413 if it brings too
            much, and see `LimitRequests`.
        ClientDisconnect: if the client left.
    """
    collector = _Collector(limits, file_field)
    fault: RequestError | None = None
    try:
        parser = MultipartParser(_find_boundary(request, file_field), collector.callbacks)
    except FormParserError as error:
        fault = RequestError(400, f"a damaged multipart body: {error}")
    except RequestError as found:
        fault = found
    async for piece in request.stream():
        # What is at fault is still received, and dropped: a client that still sends does not listen.
        if fault or not piece:
            continue
        try:
            parser.write(piece)
        except FormParserError as error:
            fault = RequestError(400, f"a damaged multipart body: {error}")
        except RequestError as found:
            fault = found
    if fault is None and not collector.ended:
        fault = RequestError(400, "a multipart body that ends before its last boundary; send it again")
    if fault is None and not collector.form.files:
        fault = RequestError(400, f"a request without files; send one or more in the field {file_field!r}")
    if fault is not None:
        collector.forget()
        raise fault
    return collector.form


def _find_boundary(request: Request, file_field: str) -> bytes:
    kind, options = parse_options_header(request.headers.get("content-type"))
    if kind != b"multipart/form-data":
        found = kind.decode("latin-1")[:80] or "of no stated type"
        raise RequestError(
            415, f"a body {found}; expected multipart/form-data with one or more files in the field {file_field!r}"
        )
    if not options.get(b"boundary"):
        raise RequestError(400, "multipart/form-data without a boundary; let the client write the Content-Type itself")
    return options[b"boundary"]


class _Collector:
    """Takes what the parser finds, part by part."""

    def __init__(self, limits: Limits, file_field: str) -> None:
        self.form = Form()
        self.ended = False
        self._limits = limits
        self._file_field = file_field
        self._num_fields = 0
        self._content: list[bytes] = []
        self._start_part()

    @property
    def callbacks(self) -> "MultipartCallbacks":
        """The parser's, by its names."""
        return {
            "on_part_begin": self._start_part,
            "on_header_begin": self._start_header,
            "on_header_field": self._add_header_name,
            "on_header_value": self._add_header_value,
            "on_headers_finished": self._judge_head,
            "on_part_data": self._add_content,
            "on_part_end": self._end_part,
            "on_header_end": self._end_header,
            "on_end": self._end,
        }

    def forget(self) -> None:
        """Let go of all that came."""
        self.form = Form()
        self._content = []

    def _start_part(self) -> None:
        self._content = []
        self._size = 0
        self._disposition = b""
        self._name = ""
        self._file_name: str | None = None

    def _start_header(self) -> None:
        self._header_name = b""
        self._header_value = b""

    def _add_header_name(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _add_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _end_header(self) -> None:
        if self._header_name.lower() == b"content-disposition":
            self._disposition = self._header_value

    def _judge_head(self) -> None:
        _, options = parse_options_header(self._disposition)
        if b"name" not in options:
            raise RequestError(400, 'a part of the form without a name; expected Content-Disposition with name="..."')
        self._name = options[b"name"].decode(errors="replace")
        if b"filename" not in options:
            self._judge_field()
            return
        self._file_name = options[b"filename"].decode(errors="replace")
        if self._name != self._file_field:
            raise RequestError(
                400, f"a file in the field {self._name[:80]!r}; expected all files in the field {self._file_field!r}"
            )
        if len(self.form.files) == self._limits.max_files:
            few = f"{self._limits.max_files} or fewer" if self._limits.max_files > 1 else "one"
            raise RequestError(413, f"over {self._limits.max_files} files; expected {few} in a request")

    def _judge_field(self) -> None:
        if self._name == self._file_field:
            raise RequestError(
                400, f"text in the field {self._name!r}; expected files there, each part with a filename"
            )
        self._num_fields += 1
        if self._num_fields > MAX_FIELDS:
            raise RequestError(413, f"over {MAX_FIELDS} fields beside the files; leave out those that mean nothing")

    def _add_content(self, data: bytes, start: int, end: int) -> None:
        self._size += end - start
        if self._file_name is None and self._size > MAX_FIELD_BYTES:
            raise RequestError(413, f"over {MAX_FIELD_BYTES} bytes of text in a field; expected a short one")
        if self._size > self._limits.max_file_bytes:
            raise RequestError(
                413,
                f"file {len(self.form.files) + 1} is over {self._limits.max_file_bytes / MIB:g} MiB; "
                "expected less, such as a JPEG or a compressed DICOM file",
            )
        self._content.append(data[start:end])

    def _end_part(self) -> None:
        content = b"".join(self._content)
        self._content = []
        if self._file_name is None:
            self.form.fields[self._name] = content.decode(errors="replace")
        elif self._file_name or content:  # a browser sends an empty part where no file was chosen
            self.form.files.append(Upload(self._file_name, content))

    def _end(self) -> None:
        self.ended = True
