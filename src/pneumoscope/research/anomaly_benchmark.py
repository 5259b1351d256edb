"""Benchmark of all anomaly detectors on one dataset.

Metrics of the table:

    auroc, auprc                    other classes against normal, test
    accuracy, f1, false_positive_rate, sensitivity, sensitivity_CLASS
                                    test, at the quantile threshold of held-out normals
    seconds_per_image               scoring time
"""

import time
from pathlib import Path

from pneumoscope.anomaly.detector import Detector, FitContext, select_normals
from pneumoscope.anomaly.evaluation import evaluate_detector
from pneumoscope.anomaly.registry import DETECTORS
from pneumoscope.data.dataset import Dataset
from pneumoscope.data.examples import label_positive
from pneumoscope.errors import TrainingError
from pneumoscope.io.results import MethodTable, Metrics, without_interval
from pneumoscope.metrics.classification import estimate_share
from pneumoscope.progress import log


def benchmark_anomaly(dataset: Dataset, out_dir: Path, *, epochs: int | None = None, seed: int = 0) -> MethodTable:
    """Fit detectors on the normals of train and return their metrics; see the module docstring.

    A detector that fails has no metrics; its remark states the error.

    Args:
        dataset: with the splits `train`, `val` and `test`.
        out_dir: folder for checkpoints; interrupted training resumes from it.
        epochs: number of epochs of the autoencoder; None for its default.
        seed: of the fits and of the evaluation.

    Raises:
        LabelError: if the dataset has no negative class.
        TrainingError: if train or validation has no normals.
    """
    context = FitContext(select_normals(dataset), out_dir, epochs, seed)
    metrics: dict[str, Metrics] = {}
    remarks: dict[str, str] = {}
    for name, fit in DETECTORS.items():
        log.info("fitting %s", name)
        try:
            metrics[name] = _measure(fit(context), dataset, seed)
        except TrainingError as error:
            log.warning("%s failed: %s", name, error)
            metrics[name], remarks[name] = {}, f"Failed: {error}"
    return MethodTable(metrics, remarks)


def _measure(detector: Detector, dataset: Dataset, seed: int) -> Metrics:
    result = evaluate_detector(detector, dataset, seed=seed)
    test = dataset.split("test")
    test = test.select(label_positive(test) >= 0)
    metrics = {
        name.removesuffix("_quantile"): estimate
        for name, estimate in result.metrics.items()
        if not name.endswith(("_one_sided", "_two_sided"))
    }
    flagged = result.scores >= result.thresholds["quantile"]
    for name in sorted(set(result.classes[result.labels == 1])):
        rows = result.classes == name
        metrics[f"sensitivity_{name}"] = estimate_share(flagged[rows], test.patients[rows], seed=seed)
    started = time.perf_counter()
    detector.score(test.images)
    seconds = (time.perf_counter() - started) / len(test)
    return {**metrics, "seconds_per_image": without_interval(seconds, len(test))}
