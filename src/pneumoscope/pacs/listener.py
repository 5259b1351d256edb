"""The DICOM listener: takes images, predicts for them, and has the results delivered."""

import logging
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pneumoscope.data.dicom import IMAGE_CLASSES, OWN_OBJECT, quiet_pydicom
from pneumoscope.errors import ImageError, PneumoscopeError
from pneumoscope.inference.reader import Reader
from pneumoscope.pacs.delivery import MIN_DELAY, Send, check_ae_title, deliver
from pneumoscope.pacs.results import NOT_SENT, OWN, make_results
from pneumoscope.pacs.spool import Spool, SpoolFullError, clean_uid, get_uid
from pneumoscope.progress import log

if TYPE_CHECKING:
    from pynetdicom.events import Event
    from pynetdicom.transport import ThreadedAssociationServer

SUCCESS, OUT_OF_RESOURCES = 0x0000, 0xA700
MAX_ASSOCIATIONS = 10
ACSE_TIMEOUT, DIMSE_TIMEOUT, NETWORK_TIMEOUT = 30, 30, 60  # seconds
CLEANING_SECONDS = 3600
MAX_ATTEMPTS = 3
ENDED = f"the program ended {MAX_ATTEMPTS} times while it read the image, as by a fault of a decoder"


@dataclass(frozen=True)
class Caller:
    """An application that may send images: its AE title, and its IP address if that is checked, too."""

    ae_title: str
    address: str = ""

    @classmethod
    def parse(cls, text: str) -> "Caller":
        """Return the caller that a text names.

        Raises:
            PneumoscopeError: if the text is of another form.

        Example:
            >>> Caller.parse("ORTHANC"), Caller.parse("CT1@10.0.0.7")
            (Caller(ae_title='ORTHANC', address=''), Caller(ae_title='CT1', address='10.0.0.7'))
        """
        from ipaddress import ip_address

        ae_title, _, address = text.partition("@")
        try:
            return cls(check_ae_title(ae_title), str(ip_address(address)) if address else "")
        except ValueError:
            raise PneumoscopeError(f"{text}: expected AET or AET@IP, such as ORTHANC@127.0.0.1") from None


@dataclass(frozen=True)
class ListenSettings:
    """How to listen.

    Attributes:
        callers: who may send images.
        ae_title: of the listener; calls to other titles are rejected.
        address, port: to listen on; port 0 is any free port.
        tls: settings of TLS, None listens without encryption.
        keep_seconds: how long finished images and those that cannot be read are kept.
        send_rejected: whether to send the results of rejected images, too.
    """

    callers: tuple[Caller, ...]
    ae_title: str = "PNEUMOSCOPE"
    address: str = "127.0.0.1"
    port: int = 11112
    tls: ssl.SSLContext | None = None
    keep_seconds: float = 7 * 86400.0
    send_rejected: bool = False


def listen(
    spool: Spool,
    reader: Reader,
    send: Send,
    settings: ListenSettings,
    *,
    stop: threading.Event,
    show: Callable[[str], None] | None = None,
) -> None:
    """Take images, predict and deliver until `stop` is set. The image in work is finished.

    Args:
        spool: the queue.
        reader: trained models.
        send: sends the results of one image, see `deliver`.
        settings: how to listen.
        stop: ends the work.
        show: called each second with the state of the queue.

    Raises:
        PneumoscopeError: if the spool is in use.
        OSError: if the port is taken.
    """
    arrived, made = threading.Event(), threading.Event()
    with spool.open(), ThreadPoolExecutor(2) as pool, start_server(spool, settings, arrived) as server:
        host, port = server.server_address[:2]
        log.info("listening as %s on %s:%d", settings.ae_title, host, port)
        try:
            workers = [
                pool.submit(predict_waiting, spool, reader, stop, arrived, made, send_rejected=settings.send_rejected),
                pool.submit(deliver, spool, send, stop, made),
            ]
            seconds = 0
            while not stop.wait(1):
                if seconds % CLEANING_SECONDS == 0:
                    spool.remove_old(settings.keep_seconds)
                seconds += 1
                if show:
                    show(str(spool.get_status(num_last=0)))
                for worker in workers:
                    if worker.done():
                        worker.result()  # raises what ended it
        finally:
            for event in (stop, arrived, made):
                event.set()


