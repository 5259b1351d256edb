"""Results of an evaluation of models on a labelled collection."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pneumoscope.io.results.classification import Evaluation
from pneumoscope.io.results.confounders import Confounders
from pneumoscope.io.results.estimate import Estimate, require
from pneumoscope.io.results.metrics import Conformal, LabelShift, Reliability, Roc, SelectiveCurve
from pneumoscope.io.results.ood import OODCheck


@dataclass(frozen=True)
class EvaluatedImages:
    """The images that were read, one row each.

    Attributes:
        names: `(n,)` str, path below the collection's root.
        patients: `(n,)` str.
        labels: `(n,)` int, 0 = normal, 1 = pneumonia.
        subtypes: `(n,)` int, index into the three classes; -1 where not known.
        probabilities: `(n, 3)` float64, calibrated, of refused images too; rows sum to 1.
        decisions: `(n,)` str, `normal`, `pneumonia`, `not sure` or `refused`.
        reasons: `(n,)` str, what the reader remarked: why an image was refused, is not sure or looks unlike the
            training images; empty where there was nothing to say.
        in_domain: `(n,)` bool, whether an image looks like the training images.
    """

    names: np.ndarray
    patients: np.ndarray
    labels: np.ndarray
    subtypes: np.ndarray
    probabilities: np.ndarray
    decisions: np.ndarray
    reasons: np.ndarray
    in_domain: np.ndarray

    def __post_init__(self) -> None:
        for name, values in vars(self).items():
            expected = (len(self.names), 3) if name == "probabilities" else (len(self.names),)
            require(values.shape == expected, f"{name} are {values.shape}, expected {expected}")


@dataclass(frozen=True)
class Scope:
    """Figures on some of the images.

    Attributes:
        num_images, num_patients: how many.
        ranking: `auroc`, `auprc` and `specificity_at_sensitivity` (at 97 %) of normal or pneumonia.
        points: by operating point `sensitivity`, `specificity`, `accuracy`, `balanced_accuracy`.
        three_class: figures of normal, bacterial or viral; None where sub-types are not known.
    """

    num_images: int
    num_patients: int
    ranking: dict[str, Estimate]
    points: dict[str, dict[str, Estimate]]
    three_class: Evaluation | None


@dataclass(frozen=True)
class Rejections:
    """What the reader would not answer, or not for sure.

    Attributes:
        refused, unlike, not_sure: shares of the images, by class and for `all`: turned away; read though they look
            unlike the training images; read, but not for sure.
        refusals: number of refused images by reason.
        remarks: number of other images by what was remarked of them; an image may carry two.
        answers: of the images that were not refused, the accuracy of all had they all been answered at the operating
            point (`all`), of those answered for sure (`sure`), and of those held back as not sure (`not_sure`).
    """

    refused: dict[str, Estimate]
    unlike: dict[str, Estimate]
    not_sure: dict[str, Estimate]
    refusals: dict[str, int]
    remarks: dict[str, int]
    answers: dict[str, Estimate]


@dataclass(frozen=True)
class Subgroup:
    """Some of the images, by one trait.

    Attributes:
        trait: what they are told by, such as `exposure`.
        name: which of its values.
        figures: `sensitivity`, `specificity` and `accuracy` at the operating point, `auroc`, and `refused`; a figure
            that lacks images is missing.
    """

    trait: str
    name: str
    num_images: int
    figures: dict[str, Estimate]


@dataclass(frozen=True)
class ErrorRun:
    """Images of one class that stand together along the file names and are misread.

    Attributes:
        kind: the class.
        first, last: file names.
        num_images, num_wrong: of the class from the first to the last, and how many of them are misread.
        p_value: share of shufflings of the patients in which a stretch holds as many misread patients.
    """

    kind: str
    first: str
    last: str
    num_images: int
    num_wrong: int
    p_value: float


@dataclass(frozen=True)
class CollectionEvaluation:
    """What a model set is worth on a collection.

    Attributes:
        source: the folder or manifest.
        split: which of its splits; `all` for all images.
        model: identity of the models.
        operating_point: at which the reader decided and subgroups are measured.
        thresholds: probability of pneumonia, by operating point.
        images: what was read.
        unreadable, left_out: `{name, reason}` of each file that could not be read, or is of no class that is known.
        scopes: figures on `all` images, on those `accepted` by the gate, and on those answered for `sure`.
        roc: on all images; None where a class is missing.
        reliability: `pneumonia`, and `three_class` where sub-types are known.
        conformal: None where the models promise none.
        selective: `pneumonia`, and `three_class` where sub-types are known.
        gate: refusals and doubts.
        subgroups: in reading order.
        error_runs: errors that stand together along the file names.
        shortcuts: what is told with parts of the films hidden; None where that was not measured.
        ood_check: what the gate makes of wrong inputs; None where that was not measured.
        label_shift: None where there are fewer than 50 images.
        true_shares: by class, as labelled; empty where sub-types are not known.
        corrected: whether the figures are those of the probabilities that take the prior shift into account.
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
    gate: Rejections
    subgroups: list[Subgroup]
    error_runs: list[ErrorRun]
    shortcuts: Confounders | None
    ood_check: OODCheck | None
    label_shift: LabelShift | None
    true_shares: dict[str, float]
    corrected: bool

    def head_figures(self) -> dict[str, Estimate]:
        """Return the figures to look at first, by name: on all images, at the operating point."""
        scope = self.scopes["all"]
        told = {} if scope.three_class is None else {"three_class_accuracy": scope.three_class.metrics["accuracy"]}
        return {
            **scope.ranking,
            **scope.points[self.operating_point],
            **told,
            **{f"calibration_error_{kind}": found.error for kind, found in self.reliability.items()},
            "refused": self.gate.refused["all"],
            "not_sure": self.gate.not_sure["all"],
        }
