"""Files of each prediction: a figure with the heatmap, and DICOM objects."""

import hashlib
import os
from dataclasses import replace
from pathlib import Path

from pneumoscope.data.decode import DecodedImage
from pneumoscope.data.source import printable_name
from pneumoscope.errors import ImageError
from pneumoscope.inference.illustration import illustrate
from pneumoscope.inference.reader import Reader
from pneumoscope.inference.reading import Reading
from pneumoscope.io.write import atomic_write
from pneumoscope.pacs.dicom_output import write_dicom_reading
from pneumoscope.progress import log
from pneumoscope.report.reading_image import draw_reading

MAX_STEM = 200  # bytes of the source's name in the name of a figure


def write_reading(
    reader: Reader,
    path: str,
    image: DecodedImage,
    reading: Reading,
    *,
    heatmaps_dir: Path | None = None,
    dicom_dir: Path | None = None,
    deidentify: bool = False,
) -> Reading:
    """Write a reading as a figure, as DICOM objects, or both.

    Bind the keyword arguments with `functools.partial` to use this function as `render` of `ReadBatch`.

    Args:
        reader: the reader that made the reading.
        path: path of the radiograph.
        image: the decoded radiograph.
        reading: a reading without an error.
        heatmaps_dir: folder of the figure; None writes no figure.
        dicom_dir: folder of the secondary capture and the structured report; None writes neither.
        deidentify: whether to remove what identifies the patient from the DICOM objects.

    Returns:
        The reading with the path of its figure, or with an error if the DICOM objects could not be written.
    """
    from PIL import Image

    radiograph, heatmap = illustrate(reader, path, image.pixels, reading)
    fields = reader.describe(reading)
    if heatmaps_dir:
        # The hash keeps files of the same name in different folders from overwriting each other.
        digest = hashlib.sha256(os.fsencode(Path(path).absolute())).hexdigest()[:8]
        stem = os.fsdecode(os.fsencode(Path(path).stem)[:MAX_STEM])
        target = heatmaps_dir / f"{stem}-{digest}.png"
        reading = replace(reading, heatmap=printable_name(target))
        with atomic_write(target, private=True) as partial:
            Image.fromarray(draw_reading(fields, heatmap, radiograph)).save(partial)
    if dicom_dir:
        try:
            written, changes = write_dicom_reading(path, fields, heatmap, radiograph, dicom_dir, deidentify=deidentify)
        except ImageError as error:
            return replace(reading, error=f"the DICOM objects cannot be written: {error}")
        reading = replace(reading, dicom_files=tuple(map(printable_name, written)))
        if changes:
            log.warning("missing or invalid elements of a DICOM header: %d (%s)", len(changes), "; ".join(changes))
            reading = replace(reading, warnings=(*reading.warnings, "dicom_elements"))
    return reading
