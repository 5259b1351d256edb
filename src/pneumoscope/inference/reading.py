"""What the models make of one file: a plain value, and the row that it fills in a table."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pneumoscope.labels import THREE_CLASSES

SCORED = (*THREE_CLASSES, "pneumonia")
DECISIONS = ("normal", "pneumonia", "not sure", "refused")


@dataclass(frozen=True)
class ReferenceCase:
    """A known image that is near a new one in the embedding.

    Attributes:
        name: its file, below the root of the collection that the models were trained on.
        label: its class.
        distance: Euclidean, in the embedding scaled to length 1: 0 is alike, 1.41 has nothing in common.
        index: its place among the known images.
    """

    name: str
    label: str
    distance: float
    index: int


@dataclass(frozen=True)
class Reading:
    """What the shipped or a user's own models make of one file.

    Attributes:
        path: of the file, as it was given.
        error: why it could not be read; None where it was. Then all that follows is None or empty.
        decision: `normal`, `pneumonia`, `not sure`, or `refused` where the image is no frontal chest film.
        operating_point: `screening`, `balanced`, `specific`, or the threshold on the probability of pneumonia that
            was given; a case counts as pneumonia when `probability >= threshold`.
        probabilities: calibrated, of `normal`, `bacterial`, `viral`, which sum to 1, and of `pneumonia`, the sum of
            the latter two; empty where refused.
        intervals: by the same names, low and high end of the 95 % interval that the calibration leaves.
        anomaly_score: how far from normals, in the unit of the model of normals that its card names; not negative.
        anomaly_percentile: share of held-out normals with a smaller score, in [0, 100].
        in_domain: whether the image looks like those that the models were trained on.
        reason: why it does not, or why the decision is `not sure`; empty where there is nothing to say.
        neighbors: the nearest known images, nearest first.
        heatmap: path of the picture that shows where the classifier looked, where one was asked for.
        model: identity of the models.
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
    in_domain: bool | None = None
    reason: str = ""
    neighbors: tuple[ReferenceCase, ...] = ()
    heatmap: str | None = None

    def __post_init__(self) -> None:
        if self.decision not in (None, *DECISIONS):
            raise ValueError(f"decision is {self.decision!r}, expected one of {', '.join(DECISIONS)}")
        if self.probabilities and set(self.probabilities) != set(SCORED):
            raise ValueError(f"probabilities are of {sorted(self.probabilities)}, expected {', '.join(SCORED)}")

    def to_row(self) -> dict[str, Any]:
        """Return the reading as one flat row of plain values: the columns of the table and the keys of the JSON."""
        probabilities = {f"p_{name}": _rounded(self.probabilities.get(name), 4) for name in SCORED}
        return {
            "path": self.path,
            "error": self.error,
            "decision": self.decision,
            "operating_point": self.operating_point,
            **probabilities,
            "anomaly_score": _rounded(self.anomaly_score, 6),
            "anomaly_percentile": _rounded(self.anomaly_percentile, 1),
            "in_domain": self.in_domain,
            "reason": self.reason or None,
            "neighbors": [
                {"name": case.name, "label": case.label, "distance": round(case.distance, 3)} for case in self.neighbors
            ],
            "heatmap": self.heatmap,
            "model": self.model,
        }


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
