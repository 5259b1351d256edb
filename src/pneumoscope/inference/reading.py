"""The prediction for one radiograph, and its row in a table."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pneumoscope.data.identity import Identity

# Columns from the DICOM header, in a table of readings.
IDENTITY_COLUMNS = (
    *("sop_instance_uid", "study_instance_uid", "patient_id", "accession_number"),
    *("age_years", "sex", "view", "laterality", "study_date"),
)
UNCERTAIN, REJECTED = "uncertain", "rejected"


@dataclass(frozen=True)
class ReferenceCase:
    """A training image that is a nearest neighbor of a radiograph.

    Attributes:
        name: path of the file below the root of the training collection.
        label: class of the image; if multi-label, its findings joined by `|`.
        distance: Euclidean distance of the embeddings, each scaled to length 1; in [0, 2].
        index: position among the reference cases of the models.
    """

    name: str
    label: str
    distance: float
    index: int


@dataclass(frozen=True)
class Reading:
    """The prediction for one radiograph.

    Attributes:
        path: path of the file; empty for bytes, PIL images and arrays.
        operating_point: `screening`, `balanced`, `specific`, or a threshold on probabilities as text. A case counts as
            positive when `probability >= threshold`.
        model: identifier of the models.
        error: why the file cannot be read; None if it was read. With an error, all fields below are None or empty.
        decision: a class or a group; if multi-label, the findings joined by `|`, or the name for no finding.
            `uncertain` if the model abstains, `rejected` if the image is no frontal chest radiograph.
        probabilities: calibrated probabilities in [0, 1] by name, see `LabelSet.scored`. Those of the classes sum to 1
            unless they are multi-label. Empty if rejected.
        intervals: low and high end of the 95 % interval of each probability, from resampling the calibration.
        anomaly_score: score of the normality model, not negative; None without one. The card of the model names the
            unit.
        anomaly_percentile: percentage of held-out normals with a smaller score, in [0, 100].
        anomalous: whether the anomaly score is above the threshold of the detector; None without one.
        in_distribution: whether the image is like the training images; None without an OOD detector.
        reason: why the image is rejected or out of distribution, or what is uncertain; may be empty.
        warnings: stable codes of what was ignored, guessed or noticed, see `pneumoscope.data.remarks.WARNINGS`.
        width, height: of the file, in pixels; 0 if unknown.
        identity: of the DICOM header.
        neighbors: the nearest reference cases, nearest first.
        heatmap: path of the heatmap image, if one was written.
        dicom_files: paths of the DICOM objects, if they were written.
        scored: the names with a probability, which are the columns `p_*` of a table.
        positive_share: share of the positive class among the 15 nearest reference cases, in [0, 1], with which the
            decision is compared; None if it is not compared.
        check: the part of `reason` that does not depend on the operating point.
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
    anomalous: bool | None = None
    in_distribution: bool | None = None
    reason: str = ""
    warnings: tuple[str, ...] = ()
    width: int = 0
    height: int = 0
    identity: Identity = field(default_factory=Identity)
    neighbors: tuple[ReferenceCase, ...] = ()
    heatmap: str | None = None
    dicom_files: tuple[str, ...] = ()
    scored: tuple[str, ...] = ()
    positive_share: float | None = None
    check: str = ""

    def __post_init__(self) -> None:
        if self.probabilities and set(self.probabilities) != set(self.scored or self.probabilities):
            raise ValueError(f"probabilities are of {sorted(self.probabilities)}, expected {', '.join(self.scored)}")

    def to_row(self) -> dict[str, Any]:
        """Return the reading as a dictionary of plain values, one key per column of the table."""
        names = self.scored or tuple(self.probabilities)
        probabilities: dict[str, float | None] = {}
        for name in names:
            low, high = self.intervals.get(name, (None, None))
            values = (self.probabilities.get(name), low, high)
            columns = (f"p_{name}", f"p_{name}_low", f"p_{name}_high")
            probabilities |= {column: _round(value, 4) for column, value in zip(columns, values, strict=True)}
        return {
            "path": self.path,
            "error": self.error,
            "decision": self.decision,
            "operating_point": self.operating_point,
            **probabilities,
            "anomaly_score": _round(self.anomaly_score, 6),
            "anomaly_percentile": _round(self.anomaly_percentile, 1),
            "anomalous": self.anomalous,
            "in_distribution": self.in_distribution,
            "reason": self.reason or None,
            "warnings": list(self.warnings),
            "neighbors": [
                {"name": case.name, "label": case.label, "distance": round(case.distance, 3)} for case in self.neighbors
            ],
            "width": self.width or None,
            "height": self.height or None,
            **{name: getattr(self.identity, name) for name in IDENTITY_COLUMNS},
            "heatmap": self.heatmap,
            "dicom_files": list(self.dicom_files),
            "model": self.model,
        }


def _round(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
