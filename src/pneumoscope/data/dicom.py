"""DICOM radiographs: detection by content, loading and header checks.

Messages never quote header values, because headers contain patient data.
"""

import io
import logging
import re
import threading
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from pneumoscope.data.dicom_frame import DEFLATED, NATIVE_SYNTAXES, check_pixels, check_syntax, decode_frame
from pneumoscope.data.dicom_gray import apply_modality, present_gray
from pneumoscope.data.identity import Identity, describe_identity
from pneumoscope.data.remarks import Remarks
from pneumoscope.data.source import MAX_BYTES, ImageSource, open_source, read_all
from pneumoscope.errors import ImageError

if TYPE_CHECKING:
    from pydicom import Dataset

MANUFACTURER = "Pneumoscope"  # of the secondary captures and structured reports that this package writes

OWN_OBJECT = "a heatmap or report that Pneumoscope wrote; expected the radiograph itself"
PIXEL_TAGS = (0x7FE00008, 0x7FE00009, 0x7FE00010)
MAX_DISORDER = 1000
# Storage SOP classes of PS3.4 B.5 that hold plain radiographs.
IMAGE_CLASSES = {
    "1.2.840.10008.5.1.4.1.1.1",  # computed radiography
    "1.2.840.10008.5.1.4.1.1.1.1",  # digital X-ray, for presentation
    "1.2.840.10008.5.1.4.1.1.1.1.1",  # digital X-ray, for processing
    "1.2.840.10008.5.1.4.1.1.7",  # secondary capture
    "1.2.840.10008.5.1.4.1.1.7.2",  # secondary capture of several frames, gray bytes
    "1.2.840.10008.5.1.4.1.1.7.3",  # gray words
    "1.2.840.10008.5.1.4.1.1.7.4",  # color
}
_MODALITIES = {"CR", "DX", "DR", "RG", "XR", "OT", "SC"}
_OTHER_MODALITIES = {"CT", "ES", "IO", "MG", "MR", "NM", "PT", "PX", "RF", "US", "XA"}
# Words, and defined terms of View Position (PS3.3 C.8.1.1.1 and C.8.11.3): left and right lateral, decubitus, oblique.
_LATERAL_VIEWS = re.compile(
    r"(?<![a-z])([lr]?lat(eral|eralis|[eé]ral|erale)?|oblique|obl|sagittal|axial|decubitus|[lr]l[do]?)(?![a-z])",
    re.IGNORECASE,
)
_LATERAL_VIEW_CODES = {
    *("399067008", "399173006", "399198007", "30730003"),  # lateral, left, right; sagittal: SNOMED CT
    *("399182000", "399184004", "399236003", "399160007"),  # oblique, left, right, frontal
    *("399135007", "399356000", "399006002", "399038007", "399312000", "399059000"),  # anterior, posterior oblique
    *("R-102CD", "R-10236", "R-10232", "G-A145"),  # the same by SNOMED RT
    *("R-102C1", "R-10238", "R-10234", "R-10204", "R-10220", "R-40985", "R-10212", "R-10210", "R-10208", "R-10216"),
}
# Chest and lung in languages of Europe, with usual abbreviations.
_CHEST = re.compile(
    r"ch(e)?st|th?[oó]ra[xckç]|torace|\bthx|\bcxr|lung|pulm|poumon|polmon|p[eé]cho|peito|poitrine|petto|brust|borst|"
    r"bryst|klatk|hrud|mellkas|grudn|^$|^unknown$",
    re.IGNORECASE,
)
_CHEST_CODES = {"816094009", "51185008", "43799004", "39607008", "T-D3000", "T-D3200", "T-28000"}
_BODY_PARTS = {
    *("ABDOMEN", "ANKLE", "ARM", "BREAST", "CALCANEUS", "CLAVICLE", "ELBOW", "EXTREMITY", "FEMUR", "FINGER", "FOOT"),
    *("FOREARM", "HAND", "HEAD", "HIP", "HUMERUS", "JAW", "KNEE", "LEG", "NECK", "PELVIS", "SHOULDER", "SKULL"),
    *("SPINE", "CSPINE", "TSPINE", "LSPINE", "STERNUM", "TOE", "WRIST"),
}
# First element of a data set without a preamble: any of group 2, or a common one of group 8.
_BARE_START = re.compile(
    rb"\x02\x00\x00\x00UL\x04\x00|\x08\x00[\x00\x01\x05\x08\x12\x13\x16\x18]\x00(?:[A-Z]{2}|[\x02-\x40]\x00\x00\x00)",
    re.DOTALL,
)


def is_dicom(source: ImageSource) -> bool:
    """Return whether the content is DICOM, with a preamble (PS3.10 7.1) or without.

    Raises:
        ImageError: if the source cannot be opened.
    """
    with open_source(source) as stream:
        head = stream.read(132)
    return head[128:] == b"DICM" or _BARE_START.match(head) is not None


