"""Delivery of results to a DICOM listener on loopback, which may be down or refuse."""

import threading
from functools import partial
from typing import Any

import pytest
from pydicom import Dataset
from pynetdicom.sop_class import (
    ComprehensiveSRStorage,
    CTImageStorage,
)

from pneumoscope.pacs import delivery
from pneumoscope.pacs.delivery import DeliveryError, Peer, deliver, send_by_dimse
from pneumoscope.pacs.spool import Spool

# pynetdicom leaves the sockets of failed connections to the garbage collector.
pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed <s:ResourceWarning"),
    pytest.mark.usefixtures("collect_sockets"),
]


def test_results_are_delivered_once_the_destination_is_up(
    spool: Spool,
    monkeypatch: pytest.MonkeyPatch,
    destination: Any,
    wait_for: Any,
    make_object: Any,
    make_capture: Any,
    put_results: Any,
    working: Any,
) -> None:
    monkeypatch.setattr(delivery, "MIN_DELAY", 0.05)
    put_results(spool, make_capture(), make_object(ComprehensiveSRStorage))
    send = partial(send_by_dimse, peer=Peer("PACS", "127.0.0.1", destination.port), ae_title="PNEUMOSCOPE")
    with working(partial(deliver, spool, send)):
        problem = wait_for(lambda: spool.get_status().problem)
        assert problem == f"PACS at 127.0.0.1:{destination.port} cannot be reached"
        with destination.running():
            wait_for(lambda: spool.get_status().done)
    assert sorted(destination.received.values()) == [1, 1]
    status = spool.get_status()
    assert (status.unsent, status.problem, status.last_done[0].outcome) == (0, "", "sent")


def test_waiting_grows_to_a_minute(spool: Spool, make_object: Any, put_results: Any) -> None:
    class Stop(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            delays.append(timeout)
            if len(delays) == 7:
                self.set()
            return True

    def refuse(objects: object) -> None:
        raise DeliveryError("down")

    delays: list[float | None] = []
    put_results(spool, make_object())
    deliver(spool, refuse, Stop(), threading.Event())
    assert delays == [2, 4, 8, 16, 32, 60, 60]


def test_refused_results_do_not_keep_the_others(
    spool: Spool, monkeypatch: pytest.MonkeyPatch, wait_for: Any, make_object: Any, put_results: Any, working: Any
) -> None:
    monkeypatch.setattr(delivery, "MIN_DELAY", 0.05)
    refused, damaged, wanted = make_object(), make_object(), make_object()
    sent = []

    def send(objects: list[Dataset]) -> None:
        if objects[0].SOPInstanceUID == refused.SOPInstanceUID:
            raise DeliveryError("refused", reached=True)
        if objects[0].SOPInstanceUID == damaged.SOPInstanceUID:
            raise ValueError("Doe^Jane")
        sent.append(objects[0].SOPInstanceUID)

    for one in (refused, damaged, wanted):
        put_results(spool, one)
    with working(partial(deliver, spool, send)):
        wait_for(lambda: spool.get_status().done)
    assert sent == [wanted.SOPInstanceUID] and spool.get_status().unsent == 2


def test_new_results_do_not_wait_for_refused_ones(
    spool: Spool, monkeypatch: pytest.MonkeyPatch, wait_for: Any, make_object: Any, put_results: Any
) -> None:
    monkeypatch.setattr(delivery, "MIN_DELAY", 60)
    refused, new = make_object(), make_object()

    def send(objects: list[Dataset]) -> None:
        if objects[0].SOPInstanceUID == refused.SOPInstanceUID:
            raise DeliveryError("refused", reached=True)

    put_results(spool, refused)
    stop, wake = threading.Event(), threading.Event()
    thread = threading.Thread(target=deliver, args=(spool, send, stop, wake))
    thread.start()
    try:
        wait_for(lambda: spool.get_status().problem)
        put_results(spool, new)
        wake.set()
        wait_for(lambda: spool.get_status().done)
    finally:
        stop.set()
        wake.set()
        thread.join()
    assert spool.get_status().unsent == 1


def test_a_failure_status_is_no_delivery(destination: Any, make_object: Any) -> None:
    send = partial(send_by_dimse, peer=Peer("PACS", "127.0.0.1", destination.port), ae_title="PNEUMOSCOPE")
    report = make_object(ComprehensiveSRStorage)
    with destination.running(status=0xA900), pytest.raises(DeliveryError, match="0xA900") as caught:
        send([report])
    assert caught.value.reached
    with pytest.raises(DeliveryError, match="PACS at no-such-host"):
        send_by_dimse([report], peer=Peer("PACS", "no-such-host.invalid", 104), ae_title="PNEUMOSCOPE")
    with destination.running(status=0x0111):
        send([report])  # is there already
    with destination.running(), pytest.raises(DeliveryError, match="does not accept the SOP class"):
        send([report, make_object(CTImageStorage)])
    with destination.running(), pytest.raises(DeliveryError, match="accepts none of the SOP classes"):
        send([make_object(CTImageStorage)])


def test_a_capture_is_sent_uncompressed_where_its_syntax_is_not_accepted(destination: Any, make_capture: Any) -> None:
    capture = make_capture()
    pixels = capture.pixel_array
    with destination.running("1.2.840.10008.1.2"):
        send_by_dimse([capture], peer=Peer("PACS", "127.0.0.1", destination.port), ae_title="PNEUMOSCOPE")
    received = destination.objects[capture.SOPInstanceUID]
    assert received.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2"
    assert (received.pixel_array == pixels).all()
