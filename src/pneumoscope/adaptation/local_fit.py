"""Calibration, thresholds and last layer fitted on the images of another hospital, and their cross-validation.

The classes of the model are fitted if the labels name them. If the labels only say negative or positive, the classes
form two groups: all positive classes share one offset and one change of the last layer, so that the odds between them
depend on the scale alone.

The last layer is a logistic regression on the embedding that is shrunk towards the old layer: the L2 penalty is on the
difference from it. Its strength is chosen by cross-validation grouped by patient, where an unchanged layer is one of
the choices. Calibration and thresholds are then fitted on held-out predictions.
"""

import warnings
from dataclasses import dataclass, replace

import numpy as np

from pneumoscope.io.results import Estimate
from pneumoscope.labels import LabelSet
from pneumoscope.metrics.calibration import MARGIN, calibrate, fit_calibration, fit_scores, weigh_groups
from pneumoscope.metrics.intervals import estimate
from pneumoscope.metrics.operating_points import choose_operating_points
from pneumoscope.metrics.reliability import NUM_BINS
from pneumoscope.metrics.weighted import weigh_rankings

NUM_FOLDS = 5
# L2 penalties of the difference from the old last layer, for embeddings of mean squared length 1.
STRENGTHS = (np.inf, 0.1, 0.03, 0.01, 0.003, 0.001, 0.0003)


@dataclass(frozen=True)
class LocalImages:
    """Labeled images with the outputs of the model that is adapted.

    Attributes:
        label_set: the classes of the model, with a negative class.
        probabilities: `(n, classes)` float64, calibrated probabilities of the model.
        embeddings: `(n, d)` float64.
        members: `(groups, classes)` float64, 1 if the class is in the group: one group per class, or the negative class
            and all others.
        labels: `(n,)` ints, index of the group.
        patients: `(n,)` str.
        sides: calibrated probabilities and embeddings of the images and of their mirror images, if the model averages
            their probabilities and its last layer is adapted.
    """

    label_set: LabelSet
    probabilities: np.ndarray
    embeddings: np.ndarray
    members: np.ndarray
    labels: np.ndarray
    patients: np.ndarray
    sides: tuple[tuple[np.ndarray, np.ndarray], ...] = ()

    @property
    def scores(self) -> np.ndarray:
        """`(n, classes)` float64, log probabilities of the model, without the mirror images."""
        probabilities = self.sides[0][0] if self.sides else self.probabilities
        return np.asarray(np.log(np.maximum(probabilities, MARGIN)))

    @property
    def positive(self) -> np.ndarray:
        """`(n,)` bool, whether the image is of another class than the negative one."""
        negative = self.label_set.classes.index(str(self.label_set.negative))
        return np.asarray(self.members[self.labels, negative] == 0)

    def weigh(self, weights: np.ndarray) -> np.ndarray:
        """Return `(..., n)` weights at the class frequencies that calibrated probabilities assume."""
        return weigh_groups(self.labels, self.members, weights, self.label_set.prior)

    def select(self, rows: np.ndarray) -> "LocalImages":
        """Return a subset of the images by mask or indices."""
        names = ("probabilities", "embeddings", "labels", "patients")
        sides = tuple((probabilities[rows], embeddings[rows]) for probabilities, embeddings in self.sides)
        return replace(self, sides=sides, **{name: getattr(self, name)[rows] for name in names})


@dataclass(frozen=True)
class LastLayer:
    """A change of the last layer: the new logits are `scale * scores + offsets + embeddings @ kernel`.

    Attributes:
        scale: factor of the old logits.
        offsets: `(classes,)` float64.
        kernel: `(d, classes)` float64, zero for an unchanged direction.
        strength: the chosen L2 penalty; infinite for an unchanged direction.
    """

    scale: float
    offsets: np.ndarray
    kernel: np.ndarray
    strength: float

    def predict(self, images: LocalImages) -> np.ndarray:
        """Return `(n, classes)` probabilities."""
        from scipy.special import softmax

        sides = images.sides or ((images.probabilities, images.embeddings),)
        scores = [np.log(np.maximum(probabilities, MARGIN)) for probabilities, _ in sides]
        logits = [
            self.scale * one + self.offsets + embeddings @ self.kernel
            for one, (_, embeddings) in zip(scores, sides, strict=True)
        ]
        return np.asarray(softmax(logits, axis=-1).mean(axis=0))