def load_dicom(stream: BinaryIO, remarks: Remarks) -> np.ndarray:
    """Load a DICOM radiograph as gray levels; see `present_gray`.

    Args:
        stream: seekable.
        remarks: gets a warning for what is ignored or guessed.

    Returns:
        `(H, W)` float32 in [0, 1] at full resolution, 0 = black, bone bright.

    Raises:
        ImageError: if the file is damaged, was written by this package, has an unsupported transfer syntax or SOP
            class, or fails `check_pixels`.
    """
    with quiet_pydicom(), _report_damage():
        data = read_all(stream)
        dataset = _parse(data, pixels=True)
        _check_class(dataset)
        check_pixels(dataset)
        with np.errstate(all="ignore"):
            return present_gray(decode_frame(dataset, data, remarks), dataset, remarks)


def load_values(source: ImageSource) -> tuple[np.ndarray, np.ndarray | None, "Dataset"]:
    """Return the stored values of a radiograph that `load_dicom` accepts, its values in units, and its header.

    Returns:
        Stored values, see `decode_frame`; `(H, W)` float32 after the modality LUT, in the unit that Rescale Type names,
        None for color; the header.

    Raises:
        ImageError: see `load_dicom`.
    """
    with open_source(source) as stream, quiet_pydicom(), _report_damage():
        data = read_all(stream)
        dataset = _parse(data, pixels=True)
        _check_class(dataset)
        check_pixels(dataset)
        stored = decode_frame(dataset, data, Remarks())
        return stored, None if stored.ndim == 3 else apply_modality(stored, dataset, Remarks())[0], dataset


def read_header(source: ImageSource) -> "Dataset":
    """Return the header of a DICOM file, without pixel data.

    Raises:
        ImageError: if the content is not DICOM, or is damaged.
    """
    if not is_dicom(source):
        raise ImageError("not a DICOM file")
    with open_source(source) as stream, quiet_pydicom(), _report_damage():
        return _parse(read_all(stream), pixels=False)


def describe_header(source: ImageSource, remarks: Remarks) -> Identity:
    """Return the identity that a DICOM header states, and note why it describes no frontal chest radiograph.

    Missing attributes are accepted, and unknown terms are reasons to flag the image. Nothing is noted if the file is
    not DICOM. Reasons never contain patient data.

    Args:
        source: the file.
        remarks: gets one sentence per reason.

    Raises:
        ImageError: if the source cannot be opened, or is a damaged DICOM file.
    """
    if not is_dicom(source):
        return Identity()
    header = read_header(source)
    with quiet_pydicom(), _report_damage():
        checks = (_check_modality, _check_view, _check_body_part, _check_intent)
        remarks.objections += [reason for check in checks if (reason := check(header))]
        part = _text(header, "BodyPartExamined")
        if not _CHEST.search(part) and part not in _BODY_PARTS:
            remarks.cautions.append("The DICOM body part is an unknown term; expected the chest.")
        return describe_identity(header)


def _parse(data: bytes, *, pixels: bool) -> "Dataset":
    from pydicom.dataset import FileMetaDataset
    from pydicom.filereader import read_dataset, read_partial, read_preamble
    from pydicom.uid import UID

    start = io.BytesIO(data)
    read_preamble(start, force=True)
    meta = read_dataset(start, False, True, stop_when=lambda tag, vr, length: tag.group != 2)
    if syntax := meta.get("TransferSyntaxUID"):
        check_syntax(syntax)
    if syntax == DEFLATED:
        meta.TransferSyntaxUID = UID(NATIVE_SYNTAXES[1])
        dataset = read_dataset(io.BytesIO(_inflate(data[start.tell() :])), False, True, stop_when=_watch_order(pixels))
        dataset.file_meta = FileMetaDataset(meta)
        dataset.set_original_encoding(False, True)
        return dataset
    dataset = read_partial(io.BytesIO(data), stop_when=_watch_order(pixels), force=True)
    if not syntax:
        implicit, little = dataset.original_encoding
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = UID(NATIVE_SYNTAXES[0 if implicit else 1 if little else 2])
    return dataset


def _watch_order(pixels: bool) -> Callable[[Any, str | None, int], bool]:
    """Return a condition of pydicom's parser to stop before the pixels, and to give up on many elements out of order.

    Elements ascend (PS3.5 7.1), but millions of empty ones may follow each other in a damaged file.
    """
    last = disorder = 0

    def stop(tag: Any, vr: str | None, length: int) -> bool:
        nonlocal last, disorder
        disorder += int(tag) <= last
        last = int(tag)
        if disorder > MAX_DISORDER:
            raise ImageError("damaged DICOM file: its elements are not in ascending order")
        return not pixels and int(tag) in PIXEL_TAGS

    return stop


