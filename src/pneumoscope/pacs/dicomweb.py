"""The DICOMweb client: finds images in a PACS (QIDO-RS), gets them (WADO-RS) and stores their results (STOW-RS)."""

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pneumoscope.data.dicom import IMAGE_CLASSES, MANUFACTURER, OWN_OBJECT, quiet_pydicom
from pneumoscope.errors import ImageError, PneumoscopeError
from pneumoscope.inference.reader import Reader
from pneumoscope.pacs.delivery import DUPLICATE, DeliveryError
from pneumoscope.pacs.dicom_output import derive_instance_uids
from pneumoscope.pacs.results import NOT_SENT, OPERATING_POINT, OWN, SENT, make_results
from pneumoscope.pacs.spool import clean_uid
from pneumoscope.pacs.tls import is_loopback

if TYPE_CHECKING:
    from dicomweb_client import DICOMwebClient
    from pydicom import Dataset

TIMEOUT_SECONDS = 60
STUDY, SERIES, DESCRIPTION, SOP_CLASS, INSTANCE = "0020000D", "0020000E", "0008103E", "00080016", "00080018"
_DENIED = (401, 403)
_FIXES = {
    401: "sign in with --token-file or --client-cert",
    403: "the server does not allow this; check the rights of --token-file or --client-cert",
    404: "it is not there; if this concerns all, check the path of the URL, such as /dicom-web",
}
_REFUSALS = (400, 409, 413, 415)  # of these objects; other status codes concern all
STORED, FAILED, PLANNED = "stored already", "failed", "would be read"


@dataclass(frozen=True)
class Server:
    """A DICOMweb server and how to sign in.

    Attributes:
        url: root of its services, such as `http://127.0.0.1:8042/dicom-web`.
        token_file: file with a bearer token, or with the whole value of the header, such as `Basic dXNlcjpzZWNyZXQ=`.
            It is read anew in each round.
        client_cert: PEM file with the client's certificate and private key.
    """

    url: str
    token_file: Path | None = None
    client_cert: Path | None = None

    def check(self, *, insecure: bool) -> None:
        """Check the URL.

        Raises:
            PneumoscopeError: if it is none, or images would cross a network without encryption.
        """
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise PneumoscopeError(f"{self.url}: expected a URL such as https://pacs.example.org/dicom-web")
        if parts.username or parts.password:
            raise PneumoscopeError("the URL holds a password, which other users can see; use --token-file")
        if parts.scheme == "http" and not is_loopback(parts.hostname) and not insecure:
            raise PneumoscopeError(f"{self.url} is not encrypted; use https, or --insecure on a network that you trust")

    def connect(self) -> "DICOMwebClient":
        """Return a client."""
        from dicomweb_client import DICOMwebClient
        from dicomweb_client.session_utils import add_certs_to_session, create_session

        logging.getLogger("dicomweb_client").setLevel(logging.CRITICAL + 1)
        session = create_session()
        if self.token_file:
            token = self.token_file.read_text().strip()
            session.headers["Authorization"] = token if " " in token else f"Bearer {token}"
        if self.client_cert:
            add_certs_to_session(session, cert=str(self.client_cert))
        client = DICOMwebClient(self.url, session, timeout=TIMEOUT_SECONDS, permissive_uid=True)
        client.set_http_retry_params(retry=False)
        return client


@dataclass(frozen=True)
class Image:
    """An image in the PACS.

    Attributes:
        study, series, instance: its UIDs.
        missing: UIDs of its results that are not in the PACS.
    """

    study: str
    series: str
    instance: str
    missing: frozenset[str]


def stow(objects: Sequence["Dataset"], *, server: Server) -> None:
    """Store objects with STOW-RS.

    Raises:
        DeliveryError: if the server is not reached, or does not store all objects.
    """
    try:
        response = server.connect().store_instances(objects)
    except OSError as error:  # among them those of requests
        status = getattr(getattr(error, "response", None), "status_code", None)
        if status == 409 and _are_there_already(error):
            return
        raise DeliveryError(f"{server.url}: {describe_fault(error)}", reached=status in _REFUSALS) from None
    for item in response.get("FailedSOPSequence", []):
        if item.get("FailureReason") != DUPLICATE:
            uid = clean_uid(str(item.get("ReferencedSOPInstanceUID")))
            reason = f"reason 0x{item.get('FailureReason', 0):04X}"
            raise DeliveryError(f"{server.url} does not store {uid}: {reason}", reached=True)


def _are_there_already(error: Exception) -> bool:
    """Return whether a server answers that it refuses all objects because it has them."""
    try:
        items = error.response.json()["00081198"]["Value"]  # type: ignore[attr-defined]
        return bool(items) and all(item["00081197"]["Value"] == [DUPLICATE] for item in items)
    except (AttributeError, KeyError, TypeError, ValueError):
        return False


