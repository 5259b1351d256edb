"""Whether an image is one that the models are made for: its pixels, its header and its patient."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pneumoscope.data.decode import DecodedImage
from pneumoscope.data.duplicates import find_known, hash_image
from pneumoscope.inference.model_set import ModelSet

# Sentences by the code of their warning.
TRAINING_NOTES = {
    "training_image": "The models were trained on this image.",
    "training_image_copy": "The models were trained on a copy of this image.",
}


@dataclass(frozen=True)
class Check:
    """What was found about one image.

    Attributes:
        in_distribution: false if the image is flagged or rejected; None if the models have no OOD detector and nothing
            else speaks against the image.
        rejected: whether the image gets no prediction.
        reason: why the image is flagged or rejected, in sentences; may be empty.
        warnings: stable codes, see `pneumoscope.data.remarks.WARNINGS`.
    """

    in_distribution: bool | None
    rejected: bool
    reason: str
    warnings: tuple[str, ...]


class ImageChecks:
    """Checks images against the card, the OOD detector and the training images of exported models."""

    def __init__(self, models: ModelSet, *, ignore_population: bool) -> None:
        self._models = models
        self._detector, self._population = models.ood_detector, models.cards.classifier.population
        self._ignore_population = ignore_population
        listed = models.references.sha256 if models.references else None
        adapted = models.cards.classifier.adapted
        self._trained_on = {*(() if listed is None else listed.tolist()), *(adapted.sha256 if adapted else ())}

    def check(self, images: Sequence[DecodedImage], outputs: Mapping[str, np.ndarray]) -> list[Check]:
        """Return what was found about each image.

        Args:
            images: the decoded images.
            outputs: of the models; the OOD detector uses one of them.
        """
        found: list[tuple[bool | None, bool, str]] = [(None, False, "")] * len(images)
        if self._detector:
            pixels = np.stack([image.pixels for image in images])
            found = [*self._detector.check(pixels, outputs[self._models.ood_source[1]])]
        seen = self._find_training_images(images)
        return [self._join(image, code, *one) for image, code, one in zip(images, seen, found, strict=True)]

    def _find_training_images(self, images: Sequence[DecodedImage]) -> list[str]:
        """Return a key of `TRAINING_NOTES` for each image, empty for images that are not of the training."""
        hashes = self._models.references.hashes if self._models.references else None
        copies = [False] * len(images)
        if hashes is not None:
            copies = find_known(np.stack([hash_image(image.pixels) for image in images]), hashes).tolist()
        codes = ["training_image_copy" if is_copy else "" for is_copy in copies]
        pairs = zip(images, codes, strict=True)
        return ["training_image" if image.sha256 in self._trained_on else code for image, code in pairs]

    def _join(self, image: DecodedImage, code: str, in_distribution: bool | None, rejected: bool, reason: str) -> Check:
        warnings, objections, cautions = [*image.remarks.warnings], [*image.remarks.objections], []
        conflicts = self._population.find_conflicts(age=image.identity.age_years, view=image.identity.view)
        if conflicts and self._ignore_population:
            warnings.append("population_ignored")
            cautions += conflicts
        else:
            objections += conflicts
        cautions += image.remarks.cautions
        notes = [TRAINING_NOTES[code]] if code else []
        warnings += [code] if code else []
        if objections:
            return Check(False, True, " ".join([*objections, *notes]), tuple(warnings))
        flagged = False if cautions else in_distribution
        return Check(flagged, rejected, " ".join(filter(None, [reason, *cautions, *notes])), tuple(warnings))
