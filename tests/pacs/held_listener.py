"""A listener that predicts once its folder holds a file `go`: run by `test_listener.py` in a process of its own."""

import logging
import signal
import sys
import threading
import time
from functools import partial
from pathlib import Path

from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from pynetdicom.sop_class import ComprehensiveSRStorage

from pneumoscope.pacs import listener
from pneumoscope.pacs.delivery import Peer, send_by_dimse
from pneumoscope.pacs.listener import Caller, ListenSettings, listen
from pneumoscope.pacs.spool import Spool, get_uid
from pneumoscope.progress import log


def make_report(reader: object, image: Path, *, send_rejected: bool) -> tuple[None, list[Dataset]]:
    """Stand in for the prediction: a report whose UID derives from that of the image."""
    while not (image.parents[2] / "go").exists():
        time.sleep(0.05)
    report = Dataset()
    report.file_meta = FileMetaDataset()
    report.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    report.SOPClassUID, report.SOPInstanceUID = ComprehensiveSRStorage, generate_uid(entropy_srcs=[get_uid(image)])
    return None, [report]


if __name__ == "__main__":
    folder, port, port_of_destination = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    listener.make_results = make_report
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    log.setLevel(logging.INFO)
    log.addHandler(logging.StreamHandler())
    send = partial(send_by_dimse, peer=Peer("PACS", "127.0.0.1", port_of_destination), ae_title="PNEUMOSCOPE")
    listen(Spool(folder / "spool"), None, send, ListenSettings((Caller("SCU"),), port=port), stop=stop)
