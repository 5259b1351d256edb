"""Benchmark of all anomaly detectors on one dataset.

Metrics of the table:

    auroc, auprc                    other classes against normal, test
    accuracy, f1, false_positive_rate, sensitivity, sensitivity_CLASS
                                    test, at the quantile threshold of held-out normals
    auroc_synthetic                 held-out normals against copies with synthetic opacities
    pixel_auroc_synthetic, pro_synthetic
                                    localization of synthetic opacities
    pixel_auroc, pro                localization of lesions, if the dataset has masks (phantoms)
    seconds_per_image               scoring time
    auroc_mean, auroc_sd            over seeds, if there is more than one

`auroc_synthetic` uses normals only and is therefore suitable for model selection.
"""

import time
from pathlib import Path

import numpy as np

from pneumoscope.anomaly.detector import Detector, FitContext, select_normals
from pneumoscope.anomaly.evaluation import evaluate_detector
from pneumoscope.anomaly.registry import DETECTORS, IMAGENET_SUFFIX
from pneumoscope.data.dataset import Dataset
from pneumoscope.data.examples import label_positive
from pneumoscope.errors import TrainingError
from pneumoscope.io.results import AnomalyResult, MethodTable, Metrics, summarize_seeds, without_interval
from pneumoscope.metrics.classification import estimate_binary_scores, estimate_share
from pneumoscope.metrics.localization import evaluate_maps
from pneumoscope.phantoms.lungs import find_lungs
from pneumoscope.phantoms.synthetic_anomalies import SyntheticAnomalies, add_anomalies
from pneumoscope.progress import log

NUM_MAPPED = 96  # maximum number of images for localization, because anomaly maps are slow with some detectors


def benchmark_anomaly(
    dataset: Dataset,
    out_dir: Path,
    *,
    weights: Path | None = None,
    epochs: int | None = None,
    num_seeds: int = 1,
    seed: int = 0,
) -> MethodTable:
    """Fit detectors on the normals of train and return their metrics; see the module docstring.

    A detector that fails has no metrics; its remark states the error.

    Args:
        dataset: with the splits `train`, `val` and `test`.
        out_dir: folder for checkpoints; interrupted training resumes from it.
        weights: see `FitContext`; if None, detectors with ImageNet features are skipped.
        epochs: number of epochs; None for the default of each detector.
        num_seeds: number of fits per detector, with seeds from `seed`; metrics are those of the first.
        seed: first seed of the fits, and the seed of the evaluation.

    Raises:
        LabelError: if the dataset has no negative class.
        TrainingError: if train or validation has no normals.
    """
    normals = select_normals(dataset)
    metrics: dict[str, Metrics] = {}
    remarks: dict[str, str] = {}
    for name in _choose_detectors(weights):
        aurocs: list[Metrics] = []
        for fit_seed in range(seed, seed + num_seeds):
            log.info("fitting %s, seed %d", name, fit_seed)
            context = FitContext(normals, out_dir / f"seed-{fit_seed}", epochs, weights, fit_seed)
            try:
                detector = DETECTORS[name](context)
            except TrainingError as error:
                log.warning("%s failed: %s", name, error)
                metrics[name], remarks[name] = {}, f"Failed: {error}"
                break
            result = evaluate_detector(detector, dataset, seed=seed)
            aurocs.append({"auroc": result.metrics["auroc"]})
            if fit_seed == seed:
                metrics[name] = _collect_metrics(detector, dataset, result, seed)
        else:
            metrics[name] |= {f"auroc_{key}": values["auroc"] for key, values in summarize_seeds(aurocs).items()}
    return MethodTable(metrics, remarks)


def add_anomalies_to_normals(normals: Dataset, seed: int) -> SyntheticAnomalies:
    """Return copies of normals with synthetic opacities, without the other synthetic anomalies."""
    rng = np.random.default_rng([seed, 1])
    return add_anomalies(normals.images, find_lungs(normals.images), rng, paste_share=0.0)


def _choose_detectors(weights: Path | None) -> list[str]:
    lacking = [name for name in DETECTORS if name.endswith(IMAGENET_SUFFIX) and weights is None]
    if lacking:
        log.info("skipped without ImageNet weights: %s", ", ".join(lacking))
    return [name for name in DETECTORS if name not in lacking]


def _collect_metrics(detector: Detector, dataset: Dataset, result: AnomalyResult, seed: int) -> Metrics:
    test = dataset.split("test")
    test = test.select(label_positive(test) >= 0)
    patients = test.patients
    metrics = {
        name.removesuffix("_quantile"): estimate
        for name, estimate in result.metrics.items()
        if not name.endswith("_mean_plus_sd")
    }
    flagged = result.scores >= result.thresholds["quantile"]
    for name in sorted(set(result.classes[result.labels == 1])):
        rows = result.classes == name
        metrics[f"sensitivity_{name}"] = estimate_share(flagged[rows], patients[rows], seed=seed)
    started = time.perf_counter()
    detector.score(test.images)
    seconds = (time.perf_counter() - started) / len(test)
    return {
        **metrics,
        **_evaluate_synthetic(detector, dataset, result.validation_scores, seed),
        **_evaluate_masks(detector, test, seed),
        "seconds_per_image": without_interval(seconds, len(test)),
    }


def _evaluate_synthetic(detector: Detector, dataset: Dataset, validation_scores: np.ndarray, seed: int) -> Metrics:
    normals = select_normals(dataset).held_out
    copies = add_anomalies_to_normals(normals, seed)
    patients = normals.patients
    scores = np.concatenate([validation_scores, detector.score(copies.images)])
    labels = np.repeat([0, 1], len(normals))
    auroc = estimate_binary_scores(labels, scores, np.tile(patients, 2), seed=seed)["auroc"]
    rows = slice(0, NUM_MAPPED)
    maps = detector.anomaly_maps(copies.images[rows])
    localization = evaluate_maps(maps, copies.masks[rows], patients=patients[rows], seed=seed)
    return {f"{name}_synthetic": estimate for name, estimate in {"auroc": auroc, **localization}.items()}


def _evaluate_masks(detector: Detector, test: Dataset, seed: int) -> Metrics:
    if test.masks is None:
        return {}
    part = test.select(np.flatnonzero(test.masks.any(axis=(1, 2)))[:NUM_MAPPED])
    assert part.masks is not None
    patients = part.patients
    return evaluate_maps(detector.anomaly_maps(part.images), part.masks, patients=patients, seed=seed)
