"""The prediction for one file: a plain value, and its row in a table."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pneumoscope.labels import THREE_CLASSES

SCORED = (*THREE_CLASSES, "pneumonia")
DECISIONS = ("normal", "pneumonia", "uncertain", "rejected")


@dataclass(frozen=True)
class ReferenceCase:
    """A training image near a new one in the embedding.

    Attributes:
        name: its file, below the root of the training collection.
        label: its class.
        distance: Euclidean, between embeddings of length 1; 0 is equal.
        index: its position among the reference cases.
    """

    name: str
    label: str
    distance: float
    index: int


@dataclass(frozen=True)
class Reading:
    """The prediction for one file.

    Attributes:
        path: of the file, as it was given.
        operating_point: `screening`, `balanced`, `specific`, or a threshold on the probability of pneumonia as text; a
            case counts as pneumonia when `probability >= threshold`.
        model: identity of the models.
        error: why the file could not be read, else None. Then all that follows is None or empty.
        decision: `normal`, `pneumonia`, `uncertain`, or `rejected` where the image is no frontal chest radiograph.
        probabilities: calibrated, of `normal`, `bacterial`, `viral`, which sum to 1, and of `pneumonia`, the sum of
            the latter two; empty where rejected.
        intervals: by the same names, low and high end of the 95 % interval of the calibration.
        anomaly_score: in the unit that the card of the normality model names; not negative.
        anomaly_percentile: percentage of held-out normals with a smaller score, in [0, 100].
        in_distribution: whether the OOD detector accepts the image.
        reason: why it does not, or why the decision is `uncertain`; may be empty.
        neighbors: the nearest reference cases, nearest first.
        heatmap: path of the heatmap picture, if one was written.
    """

    path: str
    operating_point: str
    model: str
    error: str | None = None
    decision: str | None = None
    probabilities: Mapping[str, float] = field(default_factory=dict)
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    anomaly_score: float | None = None
    anomaly_percentile: float | None = None
    in_distribution: bool | None = None
    reason: str = ""
    neighbors: tuple[ReferenceCase, ...] = ()
    heatmap: str | None = None

    def __post_init__(self) -> None:
        if self.decision not in (None, *DECISIONS):
            raise ValueError(f"decision is {self.decision!r}, expected one of {', '.join(DECISIONS)}")
        if self.probabilities and set(self.probabilities) != set(SCORED):
            raise ValueError(f"probabilities are of {sorted(self.probabilities)}, expected {', '.join(SCORED)}")

    def to_row(self) -> dict[str, Any]:
        """Return the reading as plain values: the columns of the table and the keys of the JSON."""
        probabilities = {f"p_{name}": _round(self.probabilities.get(name), 4) for name in SCORED}
        return {
            "path": self.path,
            "error": self.error,
            "decision": self.decision,
            "operating_point": self.operating_point,
            **probabilities,
            "anomaly_score": _round(self.anomaly_score, 6),
            "anomaly_percentile": _round(self.anomaly_percentile, 1),
            "in_distribution": self.in_distribution,
            "reason": self.reason or None,
            "neighbors": [
                {"name": case.name, "label": case.label, "distance": round(case.distance, 3)} for case in self.neighbors
            ],
            "heatmap": self.heatmap,
            "model": self.model,
        }


def _round(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
