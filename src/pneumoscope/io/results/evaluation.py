"""Results of an evaluation of models on a labeled collection."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pneumoscope.io.results.classification import Evaluation
from pneumoscope.io.results.estimate import Estimate, require
from pneumoscope.io.results.metrics import Conformal, LabelShift, Reliability, Roc, SelectiveCurve

UNTOUCHED = "untouched"


@dataclass(frozen=True)
class EvaluatedImages:
    """The images that were read, one row each.

    Attributes:
        names: `(n,)` str, path below the collection's root.
        patients: `(n,)` str.
        labels: `(n,)` int, 0 = normal, 1 = pneumonia.
        subtypes: `(n,)` int, index into the three classes; -1 where unknown.
        probabilities: `(n, 3)` float64, calibrated, of rejected images too; rows sum to 1.
        decisions: `(n,)` str, `normal`, `pneumonia`, `uncertain` or `rejected`.
        reasons: `(n,)` str, why an image was rejected, is uncertain or differs from the training images; else empty.
        in_distribution: `(n,)` bool, whether the OOD detector accepts an image.
    """

    names: np.ndarray
    patients: np.ndarray
    labels: np.ndarray
    subtypes: np.ndarray
    probabilities: np.ndarray
    decisions: np.ndarray
    reasons: np.ndarray
    in_distribution: np.ndarray

    def __post_init__(self) -> None:
        for name, values in vars(self).items():
            expected = (len(self.names), 3) if name == "probabilities" else (len(self.names),)
            require(values.shape == expected, f"{name} are {values.shape}, expected {expected}")

    def __len__(self) -> int:
        return len(self.names)

    def select(self, rows: np.ndarray) -> EvaluatedImages:
        """Return some of the images, by a mask or by indices."""
        return EvaluatedImages(**{name: values[rows] for name, values in vars(self).items()})

    @property
    def with_subtypes(self) -> EvaluatedImages | None:
        """The images of known subtype; None where there is no such pneumonia."""
        return self.select(self.subtypes >= 0) if (self.subtypes > 0).any() else None

    @property
    def scores(self) -> np.ndarray:
        """`(n,)` float64 in [0, 1], probability of pneumonia."""
        return np.asarray(np.clip(1 - self.probabilities[:, 0], 0, 1))


@dataclass(frozen=True)
class Scope:
    """Metrics on some of the images.

    Attributes:
        num_images, num_patients: how many.
        ranking: `auroc`, `auprc` and `specificity_at_sensitivity` (at 97 %) of normal or pneumonia.
        points: by operating point `sensitivity`, `specificity`, `accuracy`.
        three_class: metrics of normal, bacterial or viral; None where subtypes are unknown.
    """

    num_images: int
    num_patients: int
    ranking: dict[str, Estimate]
    points: dict[str, dict[str, Estimate]]
    three_class: Evaluation | None


@dataclass(frozen=True)
class Rejections:
    """Images that were rejected or left uncertain.

    Attributes:
        rejected, unlike, uncertain: shares of the images, by class and for `all`: rejected; read, but unlike the
            training images; read, but uncertain.
        reasons: number of rejected images by reason.
        remarks: number of other images by remark; an image may have two.
        answers: of the images that were not rejected, the accuracy at the operating point of all (`all`), of the
            certain ones (`sure`), and of the uncertain ones had they been decided (`uncertain`).
    """

    rejected: dict[str, Estimate]
    unlike: dict[str, Estimate]
    uncertain: dict[str, Estimate]
    reasons: dict[str, int]
    remarks: dict[str, int]
    answers: dict[str, Estimate]


@dataclass(frozen=True)
class Subgroup:
    """Images with one value of a trait.

    Attributes:
        trait: such as `exposure`.
        name: its value.
        metrics: `sensitivity`, `specificity` and `accuracy` at the operating point, `auroc`, and `rejected`; a metric
            that lacks images is missing.
    """

    trait: str
    name: str
    num_images: int
    metrics: dict[str, Estimate]


@dataclass(frozen=True)
class ErrorRun:
    """Contiguous errors: images of one class, neighbors in the order of file names, most of them misclassified.

    Attributes:
        kind: the class.
        first, last: file names.
        num_images, num_wrong: of the class from the first to the last, and how many of them are misclassified.
        p_value: share of permutations of the patients with a run of as many misclassified patients.
    """

    kind: str
    first: str
    last: str
    num_images: int
    num_wrong: int
    p_value: float


@dataclass(frozen=True)
class Confounders:
    """Metrics of a classifier without the lungs, or on them alone.

    Metrics are `auroc` and `accuracy` of normal against pneumonia and, where subtypes are known,
    `three_class_accuracy`.

    Attributes:
        split: name of the split that all was measured on.
        threshold: of the classifier's accuracy, on the probability of pneumonia.
        metrics: the classifier's by what is shown: `untouched`, `borders_hidden`, `markers_hidden`, `lungs_only`,
            `lungs_hidden`, and `lung_area_hidden`: the same area in all images, where one in twenty shows lung, so that
            no outline is left.
        differences: the same less those on untouched images, in pairs.
        hidden: by the same names, mean share of the image that is hidden.
        pixel_baselines: metrics of logistic regressions on `exposure`, `histogram`, `borders` and, where files differ
            in size, `file_size`; empty without training images.
        series: by series of file names, `exposure` (mean gray level, 0 to 255), `contrast` (standard deviation),
            `markers` and `flagged` (shares of images with letters, and classified as pneumonia).
    """

    split: str
    threshold: float
    metrics: dict[str, dict[str, Estimate]]
    differences: dict[str, dict[str, Estimate]]
    hidden: dict[str, Estimate]
    pixel_baselines: dict[str, dict[str, Estimate]]
    series: dict[str, dict[str, Estimate]]

    def __post_init__(self) -> None:
        require(
            {*self.differences, UNTOUCHED} == {*self.hidden, UNTOUCHED} == set(self.metrics),
            f"metrics are of {sorted(self.metrics)}, differences of {sorted(self.differences)} and hidden of "
            f"{sorted(self.hidden)}; expected {UNTOUCHED} and the same others in all three",
        )


@dataclass(frozen=True)
class OODKind:
    """What becomes of one kind of input.

    Attributes:
        kind: its name.
        origin: `usual`, `learned` (the OOD detector was fitted on others of this kind), or `unseen` (it was not).
        flagged: share that is not accepted without a remark, rejected ones included.
        rejected: share that is rejected.
        reason: the most frequent reason; empty where there is none.
    """

    kind: str
    origin: str
    flagged: Estimate
    rejected: Estimate
    reason: str

    def __post_init__(self) -> None:
        too_many = f"{self.kind}: rejected {self.rejected} is more than flagged {self.flagged}"
        require(self.rejected.value <= self.flagged.value, too_many)


@dataclass(frozen=True)
class OODCheck:
    """What the OOD detector accepts.

    Attributes:
        split: of the images that the inputs are made from.
        kinds: unchanged images first.
    """

    split: str
    kinds: tuple[OODKind, ...]

    def __post_init__(self) -> None:
        require(bool(self.kinds) and self.kinds[0].origin == "usual", "expected unchanged images as the first kind")


@dataclass(frozen=True)
class CollectionEvaluation:
    """Metrics of a model set on a collection.

    Attributes:
        source: the folder or manifest.
        split: which of its splits; `all` for all images.
        model: identity of the models.
        operating_point: of the decisions and the subgroups.
        thresholds: probability of pneumonia, by operating point.
        images: the images that were read.
        unreadable, left_out: `{name, reason}` of each file that could not be read, or is of no known class.
        scopes: metrics on `all` images, on those `accepted` by the OOD detector, and on the certain ones (`sure`).
        roc: on all images; None where a class is missing.
        reliability: `pneumonia`, and `three_class` where subtypes are known.
        conformal: None where the models have no conformal sets.
        selective: `pneumonia`, and `three_class` where subtypes are known.
        rejections: rejected and uncertain images.
        subgroups: in reading order.
        error_runs: contiguous errors along the file names.
        confounders: metrics with parts of the images hidden; None where that was not measured.
        ood_check: what the OOD detector makes of invalid inputs; None where that was not measured.
        label_shift: None where there are fewer than 50 images.
        true_shares: by class, as labeled; empty where subtypes are unknown.
        corrected: whether the probabilities are corrected for label shift.
    """

    source: str
    split: str
    model: str
    operating_point: str
    thresholds: dict[str, float]
    images: EvaluatedImages
    unreadable: list[dict[str, str]]
    left_out: list[dict[str, str]]
    scopes: dict[str, Scope]
    roc: Roc | None
    reliability: dict[str, Reliability]
    conformal: Conformal | None
    selective: dict[str, SelectiveCurve]
    rejections: Rejections
    subgroups: list[Subgroup]
    error_runs: list[ErrorRun]
    confounders: Confounders | None
    ood_check: OODCheck | None
    label_shift: LabelShift | None
    true_shares: dict[str, float]
    corrected: bool

    def main_metrics(self) -> dict[str, Estimate]:
        """Return the most important metrics by name: on all images, at the operating point."""
        scope = self.scopes["all"]
        three_class = scope.three_class
        return {
            **scope.ranking,
            **scope.points[self.operating_point],
            **({} if three_class is None else {"three_class_accuracy": three_class.metrics["accuracy"]}),
            **{f"calibration_error_{kind}": curve.error for kind, curve in self.reliability.items()},
            "rejected": self.rejections.rejected["all"],
            "uncertain": self.rejections.uncertain["all"],
        }
