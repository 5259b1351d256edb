"""How a detector is judged: fitted on train normals, its threshold from held-out normals, test looked at once.

Figures of a `Detection`:

    auroc, auprc                    of pneumonia, on test
    accuracy, f1                    at the threshold
    flagged_normal, _bacterial, _viral, _pneumonia
                                    shares of the test images that are flagged
    false_alarms_promised           what the threshold promises; what it kept is `flagged_normal`
    auroc_drawn                     held-out normals against their own copies with drawn opacities
    pixel_auroc_drawn, pro_drawn    how well maps find the drawn opacities
    pixel_auroc, pro                how well maps find true lesions, where their masks are known (phantoms)
    seconds_per_image, megabytes    what it costs

`auroc_drawn` needs no sick image, so that detectors may be chosen by it. What draws the opacities is also what
synthetic-lesion training learns from, which flatters it.
"""

import time
from dataclasses import dataclass

import numpy as np

from pneumoscope.errors import TrainingError
from pneumoscope.evaluation.localization import evaluate_maps
from pneumoscope.evaluation.metrics import estimate_binary_scores, estimate_share, evaluate_scores
from pneumoscope.radiographs.dataset import Dataset
from pneumoscope.radiographs.lungs import find_lungs
from pneumoscope.results import BINARY_CLASSES, Detection, Estimate
from pneumoscope.tasks.anomaly.detector import Detector
from pneumoscope.tasks.anomaly.synthetic_anomalies import Spoiled, SpoilSettings, spoil_images

NUM_EXAMPLES = 6
NUM_MAPPED = 96  # images that localization is judged on, at most: maps of every image are slow with some methods
MEGABYTE = 1e6


@dataclass(frozen=True)
class Normals:
    """All that a detector may be fitted to and its threshold be told from.

    Attributes:
        train: normals of the split `train`.
        held_out: normals of the split `val`.
    """

    train: Dataset
    held_out: Dataset


def select_normals(dataset: Dataset) -> Normals:
    """Return the normals of `train` and `val`.

    Raises:
        TrainingError: if either has none.
    """
    parts = [dataset.split(name) for name in ("train", "val")]
    train, held_out = (part.select(part.labels(BINARY_CLASSES) == 0) for part in parts)
    if not len(train) or not len(held_out):
        raise TrainingError(f"{len(train)} normals to train on and {len(held_out)} held out; expected some of both")
    return Normals(train, held_out)


def choose_threshold(held_out: np.ndarray, false_alarm_rate: float) -> float:
    """Return the lowest threshold that flags at most a share of held-out normals, counted as one normal more.

    A normal is flagged when `score >= threshold`. With m held-out normals, a new one is flagged with a probability of
    at most the rate (split conformal prediction: V. Vovk, A. Gammerman and G. Shafer, 2005), where films are
    exchangeable.

    Args:
        held_out: `(m,)` floats, scores of normals that the detector was not fitted to.
        false_alarm_rate: in (0, 1).

    Raises:
        ValueError: if there is no score, one is not finite, or the rate is out of range.

    Example:
        >>> round(choose_threshold(np.arange(1.0, 20.0), 0.1), 3)
        18.0
    """
    scores = np.sort(np.asarray(held_out, dtype=np.float64))
    if not scores.size or not np.isfinite(scores).all() or not 0 < false_alarm_rate < 1:
        raise ValueError(
            f"{scores.size} scores at a rate of {false_alarm_rate}; expected some finite scores and a rate in (0, 1)"
        )
    flagged = int(np.floor(false_alarm_rate * (len(scores) + 1)))
    if flagged:
        return float(scores[-flagged])
    # Scores have 32 bits: the next number of 64 would be rounded back to the score itself.
    return float(np.nextafter(np.float32(scores[-1]), np.float32(np.inf)))


