"""Shares of rejected and uncertain images, and the OOD detector on invalid inputs."""

import re
from collections import Counter
from dataclasses import replace

import numpy as np

from pneumoscope.data.dataset import Dataset
from pneumoscope.evaluation.gather import spread_evenly
from pneumoscope.evaluation.predictor import find_correct
from pneumoscope.evaluation.subgroups import list_classes
from pneumoscope.inference.model_set import ModelSet, as_input
from pneumoscope.io.results import Estimate, EvaluatedImages, OODCheck, OODKind, Rejections
from pneumoscope.metrics.classification import estimate_share, evaluate_scores
from pneumoscope.phantoms.invalid_inputs import KINDS, make_invalid_inputs
from pneumoscope.progress import track

UNCHANGED = "unchanged images"
MAX_IMAGES = 100
SENSITIVITY = 0.95  # share of invalid inputs that are found, for the false positive rate

Outcome = tuple[list[tuple[bool, bool, str]], np.ndarray]  # of `OODDetector.check` and `OODDetector.score`


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


def check_ood_detector(models: ModelSet, dataset: Dataset, *, split: str, seed: int = 0) -> OODCheck:
    """Measure how well the OOD detector of a reader distinguishes invalid inputs from unchanged images.

    The detector was fitted to training images. Use images of other patients here.

    Args:
        models: the models of a reader with an OOD detector.
        dataset: a split dataset.
        split: split to use. At most 100 evenly spaced images are turned into invalid inputs.
        seed: seed of the invalid inputs.

    Raises:
        ValueError: if the reader has no OOD detector, or the split contains no image.
    """
    part = dataset.split(split)
    if not len(part):
        raise ValueError(f"the split {split!r} contains no image; expected one or more")
    checks, usual = _apply(models, part.images)
    kinds = [_describe(UNCHANGED, "usual", (checks, usual), part.patients)]
    rows = spread_evenly(len(part), MAX_IMAGES)
    patients = part.patients[rows]
    for name, kind in track(KINDS.items(), "Checking invalid inputs", total=len(KINDS)):
        outcome = _apply(models, make_invalid_inputs(part.images[rows], name, seed=seed))
        metrics = _rank(outcome[1], usual, np.concatenate([part.patients, patients]))
        described = _describe(name, "learned" if kind.learned else "unseen", outcome, patients)
        kinds.append(replace(described, auroc=metrics["auroc"], false_positive_rate=metrics["false_positive_rate"]))
    return OODCheck(split, tuple(kinds))


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


def _apply(models: ModelSet, images: np.ndarray) -> Outcome:
    """Return the checks and the scores of `(n, H, W)` uint8 images."""
    if models.ood_detector is None:
        raise ValueError("the reader has no OOD detector; expected one. Export the reader with validation images")
    graph, output = models.ood_source
    (features,) = graph.run(as_input(images), [output])
    return models.ood_detector.check(images, features), models.ood_detector.score(images, features)


def _describe(kind: str, origin: str, outcome: Outcome, patients: np.ndarray) -> OODKind:
    in_distribution, rejected, reasons = zip(*outcome[0], strict=True)
    frequent = Counter(sorted(reason for reason in reasons if reason)).most_common(1)
    return OODKind(
        kind,
        origin,
        flagged=estimate_share(~np.array(in_distribution), patients),
        rejected=estimate_share(rejected, patients),
        reason=frequent[0][0] if frequent else "",
    )


def _rank(scores: np.ndarray, usual: np.ndarray, patients: np.ndarray) -> dict[str, Estimate]:
    """Return the AUROC of invalid inputs against unchanged images, and the false positive rate at `SENSITIVITY`."""
    labels = np.repeat([0, 1], [len(usual), len(scores)])
    threshold = {"found": float(np.quantile(scores, 1 - SENSITIVITY, method="lower"))}
    metrics = evaluate_scores(labels, np.concatenate([usual, scores]), threshold, patients=patients)
    return {"auroc": metrics["auroc"], "false_positive_rate": metrics["false_positive_rate_found"]}
