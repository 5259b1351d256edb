"""Evaluation of anomaly detectors: thresholds from held-out normals, metrics on test."""

from collections.abc import Callable

import numpy as np

from pneumoscope.anomaly.detector import Detector, select_normals
from pneumoscope.classification.classifier import hash_table
from pneumoscope.data.dataset import Dataset
from pneumoscope.data.examples import label_positive, simplify_labels, take_turns
from pneumoscope.errors import TrainingError
from pneumoscope.io.results import AnomalyResult, LearningCurve, Metrics
from pneumoscope.metrics.classification import evaluate_scores
from pneumoscope.models.card import TrainingRecord
from pneumoscope.models.settings import TrainingSettings

NUM_EXAMPLES = 6
FALSE_POSITIVE_RATE = 0.05


def choose_threshold(validation_scores: np.ndarray, false_positive_rate: float) -> float:
    """Return the lowest threshold for a maximum false positive rate on new normals.

    An image is anomalous when `score >= threshold`. The rate holds in expectation if validation normals and new normals
    are exchangeable (split conformal prediction: V. Vovk, A. Gammerman and G. Shafer, 2005).

    Args:
        validation_scores: `(m,)` floats, anomaly scores of held-out normals.
        false_positive_rate: maximum false positive rate, in (0, 1).

    Raises:
        ValueError: if there are no scores, a score is not finite, or the rate is out of range.

    Example:
        >>> round(choose_threshold(np.arange(1.0, 20.0), 0.1), 3)
        18.0
    """
    scores = np.sort(np.asarray(validation_scores, dtype=np.float64))
    if not scores.size or not np.isfinite(scores).all() or not 0 < false_positive_rate < 1:
        raise ValueError(
            f"{scores.size} scores with a rate of {false_positive_rate}; "
            "expected one or more finite scores and a rate in (0, 1)"
        )
    num_flagged = int(np.floor(false_positive_rate * (len(scores) + 1)))
    if num_flagged:
        return float(scores[-num_flagged])
    # Scores are float32: the next float64 would round back to the score itself.
    return float(np.nextafter(np.float32(scores[-1]), np.float32(np.inf)))


def evaluate_detector(
    detector: Detector,
    dataset: Dataset,
    *,
    curve: LearningCurve | None = None,
    parameters: int = 0,
    reconstruct: Callable[[np.ndarray], np.ndarray] | None = None,
    false_positive_rate: float = FALSE_POSITIVE_RATE,
    seed: int = 0,
) -> AnomalyResult:
    """Return scores, thresholds and test metrics of a fitted detector.

    The threshold is the quantile of `choose_threshold` on the normals of `val`. Images of other classes are used only
    for test metrics; images of unknown class are left out. The metrics include those of `measure_reference_rules`.

    Args:
        detector: fitted on the normals of `train`.
        dataset: with the splits `train`, `val` and `test`.
        curve: learning curve of the detector's network, if any.
        parameters: number of parameters of the network.
        reconstruct: maps `(n, H, W)` uint8 images to reconstructions, `(n, H, W)` float32 in [0, 1], if supported.
        false_positive_rate: of the quantile threshold, in (0, 1).
        seed: of the examples and the bootstrap.

    Raises:
        LabelError: if the dataset has no negative class.
        TrainingError: if there are no held-out normals, or no labeled test images.
    """
    validation_scores = detector.score(select_normals(dataset).held_out.images)
    thresholds = {"quantile": choose_threshold(validation_scores, false_positive_rate)}
    test, examples = dataset.split("test"), choose_examples(dataset, seed)
    test = test.select(label_positive(test) >= 0)
    if not len(test):
        raise TrainingError("the dataset has 0 labeled test images, expected 1 or more to evaluate a detector")
    scores, labels, images = detector.score(test.images), label_positive(test), dataset.images[examples]
    metrics = evaluate_scores(labels, scores, thresholds, patients=test.patients, seed=seed)
    return AnomalyResult(
        parameters=parameters,
        curve=curve,
        thresholds=thresholds,
        false_positive_rate=false_positive_rate,
        validation_scores=validation_scores,
        scores=scores,
        labels=labels,
        classes=_name_classes(test),
        metrics=metrics | measure_reference_rules(labels, scores, patients=test.patients, seed=seed),
        images=images.astype(np.float32) / 255,
        reconstructions=None if reconstruct is None else reconstruct(images),
        anomaly_maps=detector.anomaly_maps(images),
        examples=examples,
    )


def measure_reference_rules(labels: np.ndarray, scores: np.ndarray, *, patients: np.ndarray, seed: int = 0) -> Metrics:
    """Return the metrics of both readings of the rule of the reference study.

    The reference study flags an image "if its error exceeds one standard deviation from the mean" of the test normals.
    `one_sided` is `score > mean + sd`, `two_sided` is `abs(score - mean) > sd`. Mean and standard deviation come from
    the test images themselves, so these metrics are comparable with the reference study and with nothing else. Their
    intervals treat both as known.

    Args:
        labels: `(n,)` ints of the test images, 0 = normal.
        scores: `(n,)` floats, anomaly scores of the test images.
        patients: `(n,)` str, the unit of the bootstrap.
        seed: of the bootstrap.

    Returns:
        `accuracy_RULE`, `f1_RULE`, `false_positive_rate_RULE` and `sensitivity_RULE`; empty without test normals.
    """
    if not (labels == 0).any():
        return {}
    normals = np.asarray(scores, dtype=np.float64)[labels == 0]
    offsets, above = scores - normals.mean(), float(np.nextafter(normals.std(), np.inf))
    metrics: Metrics = {}
    for rule, values in (("one_sided", offsets), ("two_sided", np.abs(offsets))):
        measured = evaluate_scores(labels, values, {rule: above}, patients=patients, seed=seed)
        metrics |= {name: one for name, one in measured.items() if name.endswith(rule)}
    return metrics


def choose_examples(dataset: Dataset, seed: int) -> np.ndarray:
    """Return indices of random test images, alternating between normals and others."""
    rng = np.random.default_rng(seed)
    test, labels = dataset.rows("test"), label_positive(dataset)
    return take_turns([rng.permutation(test[labels[test] == number])[: NUM_EXAMPLES // 2] for number in (0, 1)])


def _name_classes(dataset: Dataset) -> np.ndarray:
    """Return `(n,)` str, the class or group of each image; multi-label: see `simplify_labels`."""
    if not dataset.label_set.multi_label:
        return dataset.table["label"].to_numpy().astype(str)
    labels, names = simplify_labels(dataset.labels(), dataset.label_set)
    return np.array(names)[labels]


def describe_training(
    result: AnomalyResult, dataset: Dataset, settings: TrainingSettings | None, *, precision: str, seed: int
) -> TrainingRecord:
    """Return the training record of a detector with its thresholds, for its card; without settings if not trained."""
    return TrainingRecord(
        label_set=None,
        settings=settings and settings.without_paths(),
        precision=precision,
        seed=seed,
        chosen_epoch=None if result.curve is None else result.curve.chosen_epoch,
        thresholds=result.thresholds,
        thresholds_from=f"{len(result.validation_scores)} held-out normals; "
        f"false positive rate of the quantile {result.false_positive_rate}",
        training_data_sha256=hash_table(select_normals(dataset).train),
    )