def _inflate(data: bytes) -> bytes:
    """Return the data set of a deflated file. pydicom would inflate it without a limit."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    inflated = inflater.decompress(data, MAX_BYTES)
    if inflater.unconsumed_tail:
        raise ImageError(f"more than {MAX_BYTES >> 20} MiB after decompression; expected less")
    return inflated


def _check_class(header: "Dataset") -> None:
    from pydicom.uid import UID

    keywords = ("Manufacturer", "ManufacturerModelName", "SeriesDescription")
    if any(_text(header, keyword).startswith(MANUFACTURER.upper()) for keyword in keywords):
        raise ImageError(OWN_OBJECT)
    uid = UID(header.get("SOPClassUID") or "")
    if uid and uid not in IMAGE_CLASSES:
        name = uid.name if uid.type == "SOP Class" else "unknown"
        raise ImageError(f"DICOM SOP class is {name}; expected a CR, DX or secondary capture image")


def _check_modality(header: "Dataset") -> str:
    modality = _text(header, "Modality")
    if not modality or modality in _MODALITIES:
        return ""
    name = modality if modality in _OTHER_MODALITIES else "another modality"
    return f"The DICOM modality is {name}; expected a plain X-ray (CR or DX)."


def _check_view(header: "Dataset") -> str:
    """Check View Position, View Code Sequence (PS3.3 C.8.11.5.1.2) and Patient Orientation (C.7.6.1.1.1)."""
    value, meaning = _first_code(header, "ViewCodeSequence")
    lateral = _LATERAL_VIEWS.search(_text(header, "ViewPosition")) or _LATERAL_VIEWS.search(meaning)
    if lateral or value in _LATERAL_VIEW_CODES:
        return "The DICOM view position is lateral or oblique; expected a frontal view (PA or AP)."
    orientation: Any = header.get("PatientOrientation")
    if orientation and not isinstance(orientation, str) and str(orientation[0])[:1] in ("A", "P"):
        return "The DICOM patient orientation is lateral; expected a frontal view (PA or AP)."
    return ""


def _check_body_part(header: "Dataset") -> str:
    """Check Body Part Examined (PS3.16 annex L) and Anatomic Region Sequence (PS3.3 10.5)."""
    part = _text(header, "BodyPartExamined")
    if part in _BODY_PARTS:
        return f"The DICOM body part is {part.lower()}; expected the chest."
    value, meaning = _first_code(header, "AnatomicRegionSequence")
    if value in _CHEST_CODES or _CHEST.search(meaning):
        return ""
    return "The DICOM anatomic region is not the chest; expected the chest."


def _check_intent(header: "Dataset") -> str:
    """Check Presentation Intent Type (PS3.3 C.8.11.1)."""
    raw = header.get("SOPClassUID") == "1.2.840.10008.5.1.4.1.1.1.1.1"
    if raw or _text(header, "PresentationIntentType") == "FOR PROCESSING":
        return "The DICOM presentation intent is FOR PROCESSING; expected FOR PRESENTATION."
    return ""


def _text(header: "Dataset", keyword: str) -> str:
    return str(header.get(keyword) or "").strip().upper()


def _first_code(header: "Dataset", keyword: str) -> tuple[str, str]:
    """Return value and meaning of the first code of a sequence; empty strings if there is none."""
    sequence = header.get(keyword)
    if not sequence:
        return "", ""
    return str(sequence[0].get("CodeValue") or ""), str(sequence[0].get("CodeMeaning") or "")


@contextmanager
def _report_damage() -> Iterator[None]:
    try:
        yield
    except ImageError:
        raise
    except Exception as error:  # parsers raise any type on damaged files, and their messages may quote patient data
        raise ImageError(f"damaged DICOM file ({type(error).__name__})") from None


class _QuietPydicom:
    """Suppress warnings and logs of pydicom and highdicom, because they can quote patient data.

    Also suppresses user and deprecation warnings of other packages inside the context. `warnings.catch_warnings` must
    exit in the reverse order of entry, which threads do not guarantee: the first thread enters it, the last exits it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._num_inside = 0
        self._restore = ExitStack()

    def __enter__(self) -> None:
        import pydicom  # noqa: F401  sets its log level on import

        with self._lock:
            self._num_inside += 1
            if self._num_inside == 1:
                self._restore.enter_context(warnings.catch_warnings())
                for category in (UserWarning, DeprecationWarning):
                    warnings.simplefilter("ignore", category)
                for logger in map(logging.getLogger, ("pydicom", "highdicom")):
                    self._restore.callback(logger.setLevel, logger.level)
                    logger.setLevel(logging.CRITICAL + 1)

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._num_inside -= 1
            if self._num_inside == 0:
                self._restore.close()


_quiet_pydicom = _QuietPydicom()


def quiet_pydicom() -> AbstractContextManager[None]:
    """Return the one thread-safe context of all threads that silences pydicom, see `_QuietPydicom`."""
    return _quiet_pydicom
