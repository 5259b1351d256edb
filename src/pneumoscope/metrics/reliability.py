"""Whether probabilities keep what they promise: reliability curve and expected calibration error.

Source: C. Guo, G. Pleiss, Y. Sun and K. Weinberger, "On Calibration of Modern Neural Networks", ICML 2017, with 15 bins
of equal width. The error is the mean over the images of what lies between promise and outcome in their bin. It is above
0 by chance alone, the more so the fewer images there are, and so are its resamples: read it beside `by_chance`.
"""

import numpy as np
from numpy.typing import ArrayLike

from pneumoscope.io.results import Reliability
from pneumoscope.metrics.intervals import estimate

NUM_BINS = 15
NUM_DRAWS = 200


def measure_reliability(
    events: ArrayLike, probabilities: ArrayLike, patients: ArrayLike, *, seed: int = 0
) -> Reliability:
    """Compare the probability of an event with how often it came true.

    Args:
        events: `(n,)` bool, whether the event came true.
        probabilities: `(n,)` floats in [0, 1], what was promised. A bin holds its upper edge.
        patients: `(n,)` str, the unit that the intervals resample.
        seed: of the resampling and of the draws by chance.

    Raises:
        ValueError: if there is no image, the shapes differ or a probability is out of range.

    Example:
        >>> found = measure_reliability([True, False], [0.75, 0.75], ["a", "b"])
        >>> round(found.error.value, 2)
        0.25
    """
    events, promised = np.asarray(events, dtype=bool), np.asarray(probabilities, dtype=np.float64)
    if not events.shape == promised.shape == np.shape(patients) or events.ndim != 1:
        shapes = f"events are {events.shape}, probabilities {promised.shape}, patients {np.shape(patients)}"
        raise ValueError(f"{shapes}, expected the same shape (n,)")
    if not ((promised >= 0) & (promised <= 1)).all():
        raise ValueError(f"probabilities run from {promised.min()} to {promised.max()}, expected 0 to 1")
    bins = np.clip(np.ceil(promised * NUM_BINS).astype(int) - 1, 0, NUM_BINS - 1)
    members = np.eye(NUM_BINS)[bins]
    counts = members.sum(axis=0).astype(np.int64)
    filled = np.flatnonzero(counts)

    def figures(weights: np.ndarray) -> dict[str, np.ndarray]:
        with np.errstate(invalid="ignore"):
            observed = weights @ (members * events[:, None]) / (weights @ members)
        gaps = np.abs(weights @ (members * (events - promised)[:, None])).sum(axis=1)
        return {"error": gaps / weights.sum(axis=1)} | {f"bin {number}": observed[:, number] for number in filled}

    of_bin = {f"bin {number}": int(counts[number]) for number in filled}
    found = estimate(figures, patients, counts=of_bin, seed=seed)
    chances = np.random.default_rng(seed).random((NUM_DRAWS, len(promised))) < promised
    return Reliability(
        edges=np.linspace(0, 1, NUM_BINS + 1),
        counts=counts,
        promised=np.divide(members.T @ promised, counts, out=np.full(NUM_BINS, np.nan), where=counts > 0),
        observed={int(number): found[f"bin {number}"] for number in filled},
        error=found["error"],
        promised_mean=float(promised.mean()),
        observed_mean=float(events.mean()),
        by_chance=float((np.abs((chances - promised) @ members).sum(axis=1) / len(promised)).mean()),
    )


def measure_top_label_reliability(
    labels: ArrayLike, probabilities: np.ndarray, patients: ArrayLike, *, seed: int = 0
) -> Reliability:
    """Compare the probability of the most probable class with how often that class is the true one.

    Args:
        labels: `(n,)` ints, index of the true class.
        probabilities: `(n, classes)` floats in [0, 1].
        patients: `(n,)` str.
        seed: see `measure_reliability`.

    Raises:
        ValueError: as `measure_reliability` does.
    """
    right = probabilities.argmax(axis=1) == np.asarray(labels)
    return measure_reliability(right, probabilities.max(axis=1), patients, seed=seed)
