"""What a model of normals that a study keeps comes to, and what its card says of that."""

from collections.abc import Callable
from typing import Any

import numpy as np

from pneumoscope.evaluation.metrics import evaluate_scores
from pneumoscope.models.settings import TrainingSettings
from pneumoscope.radiographs.dataset import Dataset
from pneumoscope.results import BINARY_CLASSES, Anomaly, LearningCurve
from pneumoscope.tasks.anomaly.detector import Detector
from pneumoscope.tasks.anomaly.evaluation import choose_examples, choose_threshold, select_normals
from pneumoscope.tasks.classify import hash_table


def measure_anomaly(
    detector: Detector,
    dataset: Dataset,
    curve: LearningCurve,
    *,
    parameters: int,
    redraw: Callable[[np.ndarray], np.ndarray] | None = None,
    false_alarm_rate: float = 0.05,
    seed: int = 0,
) -> Anomaly:
    """Return what a trained model of normals flags.

    An image is flagged when its score is at or over a threshold. Both thresholds come from the held-out normals of
    `val`: the report's mean + 1 standard deviation, and the one that promises `false_alarm_rate`. No pneumonia is seen
    before the test.

    Args:
        detector: the model, trained on the normals of `train`.
        dataset: with the splits `train`, `val` and `test`.
        curve: its training.
        parameters: of its net.
        redraw: `(n, H, W)` uint8 images to what the model makes of them, `(n, H, W)` float32 in [0, 1]; None for a
            model that draws nothing.
        false_alarm_rate: share of normals that the second threshold may flag, in (0, 1).
        seed: of the examples and the resampling.
    """
    held_out = detector.score(select_normals(dataset).held_out.images)
    thresholds = {
        "mean_plus_sd": float(held_out.mean() + held_out.std()),
        "quantile": choose_threshold(held_out, false_alarm_rate),
    }
    test, examples = dataset.split("test"), choose_examples(dataset, seed)
    scores, labels, shown = detector.score(test.images), test.labels(BINARY_CLASSES), dataset.images[examples]
    return Anomaly(
        parameters=parameters,
        curve=curve,
        thresholds=thresholds,
        false_alarm_rate=false_alarm_rate,
        validation_errors=held_out,
        errors=scores,
        labels=labels,
        subtypes=test.table["subtype"].to_numpy().astype(str),
        metrics=evaluate_scores(labels, scores, thresholds, patients=test.table["patient"].to_numpy(), seed=seed),
        images=shown.astype(np.float32) / 255,
        reconstructions=None if redraw is None else redraw(shown),
        error_maps=detector.localize(shown),
        examples=examples,
    )


def describe_training(
    anomaly: Anomaly, dataset: Dataset, settings: TrainingSettings, *, precision: str, seed: int
) -> dict[str, Any]:
    """Return what the card of a model of normals tells of its training and of its thresholds.

    Args:
        anomaly: what it came to.
        dataset: that it was trained on.
        settings: the recipe.
        precision: Keras dtype policy that it computes in.
        seed: of its weights.
    """
    count, rate = len(anomaly.validation_errors), anomaly.false_alarm_rate
    return {
        "classes": ["normal"],
        "settings": settings.to_dict(),
        "precision": precision,
        "seed": seed,
        "chosen_epoch": anomaly.curve.chosen_epoch,
        "thresholds": anomaly.thresholds,
        "thresholds_from": f"{count} held-out normals; false-alarm rate of the quantile {rate}",
        "training_data_sha256": hash_table(select_normals(dataset).train),
    }