@contextmanager
def start_server(
    spool: Spool, settings: ListenSettings, arrived: threading.Event
) -> Iterator["ThreadedAssociationServer"]:
    """Start the server, which adds images to the spool. At the end, open associations are aborted.

    Args:
        spool: an open spool.
        settings: how to listen.
        arrived: is set for each new image.
    """
    from pynetdicom import AE, _config, evt
    from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]  # set at run time

    # Its messages may quote patient data. An exception in a handler is answered with a failure status.
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL + 1)
    # A peer may fail a whole study if one of its objects is refused, so any storage class is accepted.
    _config.UNRESTRICTED_STORAGE_SERVICE = True
    entity = AE(settings.ae_title)
    entity.require_called_aet = True
    entity.maximum_associations = MAX_ASSOCIATIONS
    entity.acse_timeout, entity.dimse_timeout, entity.network_timeout = ACSE_TIMEOUT, DIMSE_TIMEOUT, NETWORK_TIMEOUT
    entity.add_supported_context(Verification)
    handlers = [
        (evt.EVT_REQUESTED, _check_caller, [settings.callers]),
        (evt.EVT_C_STORE, _store, [spool, arrived]),
    ]
    address = (settings.address, settings.port)
    server = entity.start_server(address, block=False, evt_handlers=handlers, ssl_context=settings.tls)  # type: ignore[arg-type]
    assert server is not None  # as with block=True only
    try:
        yield server
    finally:
        for association in server.active_associations:
            if association.is_established:  # others cannot be aborted, and end by their timeout
                association.abort()
        server.shutdown()


def _check_caller(event: "Event", callers: Iterable[Caller]) -> None:
    association = event.assoc
    request, address = association.requestor.primitive, association.requestor.address
    ae_title = request.calling_ae_title if request else ""
    if not any(caller.ae_title == ae_title and caller.address in ("", address) for caller in callers):
        log.warning("rejected: caller %s at %s; allow it with --from", ae_title, address)
        association.acse.send_reject(1, 1, 3)  # calling AE title not recognized, PS3.8 9.3.4
        association.kill()


def _store(event: "Event", spool: Spool, arrived: threading.Event) -> int:
    """Put an image on the disk and return the status of C-STORE. Nothing is decoded."""
    request: Any = event.request
    uid = clean_uid(str(request.AffectedSOPInstanceUID))
    if request.AffectedSOPClassUID not in IMAGE_CLASSES:
        log.info("%s: dropped, SOP class %s is no radiograph", uid, clean_uid(str(request.AffectedSOPClassUID)))
        return SUCCESS
    try:
        with quiet_pydicom():
            spool.add(uid, event.encoded_dataset())
    except (SpoolFullError, OSError) as error:
        log.error("%s: not taken: %s", uid, error)
        return OUT_OF_RESOURCES
    arrived.set()
    return SUCCESS


def predict_waiting(
    spool: Spool,
    reader: Reader,
    stop: threading.Event,
    arrived: threading.Event,
    made: threading.Event,
    *,
    send_rejected: bool,
) -> None:
    """Predict for the images of a spool until `stop` is set.

    Args:
        spool: an open spool.
        reader: trained models.
        stop: ends the work after the image in work.
        arrived: is set for each new image.
        made: is set for new results.
        send_rejected: whether to make results of rejected images, too.
    """
    while not stop.is_set():
        arrived.clear()
        if (image := spool.find_next()) is None:
            arrived.wait(1)  # `stop` may have been set before the event was cleared
            continue
        try:
            _predict_one(spool, reader, image, send_rejected=send_rejected)
            made.set()
        except OSError as error:  # such as a full disk; the image stays
            spool.forget_attempts()
            log.error("%s: %s; next attempt in %.0f s", get_uid(image), error.strerror or error, MIN_DELAY)
            stop.wait(MIN_DELAY)


def _predict_one(spool: Spool, reader: Reader, image: Path, *, send_rejected: bool) -> None:
    try:
        if spool.count_attempt(image) > MAX_ATTEMPTS:
            raise ImageError(ENDED)
        with quiet_pydicom():
            _, objects = make_results(reader, image, send_rejected=send_rejected)
        if objects:
            spool.put_results(image, objects)
        else:
            spool.finish(image, NOT_SENT)
            log.info("%s: %s", get_uid(image), NOT_SENT)
        return
    except ImageError as error:
        reason = str(error)
    except Exception as error:  # one image must not end the program; the message may quote patient data
        if isinstance(error, OSError) and error.errno is not None:  # of the system, not of a decoder
            raise
        reason = f"unexpected error ({type(error).__name__})"
    if reason == OWN_OBJECT:
        spool.finish(image, OWN)
        log.info("%s: %s", get_uid(image), OWN)
    else:
        spool.set_aside(image, reason)
        log.warning("%s: cannot be read: %s", get_uid(image), reason)
