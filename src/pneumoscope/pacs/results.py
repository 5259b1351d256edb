"""The results of a radiograph from a PACS."""

from typing import TYPE_CHECKING

from pneumoscope.data.decode import decode_radiograph
from pneumoscope.data.source import ImageSource
from pneumoscope.inference.illustration import illustrate
from pneumoscope.inference.reader import Reader
from pneumoscope.inference.reading import REJECTED, Reading
from pneumoscope.pacs.dicom_output import make_dicom_reading
from pneumoscope.pacs.spool import clean_uid
from pneumoscope.progress import log

if TYPE_CHECKING:
    from pydicom import Dataset

OPERATING_POINT = "balanced"
SENT, NOT_SENT, OWN = "sent", "rejected image, results not sent", "own result, passed over"


def make_results(reader: Reader, source: ImageSource, *, send_rejected: bool) -> tuple[Reading, list["Dataset"]]:
    """Predict for a radiograph and make its secondary capture and structured report.

    Args:
        reader: trained models.
        source: path, bytes or binary stream of a DICOM file.
        send_rejected: whether to make results of a rejected image.

    Returns:
        The reading, and the two objects; none if the image is rejected and `send_rejected` is False.

    Raises:
        ImageError: if the image cannot be read; the message is `OWN_OBJECT` if this package wrote it.
    """
    image = decode_radiograph(source, size=reader.models.image_size)
    (reading,) = reader.predict_decoded([image], [""], OPERATING_POINT)
    if reading.decision == REJECTED and not send_rejected:
        return reading, []
    radiograph, heatmap = illustrate(reader, source, image.pixels, reading)
    objects, changes = make_dicom_reading(source, reader.describe(reading), heatmap, radiograph)
    if changes:
        uid = clean_uid(image.identity.sop_instance_uid or "")
        log.warning("%s: missing or invalid elements of the header: %s", uid, "; ".join(changes))
    return reading, objects
