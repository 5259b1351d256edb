"""Results of an evaluation of models on a labeled collection."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pneumoscope.io.results.classification import Evaluation
from pneumoscope.io.results.estimate import Estimate, check_shapes
from pneumoscope.io.results.metrics import Conformal, LabelShift, Reliability, Roc, SelectiveCurve
from pneumoscope.labels import LabelSet

UNTOUCHED = "untouched"
CLASS_METRICS = ("auprc", "sensitivity", "specificity", "precision", "recall", "f1")


@dataclass(frozen=True)
class EvaluatedImages:
    """The evaluated images with their predictions.

    Attributes:
        names: `(n,)` str, paths relative to the root of the collection.
        patients: `(n,)` str.
        label_set: the classes of the models.
        labels: `(n,)` int, index of the class; -1 if only its group is known. Multi-label: `(n, classes)` int, 1 =
            present, 0 = absent, -1 = unknown.
        positive: `(n,)` int, 0 = negative class, 1 = any other class; all -1 if the set has no negative class or is
            multi-label.
        probabilities: `(n, classes)` float64, calibrated, also for rejected images.
        decisions: `(n,)` str, as in `Reading.decision`.
        reasons: `(n,)` str, why the image is rejected, flagged or uncertain; else empty.
        in_distribution: `(n,)` bool, whether the OOD detector accepts the image.
    """

    label_set: LabelSet
    names: np.ndarray
    patients: np.ndarray
    labels: np.ndarray
    positive: np.ndarray
    probabilities: np.ndarray
    decisions: np.ndarray
    reasons: np.ndarray
    in_distribution: np.ndarray

    def __post_init__(self) -> None:
        wide = {"probabilities", *(["labels"] if self.label_set.multi_label else [])}
        shape = (len(self.names), len(self.label_set.classes))
        check_shapes(self, **{name: shape if name in wide else shape[:1] for name in self._arrays()})

    def __len__(self) -> int:
        return len(self.names)

    def select(self, rows: np.ndarray) -> EvaluatedImages:
        """Return a subset of the images by mask or indices."""
        return EvaluatedImages(self.label_set, **{name: values[rows] for name, values in self._arrays().items()})

    def _arrays(self) -> dict[str, np.ndarray]:
        return {name: values for name, values in vars(self).items() if name != "label_set"}

    @property
    def with_classes(self) -> EvaluatedImages | None:
        """The images whose class is known. None if no class but the negative one is, or if the set is binary."""
        if self.label_set.multi_label:
            return self
        known, negative = self.labels >= 0, [self.label_set.negative]
        others = [number for number, name in enumerate(self.label_set.classes) if name not in negative]
        if self.label_set.positive and (self.label_set.task == "binary" or not np.isin(self.labels, others).any()):
            return None
        return self.select(known)

    @property
    def scores(self) -> np.ndarray:
        """`(n,)` float64 in [0, 1], probability of `label_set.positive`."""
        return np.asarray(np.clip(self.label_set.score_positive(self.probabilities), 0, 1))


@dataclass(frozen=True)
class Scope:
    """Metrics on a subset of the images.

    Attributes:
        num_images, num_patients: number of images and patients.
        ranking: `auroc`, `auprc` and `specificity_at_sensitivity` (at 97 %) of the positive class; empty without one.
        points: `sensitivity`, `specificity` and `accuracy` by operating point; empty without a positive class.
        classes: evaluation of all classes; None if it would repeat the above, or if classes are unknown.
    """

    num_images: int
    num_patients: int
    ranking: dict[str, Estimate]
    points: dict[str, dict[str, Estimate]]
    classes: Evaluation | None


@dataclass(frozen=True)
class Rejections:
    """Rejected, flagged and uncertain images.

    Attributes:
        rejected: share of images that the OOD detector rejects, by class and for `all`.
        flagged: share of images that the OOD detector flags but does not reject, by class and for `all`.
        uncertain: share of images with the decision `uncertain`, by class and for `all`.
        reasons: number of rejected images by reason.
        remarks: number of other images by reason; an image may have two reasons.
        accuracy: accuracy at the operating point without rejected images: on `all` of them, on those that are not
            uncertain (`certain`), and on the `uncertain` ones without abstention.
    """

    rejected: dict[str, Estimate]
    flagged: dict[str, Estimate]
    uncertain: dict[str, Estimate]
    reasons: dict[str, int]
    remarks: dict[str, int]
    accuracy: dict[str, Estimate]


@dataclass(frozen=True)
class Subgroup:
    """Metrics of a subgroup: the images with one value of a trait.

    Attributes:
        trait: name of the trait, such as `exposure`.
        name: value of the trait.
        num_images: number of images.
        metrics: `sensitivity`, `specificity` and `accuracy` at the operating point, `auroc`, and the share `rejected`.
            Without a positive class, averages over classes. Undefined metrics are omitted.
    """

    trait: str
    name: str
    num_images: int
    metrics: dict[str, Estimate]


@dataclass(frozen=True)
class Confounders:
    """Metrics of a classifier with parts of the images hidden, and of pixel baselines.

    The metrics are `auroc` and `accuracy` of the positive class and, if classes are known, `classes_accuracy`.

    Attributes:
        split: name of the split.
        threshold: threshold on the probability of the positive class, used for `accuracy`.
        metrics: metrics of the classifier by modification: `untouched`, `borders_hidden`, `markers_hidden`,
            `lungs_only`, `lungs_hidden` and `lung_area_hidden`. The last one hides the same region in all images: the
            pixels that show lung in 5 % of the images or more. It leaves no outline of the lungs.
        differences: paired differences from the metrics on untouched images, by modification.
        hidden: mean share of hidden pixels, by modification.
        pixel_baselines: metrics of logistic regressions on `exposure`, `histogram`, `borders` and, if image sizes
            differ, `file_size`; empty without training images.
    """

    split: str
    threshold: float
    metrics: dict[str, dict[str, Estimate]]
    differences: dict[str, dict[str, Estimate]]
    hidden: dict[str, Estimate]
    pixel_baselines: dict[str, dict[str, Estimate]]


@dataclass(frozen=True)
class OODKind:
    """The OOD detector's results on one type of input.

    Attributes:
        kind: name of the type.
        origin: `usual` for unchanged images, `learned` if the OOD detector learns this type, else `unseen`.
        flagged: share of inputs that are flagged or rejected.
        rejected: share of inputs that are rejected.
        reason: the most frequent reason; empty if all inputs are in distribution.
        auroc: of the OOD score, invalid inputs against unchanged images; None for unchanged images.
        false_positive_rate: share of unchanged images that are flagged where 95 % of the invalid inputs are; None for
            unchanged images.
    """

    kind: str
    origin: str
    flagged: Estimate
    rejected: Estimate
    reason: str
    auroc: Estimate | None = None
    false_positive_rate: Estimate | None = None


@dataclass(frozen=True)
class OODCheck:
    """The OOD detector's results on unchanged images and on invalid inputs.

    Attributes:
        split: split of the images from which the inputs are made.
        kinds: results by type of input, unchanged images first.
    """

    split: str
    kinds: tuple[OODKind, ...]


@dataclass(frozen=True)
class CollectionEvaluation:
    """Metrics of a model on a labeled collection. Parts that were not measured are None or empty, see `notes`.

    Attributes:
        source: folder or table of the collection.
        split: evaluated split; `all` for all images.
        model: identity of the model.
        operating_point: operating point of the decisions and the subgroups.
        thresholds: thresholds by operating point and name: of the positive class, or of each finding if multi-label.
        images: the evaluated images.
        unreadable: `{name, reason}` of each file that cannot be read or has no prediction.
        left_out: `{name, reason}` of each file without a class of the model, and of each prediction without an image.
        scopes: metrics on `all` images, on the images `accepted` by the OOD detector, and on the accepted images that
            are not uncertain (`certain`).
        roc: ROC curve on all images; None if a class is missing.
        reliability: `positive`, `classes` (the most probable one), or each finding if multi-label.
        conformal: conformal sets; None if the models have none.
        selective: `positive` and `classes`; empty if multi-label.
        rejections: rejected, flagged and uncertain images; None for other models than a reader.
        subgroups: metrics of subgroups, in display order.
        confounders: metrics with parts of the images hidden; None if not measured.
        ood_check: the OOD detector on invalid inputs; None if not measured.
        label_shift: estimated label shift; None for fewer than 50 images.
        true_shares: class shares of the labels; empty if classes are unknown or multi-label.
        corrected: whether the probabilities are corrected for label shift.
        seen_in_training: names of the images that were in the training data of the model; None if the model does not
            list its training images.
        notes: for each part that was not measured, the reason in one sentence.
    """

    source: str
    split: str
    model: str
    operating_point: str
    thresholds: dict[str, dict[str, float]]
    images: EvaluatedImages
    unreadable: list[dict[str, str]]
    left_out: list[dict[str, str]]
    scopes: dict[str, Scope]
    roc: Roc | None
    reliability: dict[str, Reliability]
    conformal: Conformal | None
    selective: dict[str, SelectiveCurve]
    rejections: Rejections | None
    subgroups: list[Subgroup]
    confounders: Confounders | None
    ood_check: OODCheck | None
    label_shift: LabelShift | None
    true_shares: dict[str, float]
    corrected: bool
    seen_in_training: list[str] | None
    notes: dict[str, str]

    def main_metrics(self) -> dict[str, Estimate]:
        """Return the main metrics: on all images, at the operating point; of single findings the AUROC only."""
        scope, label_set = self.scopes["all"], self.images.label_set
        classes = {} if scope.classes is None else scope.classes.metrics
        if label_set.positive:
            classes = {"classes_accuracy": classes["accuracy"]} if classes else {}
        of_class = {f"{kind}_{name}" for kind in CLASS_METRICS for name in label_set.classes}
        shares = self.rejections and {name: getattr(self.rejections, name)["all"] for name in ("rejected", "uncertain")}
        curves = {} if label_set.multi_label else self.reliability
        return {
            **scope.ranking,
            **scope.points.get(self.operating_point, {}),
            **{name: estimate for name, estimate in classes.items() if name not in of_class},
            **{f"calibration_error_{task}": curve.error for task, curve in curves.items()},
            **(shares or {}),
        }
