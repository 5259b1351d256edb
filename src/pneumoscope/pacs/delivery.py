"""Delivery of results: to a DICOM listener, again and again until it takes them."""

import ssl
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pneumoscope.data.dicom import quiet_pydicom
from pneumoscope.errors import PneumoscopeError
from pneumoscope.pacs.results import SENT
from pneumoscope.pacs.spool import Spool, get_uid
from pneumoscope.progress import log

if TYPE_CHECKING:
    from pydicom import Dataset
    from pynetdicom.association import Association

MIN_DELAY, MAX_DELAY = 2.0, 60.0  # seconds before a further attempt
CONNECTION_TIMEOUT, ACSE_TIMEOUT, DIMSE_TIMEOUT, NETWORK_TIMEOUT = 10, 30, 30, 60
DUPLICATE = 0x0111  # SOP instance is there already, PS3.7 C.5.7

UNCOMPRESSED = ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2")

Send = Callable[[Sequence["Dataset"]], None]


class DeliveryError(PneumoscopeError):
    """The destination did not take the results.

    Attributes:
        reached: whether it refused these results; otherwise it takes none now.
    """

    def __init__(self, message: str, *, reached: bool = False) -> None:
        super().__init__(message)
        self.reached = reached


@dataclass(frozen=True)
class Peer:
    """Another DICOM application: its AE title, host and port."""

    ae_title: str
    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> "Peer":
        """Return the peer that a text names.

        Raises:
            PneumoscopeError: if the text is of another form.

        Example:
            >>> Peer.parse("ORTHANC@127.0.0.1:4242")
            Peer(ae_title='ORTHANC', host='127.0.0.1', port=4242)
        """
        ae_title, _, address = text.rpartition("@")
        host, _, port = address.rpartition(":")
        if not (host and port.isdecimal() and 0 < int(port) < 1 << 16):
            raise PneumoscopeError(f"{text}: expected AET@HOST:PORT, such as ORTHANC@127.0.0.1:4242")
        return cls(check_ae_title(ae_title), host.strip("[]"), int(port))


def check_ae_title(text: str) -> str:
    """Return an AE title if it is valid (PS3.5 6.2).

    Raises:
        PneumoscopeError: if it is not.
    """
    if not (text.strip() and len(text) <= 16 and text.isascii() and text.isprintable() and "\\" not in text):
        raise PneumoscopeError(f"{text!r} is no AE title; expected 1 to 16 ASCII characters without a backslash")
    return text.strip()


def send_by_dimse(
    objects: Sequence["Dataset"], *, peer: Peer, ae_title: str, tls: ssl.SSLContext | None = None
) -> None:
    """Send objects with C-STORE in one association.

    An object whose transfer syntax the peer does not accept is sent uncompressed.

    Args:
        objects: with file meta information.
        peer: the destination.
        ae_title: the calling AE title.
        tls: settings of TLS; None sends without encryption.

    Raises:
        DeliveryError: if the peer is not reached, or does not store all objects.
    """
    from pynetdicom import AE, build_context

    entity = AE(ae_title)
    entity.connection_timeout, entity.acse_timeout = CONNECTION_TIMEOUT, ACSE_TIMEOUT
    entity.dimse_timeout, entity.network_timeout = DIMSE_TIMEOUT, NETWORK_TIMEOUT
    proposals = {(str(one.SOPClassUID), one.file_meta.TransferSyntaxUID) for one in objects}
    contexts = [build_context(sop_class, syntax) for sop_class, syntax in sorted(proposals)]
    contexts += [build_context(sop_class, list(UNCOMPRESSED)) for sop_class in sorted({one for one, _ in proposals})]
    options: dict[str, Any] = {"tls_args": (tls, peer.host)} if tls else {}
    name = f"{peer.ae_title} at {peer.host}:{peer.port}"
    try:
        association = entity.associate(peer.host, peer.port, contexts, peer.ae_title, **options)
    except OSError as error:  # such as an unknown host
        raise DeliveryError(f"{name}: {error.strerror or error}") from None
    if not association.is_established:
        cause = "rejects the association" if association.is_rejected else "cannot be reached"
        if association.rejected_contexts:
            cause = "accepts none of the SOP classes"
        raise DeliveryError(f"{name} {cause}")
    try:
        for dataset in objects:
            _store(association, dataset)
    finally:
        if association.is_established:
            association.release()


def _store(association: "Association", dataset: "Dataset") -> None:
    name = f"{association.acceptor.ae_title} does not store {dataset.SOPInstanceUID}"
    accepted = {
        context.transfer_syntax[0]
        for context in association.accepted_contexts
        if context.abstract_syntax == dataset.SOPClassUID
    }
    if not accepted:
        raise DeliveryError(f"{name}: it does not accept the SOP class {dataset.SOPClassUID.name}", reached=True)
    if dataset.file_meta.TransferSyntaxUID not in accepted and dataset.file_meta.TransferSyntaxUID.is_compressed:
        dataset.decompress(generate_instance_uid=False)
    try:
        status = association.send_c_store(dataset).get("Status")
    except (ValueError, RuntimeError) as error:  # their messages may quote values
        raise DeliveryError(f"{name} ({type(error).__name__})", reached=association.is_established) from None
    if status is None:
        raise DeliveryError(f"{name}: the connection was lost")
    # Warnings are 0x0001 and 0xBxxx (PS3.7 C.4).
    if status not in (0x0000, 0x0001, DUPLICATE) and status >> 12 != 0xB:
        raise DeliveryError(f"{name}: status 0x{status:04X}", reached=True)


def deliver(spool: Spool, send: Send, stop: threading.Event, wake: threading.Event) -> None:
    """Send the results in a spool until `stop` is set; a failed attempt is repeated after 2 s, at most every 60 s.

    Results that the destination refuses do not keep it from the others.

    Args:
        spool: an open spool.
        send: sends the objects of one image, or raises `DeliveryError`.
        stop: ends the work after the image that is being sent; set `wake` after it.
        wake: set when there are new results.
    """
    delay = MIN_DELAY
    while not stop.is_set():
        wake.clear()
        if stop.is_set():  # it may have been set before the event was cleared
            break
        try:
            problem = _deliver_all(spool, send, stop)
            spool.note_problem(str(problem or ""))
        except OSError as error:  # such as a full disk
            problem = DeliveryError(f"the spool cannot be written: {error.strerror or error}")
        if not problem:
            delay = MIN_DELAY
            wake.wait(MAX_DELAY)
            continue
        log.warning("%s; next attempt in %.0f s", problem, delay)
        # A destination that refuses some results may take new ones at once.
        (wake if problem.reached else stop).wait(delay)
        delay = min(2 * delay, MAX_DELAY)


def _deliver_all(spool: Spool, send: Send, stop: threading.Event) -> DeliveryError | None:
    """Send all results once, and return the first problem, or that for which no further results were sent."""
    from pydicom import dcmread

    problem = None
    for folder in spool.list_unsent():
        if stop.is_set():
            break
        try:
            with quiet_pydicom():
                send([dcmread(path) for path in sorted(folder.iterdir())])
        except DeliveryError as error:
            problem = error if problem is None or not error.reached else problem
            if not error.reached:
                break
        except Exception as error:  # must not end the program; the message may quote patient data
            problem = problem or DeliveryError(
                f"{get_uid(folder)}: unexpected error ({type(error).__name__})", reached=True
            )
        else:
            spool.finish(folder, SENT)
            log.info("%s: %s", get_uid(folder), SENT)
    return problem