@dataclass(frozen=True)
class LocalFit:
    """What was fitted on local images.

    Attributes:
        layer: the change of the last layer; None without one.
        calibration: `(1 + m, 1 + classes)` float64, see `fit_calibration`; of the outputs of the changed layer, or else
            of the calibrated probabilities of the model.
        thresholds: operating points on the probability of the positive class.
        held_out: `(n, classes)` float64, the calibrated probabilities that the thresholds were chosen on.
    """

    layer: LastLayer | None
    calibration: np.ndarray
    thresholds: dict[str, float]
    held_out: np.ndarray

    def predict(self, images: LocalImages) -> np.ndarray:
        """Return `(n, classes)` calibrated probabilities."""
        outputs = self.layer.predict(images) if self.layer else images.probabilities
        return np.asarray(calibrate(np.maximum(outputs, MARGIN), self.calibration[:1])[0])


def fit_locally(images: LocalImages, *, last_layer: bool, seed: int = 0, num_resamples: int = 100) -> LocalFit:
    """Fit calibration and thresholds, and the last layer if requested.

    Args:
        images: images of both groups or of all classes.
        last_layer: whether to change the last layer.
        seed: of the folds and of the bootstrap.
        num_resamples: number of bootstrap resamples of the calibration.
    """
    layer, outputs = _fit_last_layer(images, seed) if last_layer else (None, images.probabilities)
    outputs = np.maximum(outputs, MARGIN)
    options = {"seed": seed, "num_resamples": num_resamples, "prior": images.label_set.prior, "members": images.members}
    calibration = fit_calibration(outputs, images.labels, images.patients, **options)  # type: ignore[arg-type]
    held_out = calibrate(outputs, calibration[:1])[0]
    thresholds = choose_operating_points(images.positive.astype(int), images.label_set.score_positive(held_out))
    return LocalFit(layer, calibration, thresholds, held_out)


def _fit_last_layer(images: LocalImages, seed: int) -> tuple[LastLayer, np.ndarray]:
    """Return the last layer and its `(n, classes)` held-out probabilities by cross-validation."""
    from threadpoolctl import threadpool_limits

    folds = split_patients(images, seed)
    held_out = {strength: np.empty_like(images.probabilities) for strength in STRENGTHS}
    with threadpool_limits(1, "blas"):
        for fold in np.unique(folds):
            training, rest = images.select(folds != fold), images.select(folds == fold)
            for strength, outputs in held_out.items():
                outputs[folds == fold] = _fit_layer(training, strength).predict(rest)
        shares = images.weigh(np.ones(len(images.labels)))
        of_group = {
            strength: (outputs * images.members[images.labels]).sum(axis=1) for strength, outputs in held_out.items()
        }
        best = min(STRENGTHS, key=lambda strength: -shares @ np.log(np.maximum(of_group[strength], MARGIN)))
        return _fit_layer(images, best), held_out[best]


def _fit_layer(images: LocalImages, strength: float) -> LastLayer:
    shares = images.weigh(np.ones(len(images.labels)))
    center = images.embeddings.mean(axis=0)
    features = images.embeddings - center
    length = np.sqrt(np.square(features).sum(axis=1).mean()) or 1.0
    inputs = features / length if np.isfinite(strength) else features[:, :0]
    fit = fit_scores(images.scores, images.labels, shares, images.members, features=inputs, strength=strength)
    count = len(images.members)
    kernel = np.zeros((images.embeddings.shape[1], images.members.shape[1]))
    if np.isfinite(strength):
        kernel = fit[1 + count :].reshape(-1, count) @ images.members / length
    return LastLayer(float(fit[0]), fit[1 : 1 + count] @ images.members - center @ kernel, kernel, strength)


