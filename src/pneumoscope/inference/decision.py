"""Outputs of the models to a decision with its evidence."""

from collections.abc import Sequence
from pathlib import PurePath
from typing import Any

import numpy as np

from pneumoscope.inference.model_set import ModelSet
from pneumoscope.inference.reading import ReferenceCase
from pneumoscope.metrics.calibration import calibrate
from pneumoscope.neighbors.search import EmbeddingIndex

NUM_NEIGHBORS = 5
NUM_VOTES = 15


class DecisionRule:
    """Calibrates the outputs of a classifier, searches the nearest reference cases, and decides.

    Attributes:
        calibrations: `(1 + m, parameters)` float64, the fitted calibration and `m` resampled ones.
    """

    def __init__(self, models: ModelSet) -> None:
        self._models = models
        calibration = models.cards.classifier.calibration
        self.calibrations = np.array([calibration.fitted, *calibration.resampled], dtype=np.float64)
        self._normal_scores = np.sort(np.array(models.cards.anomaly.normal_scores, dtype=np.float64))
        self._patients: dict[str, set[str]] = {}  # by file name
        for name, patient in zip(models.references.names, models.references.patients, strict=True):
            self._patients.setdefault(PurePath(str(name)).name, set()).add(str(patient))
        self._index = EmbeddingIndex(models.references.embeddings, models.references.patients.tolist())

    def find_nearest(
        self, embeddings: np.ndarray, paths: Sequence[str], count: int
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return the indices and distances of the nearest reference cases of each path, nearest first.

        If a reference case has the same file name, its patient is excluded.
        """
        exclude = [self._patients.get(PurePath(path).name, ()) for path in paths]
        nearest, distances = self._index.search(embeddings, count, exclude=exclude)
        return [(rows[rows >= 0], gaps[rows >= 0]) for rows, gaps in zip(nearest, distances, strict=True)]

    def calibrate(self, outputs: np.ndarray) -> np.ndarray:
        """Return `(n, classes + 1, 3)` float64 for each class and pneumonia: probability, low and high end."""
        fitted = calibrate(outputs, self.calibrations)
        scored = np.concatenate([fitted, 1 - fitted[..., :1]], axis=2)
        low, high = np.quantile(scored[1:], [0.025, 0.975], axis=0)
        return np.stack([scored[0], np.minimum(low, scored[0]), np.maximum(high, scored[0])], axis=-1)

    def rank_score(self, score: float) -> float:
        """Return the percentage of held-out normals with a smaller score."""
        return float(100 * np.searchsorted(self._normal_scores, score) / len(self._normal_scores))

    def decide(
        self, threshold: float, calibrated: np.ndarray, nearest: np.ndarray, distances: np.ndarray
    ) -> tuple[dict[str, Any], str]:
        """Return the fields of `Reading`, and the reason if the decision is uncertain, else an empty text."""
        references, classes = self._models.references, self._models.classes
        rows = dict(zip((*classes, "pneumonia"), calibrated.tolist(), strict=True))
        probability, low, high = rows["pneumonia"]
        decision = "pneumonia" if probability >= threshold else "normal"
        doubt = _explain_doubt(decision, threshold, low, high, float((references.labels[nearest] > 0).mean()))
        values = {
            "decision": "uncertain" if doubt else decision,
            "probabilities": {name: value for name, (value, _, _) in rows.items()},
            "intervals": {name: (low, high) for name, (_, low, high) in rows.items()},
            "neighbors": tuple(
                ReferenceCase(str(references.names[index]), classes[references.labels[index]], distance, index)
                for index, distance in list(zip(nearest.tolist(), distances.tolist(), strict=True))[:NUM_NEIGHBORS]
            ),
        }
        return values, doubt


def _explain_doubt(decision: str, threshold: float, low: float, high: float, pneumonia_share: float) -> str:
    """Return why a decision is uncertain; empty if it is not."""
    if low < threshold <= high:
        return "The interval of the probability includes the threshold."
    if (decision == "pneumonia") != (pneumonia_share >= 0.5):
        others = "normal" if decision == "pneumonia" else "pneumonia"
        return f"Most of the nearest reference cases are {others}."
    return ""