def describe_fault(error: Exception) -> str:
    """Return an error of a request and how to fix it, without its message, which may quote the answer of the server."""
    from requests import ConnectionError, Timeout
    from requests.exceptions import SSLError

    response = getattr(error, "response", None)
    if response is not None:
        fix = _FIXES.get(response.status_code)
        return f"HTTP status {response.status_code}{f'; {fix}' if fix else ''}"
    if isinstance(error, SSLError):
        return "the TLS certificate is not accepted; name that of the server's authority in REQUESTS_CA_BUNDLE"
    if isinstance(error, Timeout):
        return f"no answer within {TIMEOUT_SECONDS} s"
    return "cannot be reached" if isinstance(error, ConnectionError) else type(error).__name__


def find_images(client: "DICOMwebClient", model: str, *, since: date, modalities: Sequence[str]) -> Iterator[Image]:
    """Yield the images of a PACS that may be radiographs, without the results of this package.

    Args:
        client: see `Server.connect`.
        model: identifier of the models, see `Reading.model`.
        since: first study date.
        modalities: such as `CR` and `DX`.
    """
    series_of: dict[str, set[str]] = {}
    for modality in modalities:
        filters = {"StudyDate": f"{since:%Y%m%d}-", "Modality": modality}
        fields = ["StudyInstanceUID", "SeriesDescription"]
        for item in client.search_for_series(search_filters=filters, fields=fields, get_remaining=True):
            if not _get(item, DESCRIPTION).startswith(MANUFACTURER):
                series_of.setdefault(_get(item, STUDY), set()).add(_get(item, SERIES))
    for study, wanted in series_of.items():
        items = client.search_for_instances(study, fields=["SOPClassUID", "SeriesInstanceUID"], get_remaining=True)
        present = {_get(item, INSTANCE) for item in items}
        for item in items:
            uid = _get(item, INSTANCE)
            if _get(item, SERIES) in wanted and _get(item, SOP_CLASS) in IMAGE_CLASSES:
                results = derive_instance_uids(uid, model, OPERATING_POINT)
                yield Image(study, _get(item, SERIES), uid, frozenset(results) - present)


@dataclass
class Round:
    """Reads the new images of a PACS and stores their results; call `run` as often as you like.

    Attributes:
        server: the PACS.
        reader: trained models.
        modalities: such as `CR` and `DX`.
        dry_run: whether to name the images only.
        passed: UIDs of images without results, which are not got again: rejected ones and those that cannot be read.
    """

    server: Server
    reader: Reader
    modalities: Sequence[str]
    dry_run: bool = False
    passed: set[str] = field(default_factory=set)

    def run(self, since: date) -> Iterator[tuple[str, str]]:
        """Yield the SOP instance UID of each image and what became of it.

        Args:
            since: first study date.

        Raises:
            PneumoscopeError: if the server is not reached or refuses.
        """
        try:
            client = self.server.connect()
            for image in find_images(client, self.reader.models.id, since=since, modalities=self.modalities):
                if image.instance in self.passed:
                    continue
                yield clean_uid(image.instance), self._process(client, image)
        except (OSError, ValueError) as error:  # those of requests; answers that are no DICOM JSON
            raise PneumoscopeError(f"{self.server.url}: {describe_fault(error)}") from None

    def _process(self, client: "DICOMwebClient", image: Image) -> str:
        if not image.missing:
            return STORED
        if self.dry_run:
            return PLANNED
        try:
            with quiet_pydicom():
                content = _retrieve(client, image)
                _, objects = make_results(self.reader, content, send_rejected=False)
                stow([one for one in objects if one.SOPInstanceUID in image.missing], server=self.server)
        except ImageError as error:
            self.passed.add(image.instance)
            return OWN if str(error) == OWN_OBJECT else f"{FAILED}: {error}"
        except DeliveryError as error:
            return f"{FAILED}: {error}"
        except Exception as error:  # one image must not end the round; the message may quote patient data
            status = getattr(getattr(error, "response", None), "status_code", None)
            if isinstance(error, OSError) and status in (None, *_DENIED):
                raise
            self.passed.update([] if status else [image.instance])
            return f"{FAILED}: {describe_fault(error)}"
        if not objects:
            self.passed.add(image.instance)
        return SENT if objects else NOT_SENT


def _retrieve(client: "DICOMwebClient", image: Image) -> bytes:
    """Return an image as DICOM file, in the transfer syntax in which the server keeps it."""
    stream = BytesIO()
    try:
        dataset = client.retrieve_instance(image.study, image.series, image.instance)
        dataset.save_as(stream)
    except OSError:
        raise
    except Exception as error:  # parsers raise any type on damaged files
        raise ImageError(f"damaged DICOM file ({type(error).__name__})") from None
    return stream.getvalue()


def _get(item: dict[str, Any], tag: str) -> str:
    """Return the first value of an element in DICOM JSON; an empty text if there is none."""
    values = item.get(tag, {}).get("Value") or [""]
    return str(values[0])


def count_outcomes(outcomes: Sequence[str]) -> str:
    """Return how often each outcome occurred.

    Example:
        >>> count_outcomes(["sent", "failed: damaged DICOM file", "sent"])
        '3 images: 2 sent, 1 failed'
    """
    counts = Counter(outcome.partition(":")[0] for outcome in outcomes)
    parts = ", ".join(f"{count} {name}" for name, count in counts.most_common())
    return f"{len(outcomes)} image{'s' * (len(outcomes) != 1)}" + (f": {parts}" if parts else "")