def split_patients(images: LocalImages, seed: int) -> np.ndarray:
    """Return `(n,)` int, the fold of each image, grouped by patient and stratified by label.

    There are as many folds as patients of the rarest label, but at most `NUM_FOLDS`.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    labels = images.labels
    fewest = min(len(set(images.patients[labels == label])) for label in np.unique(labels))
    splitter = StratifiedGroupKFold(max(2, min(NUM_FOLDS, fewest)), shuffle=True, random_state=seed)
    folds = np.empty(len(labels), dtype=np.int64)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        for number, (_, rows) in enumerate(splitter.split(labels, labels, images.patients)):
            folds[rows] = number
    return folds


def cross_validate_fit(
    images: LocalImages, threshold: float, *, last_layer: bool, seed: int = 0
) -> dict[str, dict[str, Estimate]]:
    """Return `compare_metrics` of a model with a threshold and of fits on the images of other patients.

    A fold keeps the model as it is if the images outside of it lack a label.
    """
    folds = split_patients(images, seed)
    probabilities, thresholds = images.probabilities.copy(), np.full(len(images.labels), threshold)
    for fold in np.unique(folds):
        training, rows = images.select(folds != fold), folds == fold
        if len(set(training.labels.tolist())) == len(images.members):
            fit = fit_locally(training, last_layer=last_layer, seed=seed, num_resamples=0)
            probabilities[rows] = fit.predict(images.select(rows))
            thresholds[rows] = fit.thresholds["balanced"]
    before = (images.probabilities, np.full(len(images.labels), threshold))
    return compare_metrics(images, before, (probabilities, thresholds), folds, seed=seed)


def compare_metrics(
    images: LocalImages,
    before: tuple[np.ndarray, np.ndarray],
    after: tuple[np.ndarray, np.ndarray],
    folds: np.ndarray,
    *,
    seed: int = 0,
) -> dict[str, dict[str, Estimate]]:
    """Return metrics of the positive class before and after an adaptation, with their paired difference.

    Args:
        images: the images.
        before, after: `(n, classes)` probabilities and `(n,)` thresholds of the positive class.
        folds: `(n,)` int; the AUROC compares images of one fold, because other folds have other fits.
        seed: of the bootstrap over patients.

    Returns:
        For `before`, `after` and `difference`: `auroc`, `accuracy`, `balanced_accuracy`, `sensitivity`, `specificity`,
        and `calibration_error`, the expected calibration error at the class frequencies that calibrated
        probabilities assume.
    """
    positive = images.positive
    sides = {}
    for side, (probabilities, thresholds) in (("before", before), ("after", after)):
        scores = np.clip(images.label_set.score_positive(probabilities), 0, 1)
        sides[side] = (scores, scores >= thresholds)

    def compute(weights: np.ndarray) -> dict[str, np.ndarray]:
        shares = images.weigh(weights)
        metrics = {}
        for side, (scores, flags) in sides.items():
            with np.errstate(invalid="ignore"):
                sensitivity = weights @ (flags & positive) / (weights @ positive)
                specificity = weights @ (~flags & ~positive) / (weights @ ~positive)
                accuracy = weights @ (flags == positive) / weights.sum(axis=1)
            metrics[f"{side} auroc"] = _weigh_auroc(positive, scores, folds, weights)
            metrics[f"{side} accuracy"] = accuracy
            metrics[f"{side} balanced_accuracy"] = (sensitivity + specificity) / 2
            metrics[f"{side} sensitivity"], metrics[f"{side} specificity"] = sensitivity, specificity
            bins = np.eye(NUM_BINS)[np.clip(np.ceil(scores * NUM_BINS).astype(int) - 1, 0, NUM_BINS - 1)]
            gaps = shares @ (bins * (positive - scores)[:, None])
            metrics[f"{side} calibration_error"] = np.abs(gaps).sum(axis=1)
        names = [name.removeprefix("after ") for name in metrics if name.startswith("after ")]
        return metrics | {f"difference {name}": metrics[f"after {name}"] - metrics[f"before {name}"] for name in names}

    sides_of: dict[str, dict[str, Estimate]] = {}
    for key, value in estimate(compute, images.patients, seed=seed).items():
        side, name = key.split(" ")
        sides_of.setdefault(side, {})[name] = value
    return sides_of


def _weigh_auroc(positive: np.ndarray, scores: np.ndarray, folds: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return `(r,)` float64, the AUROC of the pairs of images inside a fold, for each row of `(r, n)` weights."""
    areas, pairs = [], []
    for rows in (folds == fold for fold in np.unique(folds)):
        part = weights[:, rows]
        pairs.append((part @ positive[rows]) * (part @ ~positive[rows]))
        areas.append(np.nan_to_num(weigh_rankings([(positive[rows], scores[rows])], part)["auroc"]))
    with np.errstate(invalid="ignore"):
        return np.asarray((np.array(areas) * pairs).sum(axis=0) / np.sum(pairs, axis=0))
