"""Shares of rejected and uncertain images, and the OOD detector on invalid inputs."""

import re
from collections import Counter

import numpy as np

from pneumoscope.data.dataset import Dataset
from pneumoscope.evaluation.gather import spread_evenly
from pneumoscope.evaluation.predictor import find_correct
from pneumoscope.evaluation.subgroups import list_classes
from pneumoscope.inference.ood import OODDetector
from pneumoscope.io.results import Estimate, EvaluatedImages, OODCheck, OODKind, Rejections
from pneumoscope.metrics.classification import estimate_share
from pneumoscope.phantoms.invalid_inputs import KINDS, make_invalid_inputs
from pneumoscope.progress import track

UNCHANGED = "unchanged images"
MAX_IMAGES = 250


def measure_rejections(images: EvaluatedImages, thresholds: dict[str, float], *, seed: int = 0) -> Rejections:
    """Return shares and reasons of rejected, flagged and uncertain images, and accuracies with and without abstention.

    Args:
        images: the evaluated images.
        thresholds: by name, of the operating point.
        seed: seed of the bootstrap.
    """
    rejected, uncertain = images.decisions == "rejected", images.decisions == "uncertain"
    correct = find_correct(images, thresholds)
    answered = {"all": ~rejected, "certain": ~rejected & ~uncertain, "uncertain": uncertain}
    return Rejections(
        rejected=_share_by_class(rejected, images, seed),
        flagged=_share_by_class(~rejected & ~images.in_distribution, images, seed),
        uncertain=_share_by_class(uncertain, images, seed),
        reasons=_count_remarks(images.reasons[rejected]),
        remarks=_count_remarks(images.reasons[~rejected]),
        accuracy={
            name: estimate_share(correct[rows], images.patients[rows], seed=seed)
            for name, rows in answered.items()
            if rows.any()
        },
    )


def check_ood_detector(detector: OODDetector, dataset: Dataset, *, split: str, seed: int = 0) -> OODCheck:
    """Measure the shares of unchanged images and of invalid inputs that the OOD detector flags or rejects.

    The detector was fitted on invalid inputs made from training images. Use other images here.

    Args:
        detector: the OOD detector.
        dataset: a split dataset.
        split: split to use. At most 250 evenly spaced images are turned into invalid inputs.
        seed: seed of the invalid inputs.

    Raises:
        ValueError: if the split contains no image.
    """
    part = dataset.split(split)
    if not len(part):
        raise ValueError(f"the split {split!r} contains no image; expected one or more")
    patients = part.patients
    checks = [_check_kind(UNCHANGED, "usual", detector, part.images, patients)]
    rows = spread_evenly(len(part), MAX_IMAGES)
    for name, kind in track(KINDS.items(), "Checking invalid inputs", total=len(KINDS)):
        inputs = make_invalid_inputs(part.images[rows], name, seed=seed + 1)
        checks.append(_check_kind(name, "learned" if kind.learned else "unseen", detector, inputs, patients[rows]))
    return OODCheck(split, tuple(checks))


def _count_remarks(reasons: np.ndarray) -> dict[str, int]:
    """Return the number of images per sentence, most frequent first."""
    sentences = (sentence for reason in reasons for sentence in re.findall(r"[^.]+\.", reason))
    return dict(Counter(sentence.strip() for sentence in sentences).most_common())


def _share_by_class(flags: np.ndarray, images: EvaluatedImages, seed: int) -> dict[str, Estimate]:
    label_set, rows = images.label_set, {"all": np.ones(len(images), dtype=bool)}
    if label_set.negative and label_set.positive:
        rows |= {label_set.negative: images.positive == 0, label_set.positive: images.positive == 1}
    else:
        rows |= list_classes(images)
    return {
        name: estimate_share(flags[of_class], images.patients[of_class], seed=seed)
        for name, of_class in rows.items()
        if of_class.any()
    }


def _check_kind(kind: str, origin: str, detector: OODDetector, images: np.ndarray, patients: np.ndarray) -> OODKind:
    in_distribution, rejected, reasons = zip(*detector.check(images), strict=True)
    frequent = Counter(sorted(reason for reason in reasons if reason)).most_common(1)
    return OODKind(
        kind,
        origin,
        flagged=estimate_share(~np.array(in_distribution), patients),
        rejected=estimate_share(rejected, patients),
        reason=frequent[0][0] if frequent else "",
    )
