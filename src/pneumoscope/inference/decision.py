"""Outputs of the models to a decision with its evidence."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pneumoscope.data.decode import DecodedImage
from pneumoscope.errors import PneumoscopeError
from pneumoscope.inference.cards import AnomalyCard, ClassifierCard
from pneumoscope.inference.checks import Check
from pneumoscope.inference.model_set import ModelCards, ModelSet
from pneumoscope.inference.reading import REJECTED, UNCERTAIN, Reading, ReferenceCase
from pneumoscope.labels import SEPARATOR, LabelSet
from pneumoscope.metrics.calibration import calibrate
from pneumoscope.neighbors.search import EmbeddingIndex

NUM_NEIGHBORS = 5
NUM_VOTES = 15
RELIABLE_AUROC = 0.9
FALSE_POSITIVE_RATE = 0.05  # nominal, of the anomaly detector
DEFAULT_THRESHOLD = 0.5  # of names without a chosen threshold

Nearest = tuple[np.ndarray, np.ndarray]  # indices and distances of reference cases, nearest first
Rows = Mapping[str, Sequence[float]]  # probability, low and high end by name


class DecisionRule:
    """Calibrates the outputs of a classifier, searches the nearest reference cases, and decides.

    Attributes:
        calibrations: `(1 + m, parameters)` float64, the fitted calibration and `m` resampled ones.
    """

    def __init__(self, models: ModelSet) -> None:
        self._label_set, self._references = models.cards.classifier.label_set, models.references
        self._id = models.id
        self._is_adapted = models.cards.classifier.adapted is not None
        calibration = models.cards.classifier.calibration
        self.calibrations = np.array([calibration.fitted, *calibration.resampled], dtype=np.float64)
        scores = models.cards.anomaly.normal_scores if models.cards.anomaly else ()
        self._normal_scores = np.sort(np.array(scores, dtype=np.float64))
        self._patients: dict[str, set[str]] = {}  # by file name
        if models.references is None:
            return
        for name, patient in zip(models.references.names, models.references.patients, strict=True):
            self._patients.setdefault(PurePath(str(name)).name, set()).add(str(patient))
        self._index = EmbeddingIndex(models.references.embeddings, models.references.patients.tolist())

    def make_readings(
        self,
        outputs: Mapping[str, np.ndarray],
        images: Sequence[DecodedImage],
        checks: Sequence[Check],
        paths: Sequence[str],
        thresholds: Mapping[str, float],
        operating_point: str,
    ) -> list[Reading]:
        """Return the reading of each image.

        Args:
            outputs: `probabilities` and `embedding` of the classifier; `score` of the anomaly detector, if any.
            images: the decoded images.
            checks: what was found about each image.
            paths: one per image.
            thresholds: by name, see `find_thresholds`.
            operating_point: where the thresholds come from.
        """
        scores = outputs["score"].tolist() if "score" in outputs else [None] * len(paths)
        nearest = self.find_nearest(outputs["embedding"], paths, NUM_VOTES)
        calibrated = self.calibrate(outputs["probabilities"])
        readings = []
        for number, (path, image, check) in enumerate(zip(paths, images, checks, strict=True)):
            values: dict[str, Any] = {"decision": REJECTED}
            if not check.rejected:
                values = self._collect(calibrated[number], nearest[number]) | self._rank(scores[number])
            values |= {"in_distribution": check.in_distribution, "reason": check.reason, "check": check.reason}
            values |= {"warnings": check.warnings, "identity": image.identity}
            values |= {"width": image.remarks.width, "height": image.remarks.height}
            reading = Reading(path, operating_point, self._id, scored=self._label_set.scored, **values)
            readings.append(self.redecide(reading, thresholds, operating_point))
        return readings

    def redecide(self, reading: Reading, thresholds: Mapping[str, float], operating_point: str) -> Reading:
        """Return a reading with the decision and the reason at other thresholds, from its own probabilities."""
        reading = replace(reading, operating_point=operating_point)
        if not reading.probabilities:
            return reading
        rows = {name: (value, *reading.intervals[name]) for name, value in reading.probabilities.items()}
        decision, doubt = self._decide(thresholds, rows, reading.positive_share)
        return replace(reading, decision=decision, reason=" ".join(filter(None, (reading.check, doubt))))

    def find_nearest(self, embeddings: np.ndarray, paths: Sequence[str], count: int) -> list[Nearest]:
        """Return the indices and distances of the nearest reference cases of each path, nearest first.

        If a reference case has the same file name, its patient is excluded.
        """
        if self._references is None:
            return [(np.empty(0, np.int64), np.empty(0, np.float32)) for _ in paths]
        exclude = [self._patients.get(PurePath(path).name, ()) for path in paths]
        nearest, distances = self._index.search(embeddings, count, exclude=exclude)
        return [(rows[rows >= 0], gaps[rows >= 0]) for rows, gaps in zip(nearest, distances, strict=True)]

    def calibrate_classes(self, outputs: np.ndarray) -> NDArray[np.float64]:
        """Return the calibrated probabilities of the classes, `(n, classes)`."""
        return np.asarray(calibrate(outputs, self.calibrations[:1])[0])

    def calibrate(self, outputs: np.ndarray) -> np.ndarray:
        """Return `(n, scored, 3)` float64 for each of `LabelSet.scored`: probability, low and high end."""
        scored = self._label_set.score(calibrate(outputs, self.calibrations))
        low, high = np.quantile(scored[1:], [0.025, 0.975], axis=0)
        return np.stack([scored[0], np.minimum(low, scored[0]), np.maximum(high, scored[0])], axis=-1)

    def _rank(self, score: float | None) -> dict[str, Any]:
        """Return the fields of `Reading` about the anomaly score."""
        if score is None:
            return {}
        percentile = float(100 * np.searchsorted(self._normal_scores, score) / len(self._normal_scores))
        limit = np.quantile(self._normal_scores, 1 - FALSE_POSITIVE_RATE)
        return {"anomaly_score": score, "anomaly_percentile": percentile, "anomalous": bool(score > limit)}

    def _collect(self, calibrated: np.ndarray, nearest: Nearest) -> dict[str, Any]:
        """Return the fields of `Reading` that do not depend on the operating point."""
        rows = dict(zip(self._label_set.scored, calibrated.tolist(), strict=True))
        return {
            "probabilities": {name: value for name, (value, _, _) in rows.items()},
            "intervals": {name: (low, high) for name, (_, low, high) in rows.items()},
            "neighbors": self._describe_nearest(*nearest),
            "positive_share": self._find_positive_share(nearest[0]),
        }

    def _decide(self, thresholds: Mapping[str, float], rows: Rows, positive_share: float | None) -> tuple[str, str]:
        """Return the decision, and what is uncertain, else an empty text."""
        labels = self._label_set
        probabilities = np.array([[rows[name][0] for name in labels.classes]])
        decision = str(labels.decide(probabilities, thresholds)[0])
        doubt = find_doubt(labels, thresholds, rows) or self._compare_nearest(decision, positive_share)
        if doubt and (not labels.multi_label or decision == labels.without_finding):
            decision = UNCERTAIN
        return decision, doubt

    def _find_positive_share(self, nearest: np.ndarray) -> float | None:
        """Return the share of positive ones among reference cases; None if they are not compared with a decision.

        The reference cases of an adapted reader are of another hospital than its images, and are not compared.
        """
        labels = self._label_set
        if labels.positive is None or self._references is None or not len(nearest) or self._is_adapted:
            return None
        return float((self._references.labels[nearest] != labels.classes.index(str(labels.negative))).mean())

    def _compare_nearest(self, decision: str, positive_share: float | None) -> str:
        """Return that most of the nearest reference cases are on the other side than the decision; empty if not so."""
        labels = self._label_set
        if positive_share is None or (decision != labels.negative) == (positive_share >= 0.5):
            return ""
        others = labels.positive if decision == labels.negative else labels.negative
        return f"Most of the nearest reference cases are {others}."

    def _describe_nearest(self, nearest: np.ndarray, distances: np.ndarray) -> tuple[ReferenceCase, ...]:
        if self._references is None:
            return ()
        names, labels = self._references.names, self._references.labels
        return tuple(
            ReferenceCase(str(names[index]), name_label(self._label_set, labels[index]), distance, index)
            for index, distance in list(zip(nearest.tolist(), distances.tolist(), strict=True))[:NUM_NEIGHBORS]
        )


def find_doubt(label_set: LabelSet, thresholds: Mapping[str, float], rows: Rows) -> str:
    """Return what is uncertain by the intervals of the probabilities, else an empty text; see `Reading.decision`.

    Example:
        >>> rows = {"mass": (0.7, 0.6, 0.8), "edema": (0.4, 0.3, 0.6)}
        >>> find_doubt(LabelSet(("mass", "edema"), multi_label=True), {"mass": 0.5, "edema": 0.5}, rows)
        'The interval of the probability includes the threshold: edema.'
        >>> find_doubt(LabelSet(("mass", "edema")), {}, {**rows, "mass": (0.6, 0.4, 0.8)})
        'The intervals of mass and edema overlap.'
    """
    if not label_set.decided:
        first, second = sorted(label_set.classes, key=lambda name: -rows[name][0])[:2]
        return f"The intervals of {first} and {second} overlap." if rows[first][1] <= rows[second][2] else ""
    doubtful = [name for name in label_set.decided if rows[name][1] < thresholds[name] <= rows[name][2]]
    names = f": {', '.join(doubtful)}" if label_set.multi_label else ""
    return f"The interval of the probability includes the threshold{names}." if doubtful else ""


def find_thresholds(card: ClassifierCard, operating_point: str | float) -> dict[str, float]:
    """Return the thresholds of an operating point by name, see `Reader.thresholds`."""
    names, points = card.label_set.decided, card.operating_points
    if operating_point in points or (not points and operating_point == "balanced"):
        chosen = {name: point.threshold for name, point in points.get(str(operating_point), {}).items()}
        return {name: chosen.get(name, DEFAULT_THRESHOLD) for name in names}
    try:
        number = float(operating_point)
    except (TypeError, ValueError):
        number = np.nan
    if not 0 < number < 1:
        expected = f"{', '.join(points or ['balanced'])}, or a number between 0 and 1"
        raise PneumoscopeError(f"the operating point is {operating_point!r}; expected {expected}")
    return dict.fromkeys(names, number)


def describe_trust(cards: ModelCards) -> dict[str, str]:
    """Return the notes of `Reader.trust`."""
    audit = cards.classifier.explanation
    return {
        "heatmap_trust": audit.verdict if audit else "",
        "label_trust": describe_groups(cards.classifier),
        "flag_trust": describe_flag(cards.anomaly) if cards.anomaly else "",
    }


def describe_flag(card: AnomalyCard) -> str:
    """Return the nominal and the measured false positive rate of the anomaly flag, as its card states them."""
    rate = card.metrics["test"].get("false_positive_rate_quantile")
    measured = "measured rate not stated"
    if rate is not None and not math.isnan(rate.value):
        interval = "" if math.isnan(rate.high) else f"95 % CI {100 * rate.low:.0f} to {100 * rate.high:.0f} %, "
        measured = f"measured {100 * rate.value:.0f} % ({interval}test normals, n = {rate.n})"
    return f"False positive rate of the anomaly flag: nominal {100 * FALSE_POSITIVE_RATE:.0f} %, {measured}."


def describe_groups(card: ClassifierCard) -> str:
    """Return a caution for each group of two classes that the classifier can hardly distinguish on held-out images."""
    held_out = [metrics.classes for split in ("held_out", "val") if (metrics := card.metrics.get(split))]
    cautions = []
    for first, second in (pair for pair in card.label_set.groups.values() if len(pair) == 2):
        auroc = next((one[name] for one in held_out if (name := f"auroc_{first}_vs_{second}") in one), None)
        if auroc is not None and auroc.value < RELIABLE_AUROC:
            numbers = f"AUROC {auroc.value:.2f} on {auroc.n:,} held-out images"
            cautions.append(f"{first.capitalize()} versus {second} is unreliable: {numbers}.")
    return " ".join(cautions)


def choose_explained_class(label_set: LabelSet, decision: str | None, probabilities: Mapping[str, float]) -> str:
    """Return what the heatmap of a reading explains: the decision, or its most probable finding.

    If the decision is uncertain, it is the more probable one of the negative class and all others; without a negative
    class, the most probable class.

    Example:
        >>> labels = LabelSet(("healthy", "covid"), "healthy")
        >>> choose_explained_class(labels, "healthy", {"healthy": 0.45, "covid": 0.55})
        'healthy'
        >>> choose_explained_class(labels, "uncertain", {"healthy": 0.45, "covid": 0.55})
        'covid'
    """
    if decision in label_set.scored:
        return str(decision)
    if label_set.negative and label_set.positive:
        return label_set.positive if probabilities[label_set.positive] >= 0.5 else label_set.negative
    present = [name for name in (decision or "").split(SEPARATOR) if name in label_set.classes]
    return max(present or label_set.classes, key=lambda name: probabilities[name])


def name_label(label_set: LabelSet, label: np.ndarray | np.integer) -> str:
    """Return the text of a label of `Dataset.labels`: a class, or the present findings joined by `|`."""
    if not label_set.multi_label:
        return label_set.classes[int(label)]
    present = [name for name, value in zip(label_set.classes, np.atleast_1d(label).tolist(), strict=True) if value == 1]
    return SEPARATOR.join(present) or label_set.without_finding
