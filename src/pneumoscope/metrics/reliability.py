"""Reliability diagram and expected calibration error (ECE).

Source: C. Guo, G. Pleiss, Y. Sun and K. Weinberger, "On Calibration of Modern Neural Networks", ICML 2017, with 15 bins
of equal width. The ECE is the mean gap between mean probability and observed frequency of a bin, weighted by images.
The ECE of a perfectly calibrated model is above 0 in a finite sample: compare it with `by_chance`.
"""

import numpy as np
from numpy.typing import ArrayLike

from pneumoscope.io.results import Reliability
from pneumoscope.metrics.intervals import estimate, require_same_shape

NUM_BINS = 15
NUM_SIMULATIONS = 200


def measure_reliability(
    events: ArrayLike, probabilities: ArrayLike, patients: ArrayLike, *, seed: int = 0
) -> Reliability:
    """Compare predicted probabilities of an event with its observed frequency.

    Args:
        events: `(n,)` bool, whether the event occurred.
        probabilities: `(n,)` floats in [0, 1]. A bin includes its upper edge.
        patients: `(n,)` str, the unit of the bootstrap.
        seed: of the bootstrap and of the simulation of `by_chance`.

    Raises:
        ValueError: if there are no images, the shapes differ, or a probability is out of range.

    Example:
        >>> reliability = measure_reliability([True, False], [0.75, 0.75], ["a", "b"])
        >>> round(reliability.error.value, 2)
        0.25
    """
    events, predicted = np.asarray(events, dtype=bool), np.asarray(probabilities, dtype=np.float64)
    require_same_shape(events=events, probabilities=predicted, patients=patients)
    if not ((predicted >= 0) & (predicted <= 1)).all():
        raise ValueError(f"probabilities run from {predicted.min()} to {predicted.max()}, expected 0 to 1")
    bins = np.clip(np.ceil(predicted * NUM_BINS).astype(int) - 1, 0, NUM_BINS - 1)
    members = np.eye(NUM_BINS)[bins]
    counts = members.sum(axis=0).astype(np.int64)
    filled = np.flatnonzero(counts)

    def compute(weights: np.ndarray) -> dict[str, np.ndarray]:
        with np.errstate(invalid="ignore"):
            observed = weights @ (members * events[:, None]) / (weights @ members)
        gaps = np.abs(weights @ (members * (events - predicted)[:, None])).sum(axis=1)
        return {"error": gaps / weights.sum(axis=1)} | {f"bin {number}": observed[:, number] for number in filled}

    of_bin = {f"bin {number}": int(counts[number]) for number in filled}
    metrics = estimate(compute, patients, counts=of_bin, seed=seed)
    simulated = np.random.default_rng(seed).random((NUM_SIMULATIONS, len(predicted))) < predicted
    return Reliability(
        edges=np.linspace(0, 1, NUM_BINS + 1),
        counts=counts,
        predicted=np.divide(members.T @ predicted, counts, out=np.full(NUM_BINS, np.nan), where=counts > 0),
        observed={int(number): metrics[f"bin {number}"] for number in filled},
        error=metrics["error"],
        predicted_mean=float(predicted.mean()),
        observed_mean=float(events.mean()),
        by_chance=float((np.abs((simulated - predicted) @ members).sum(axis=1) / len(predicted)).mean()),
    )
