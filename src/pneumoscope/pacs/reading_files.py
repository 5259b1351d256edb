"""Files beside the table of predictions: an image with the heatmap, and DICOM objects."""

import hashlib
import os
from dataclasses import replace
from pathlib import Path

import numpy as np

from pneumoscope.errors import ImageError
from pneumoscope.inference.illustration import illustrate
from pneumoscope.inference.reader import Reader
from pneumoscope.inference.reading import Reading
from pneumoscope.pacs.dicom_output import write_dicom_reading
from pneumoscope.report.reading_image import draw_reading


def write_reading(
    reader: Reader,
    path: str,
    image: np.ndarray,
    reading: Reading,
    *,
    heatmaps_dir: Path | None = None,
    dicom_dir: Path | None = None,
    deidentify: bool = False,
) -> Reading:
    """Write a reading as an image, as DICOM, or both; made for `read_files`, with the folders bound.

    Args:
        reader: that made the reading.
        path: of the radiograph.
        image: `(size, size)` uint8, as the models see it.
        reading: without an error.
        heatmaps_dir: folder of the image, or None.
        dicom_dir: folder of the DICOM capture and report, or None.
        deidentify: whether to remove what identifies the patient from these.

    Returns:
        The reading, with the path of its image; with an error where no DICOM could be written.
    """
    from PIL import Image

    picture, heatmap = illustrate(reader, path, image, reading)
    fields = {**reading.to_row(), **reader.trust}
    if heatmaps_dir:
        heatmaps_dir.mkdir(parents=True, exist_ok=True)
        # Files of the same name in different folders must not overwrite each other.
        mark = hashlib.sha256(os.fsencode(Path(path).absolute())).hexdigest()[:8]
        target = heatmaps_dir / f"{Path(path).stem}-{mark}.png"
        reading = replace(reading, heatmap=str(target))
        Image.fromarray(draw_reading(fields, heatmap, picture)).save(target)
    if dicom_dir:
        try:
            write_dicom_reading(path, fields, heatmap, picture, dicom_dir, deidentify=deidentify)
        except ImageError as error:
            return replace(reading, error=f"no DICOM was written: {error}")
    return reading
