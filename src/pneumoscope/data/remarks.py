"""What the decoder notices about an image beside its pixels."""

from dataclasses import dataclass, field

# Warnings by their code, which is stable: column `warnings` of a table of readings.
WARNINGS = {
    "window_ignored": "The display window is unusable or clips over a quarter of the pixels. The full range is used.",
    "range_stretched": "The gray levels fill less than half of the declared range. They are stretched.",
    "bits_stored_wrong": "The pixels exceed the declared bit depth. Their own depth is used.",
    "header_damaged": "An optional DICOM element is invalid. It is ignored.",
    "bars_cropped": "Uniform bars at the sides are cropped.",
    "training_image": "The models were trained on this file.",
    "training_image_copy": "The models were trained on a copy of this image in another file.",
    "population_ignored": "Age or view are outside of those of the training images, which was ignored on request.",
    "dicom_elements": "Elements of the DICOM output were left empty, because their values are invalid.",
    "text_chunks_ignored": "Text chunks of the PNG file are too large or damaged. They are ignored.",
}


@dataclass
class Remarks:
    """What is noticed about one image.

    Attributes:
        objections: sentences, reasons to reject the image.
        cautions: sentences, reasons to flag the image.
        warnings: codes of `WARNINGS`, without duplicates.
        width, height: of the file, in pixels; 0 before it is decoded.
    """

    objections: list[str] = field(default_factory=list)
    cautions: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    width: int = 0
    height: int = 0

    def warn(self, code: str) -> None:
        """Add a warning once."""
        if code not in self.warnings:
            self.warnings.append(code)