def judge_detector(
    detector: Detector,
    dataset: Dataset,
    *,
    method: str,
    recipe: str = "{}",
    false_alarm_rate: float = 0.05,
    seed: int = 0,
) -> Detection:
    """Return how a fitted detector does, by the protocol at the top of this file.

    Args:
        detector: fitted on train normals only.
        dataset: with the splits `train`, `val` and `test`.
        method: its name.
        recipe: see `Detection`.
        false_alarm_rate: share of normals that may be flagged, in (0, 1).
        seed: of the drawn opacities, the examples and the resampling.

    Raises:
        TrainingError: if normals are missing.
    """
    normals = select_normals(dataset).held_out
    test = dataset.split("test")
    held_out = detector.score(normals.images)
    threshold = choose_threshold(held_out, false_alarm_rate)
    started = time.perf_counter()
    scores = detector.score(test.images)
    seconds = (time.perf_counter() - started) / len(test)
    drawn_scores, drawn_figures = _judge_drawn(detector, normals, held_out, seed)
    examples = choose_examples(dataset, seed)
    images = dataset.images[examples]
    metrics = {
        **judge_scores(test, scores, threshold, seed=seed),
        **drawn_figures,
        **_judge_masks(detector, test, seed),
        "false_alarms_promised": _fact(false_alarm_rate, len(held_out)),
        "seconds_per_image": _fact(seconds, len(test)),
        "megabytes": _fact(detector.num_bytes / MEGABYTE, 1),
    }
    usual = detector.localize(normals.images[:NUM_MAPPED])
    return Detection(
        method=method,
        recipe=recipe,
        threshold=threshold,
        false_alarm_rate=false_alarm_rate,
        held_out=held_out,
        drawn=drawn_scores,
        scores=scores,
        metrics=metrics,
        examples=examples,
        images=images.astype(np.float32) / 255,
        maps=detector.localize(images),
        map_scale=np.quantile(usual, [0.5, 0.999]).astype(np.float32),
    )


def judge_scores(test: Dataset, scores: np.ndarray, threshold: float, *, seed: int = 0) -> dict[str, Estimate]:
    """Return the figures of test scores alone; see the top of this file."""
    labels, patients = test.labels(BINARY_CLASSES), test.table["patient"].to_numpy().astype(str)
    found = evaluate_scores(labels, scores, {"at": threshold}, patients=patients, seed=seed)
    metrics = {name.removesuffix("_at"): figure for name, figure in found.items()}
    subtypes = test.table["subtype"].to_numpy().astype(str)
    for name in ("bacterial", "viral"):
        rows = subtypes == name
        if rows.any():
            metrics[f"flagged_{name}"] = estimate_share(scores[rows] >= threshold, patients[rows], seed=seed)
    return metrics


def spoil_normals(normals: Dataset, seed: int) -> Spoiled:
    """Return copies of normals with drawn opacities; none is a pasted patch."""
    rng = np.random.default_rng([seed, 1])
    return spoil_images(normals.images, find_lungs(normals.images), SpoilSettings(paste=0.0), rng)


def choose_examples(dataset: Dataset, seed: int) -> np.ndarray:
    """Return indices of test images, normal and pneumonia in turn."""
    rng = np.random.default_rng(seed)
    test, labels = dataset.rows("test"), dataset.labels(BINARY_CLASSES)
    by_class = [rng.permutation(test[labels[test] == number])[: NUM_EXAMPLES // 2] for number in (0, 1)]
    return np.array([index for pair in zip(*by_class, strict=False) for index in pair], dtype=np.int64)


def _judge_drawn(
    detector: Detector, normals: Dataset, held_out: np.ndarray, seed: int
) -> tuple[np.ndarray, dict[str, Estimate]]:
    copies = spoil_normals(normals, seed)
    scores = detector.score(copies.images)
    patients = normals.table["patient"].to_numpy().astype(str)
    labels = np.repeat([0, 1], len(normals))
    ranked = estimate_binary_scores(labels, np.concatenate([held_out, scores]), np.tile(patients, 2), seed=seed)
    rows = slice(0, NUM_MAPPED)
    found = evaluate_maps(
        detector.localize(copies.images[rows]), copies.masks[rows], patients=patients[rows], seed=seed
    )
    figures = {"auroc": ranked["auroc"], **found}
    return scores, {f"{name}_drawn": figure for name, figure in figures.items()}


def _judge_masks(detector: Detector, test: Dataset, seed: int) -> dict[str, Estimate]:
    if test.masks is None:
        return {}
    sick = np.flatnonzero(test.masks.any(axis=(1, 2)))[:NUM_MAPPED]
    part = test.select(sick)
    assert part.masks is not None
    patients = part.table["patient"].to_numpy().astype(str)
    return evaluate_maps(detector.localize(part.images), part.masks, patients=patients, seed=seed)


def _fact(value: float, count: int) -> Estimate:
    """Return a figure that no resampling of patients would change."""
    return Estimate(float(value), float("nan"), float("nan"), n=count)
