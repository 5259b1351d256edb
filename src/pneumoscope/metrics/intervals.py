"""95 % confidence intervals by bootstrap over patients, because images of one patient are not independent."""

import warnings
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import DegenerateDataWarning, bootstrap

from pneumoscope.io.results import Estimate

NUM_RESAMPLES = 1000
MAX_UNDEFINED_SHARE = 0.05
_BATCH = 100

# Maps image weights, `(r, n)` float64 with one row per resample, to `(r,)` floats by metric name.
ComputeMetrics = Callable[[np.ndarray], Mapping[str, np.ndarray]]


def estimate(
    compute: ComputeMetrics,
    patients: ArrayLike,
    *,
    counts: Mapping[str, int] | None = None,
    seed: int = 0,
) -> dict[str, Estimate]:
    """Return metrics with 95 % intervals from one bootstrap over patients.

    A resample draws patients with replacement; the weight of an image is the number of times its patient was drawn.
    The interval is the 2.5 to 97.5 percentile (Efron and Tibshirani 1993, chapter 13). Resamples with an undefined
    metric (NaN) are ignored. The interval is NaN if more than 5 % of the resamples are undefined, if there is a single
    patient, or if the metric itself is NaN. The interval of a share of exactly 0 or 1 has no width and understates the
    uncertainty.

    Args:
        compute: see `ComputeMetrics`; weights of 1 give the values of the metrics.
        patients: `(n,)` str, the patient of each image.
        counts: number of images by metric, if it differs from `n`.
        seed: of the bootstrap.

    Raises:
        ValueError: if there are no images.

    Example:
        >>> ages = np.array([1.0, 2.0, 3.0, 4.0])
        >>> print(estimate(lambda weights: {"age": weights @ ages / weights.sum(axis=1)}, list("abcd"))["age"])
        2.500 [1.500, 3.500]
    """
    groups, members = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
    if not len(members):
        raise ValueError("there are 0 images, expected 1 or more to estimate a metric")
    values = {name: float(column[0]) for name, column in compute(np.ones((1, len(members)))).items()}
    bounds = np.full((2, len(values)), np.nan)
    if len(groups) > 1:
        bounds = _bootstrap_bounds(compute, tuple(values), members, seed)
    bounds[:, np.isnan(list(values.values()))] = np.nan
    return {
        name: Estimate(value, float(low), float(high), n=(counts or {}).get(name, len(members)))
        for (name, value), low, high in zip(values.items(), *bounds, strict=True)
    }


def estimate_mean(values: ArrayLike, patients: ArrayLike, *, seed: int = 0) -> Estimate:
    """Return the mean of `(n,)` floats, one value per image, with its 95 % interval by bootstrap over `(n,)` patients.

    Raises:
        ValueError: if the shapes differ or there are no images.
    """
    values = np.asarray(values, dtype=np.float64)
    require_same_shape(values=values, patients=patients)
    return estimate(lambda weights: {"mean": weights @ values / weights.sum(axis=1)}, patients, seed=seed)["mean"]


def require_same_shape(**columns: ArrayLike) -> None:
    """Check that all columns have the same shape `(n,)`.

    Raises:
        ValueError: if the shapes differ.
    """
    shapes = {name: np.shape(column) for name, column in columns.items()}
    if len(set(shapes.values())) != 1 or any(len(shape) != 1 for shape in shapes.values()):
        listed = ", ".join(f"{name} are {shape}" for name, shape in shapes.items())
        raise ValueError(f"{listed}; expected the same shape (n,)")


def _bootstrap_bounds(compute: ComputeMetrics, names: tuple[str, ...], members: np.ndarray, seed: int) -> np.ndarray:
    """Return `(2, metrics)` float64, lower and upper bounds; `members` is the patient index of each image."""
    num_groups = int(members.max()) + 1

    def compute_resamples(sampled: np.ndarray, axis: int) -> np.ndarray:
        places = sampled + num_groups * np.arange(len(sampled))[:, None]
        counts = np.bincount(places.ravel(), minlength=sampled.size).reshape(sampled.shape).astype(np.float64)
        metrics = compute(counts[:, members])
        return np.stack([metrics[name] for name in names])

    with warnings.catch_warnings():
        # SciPy warns about any NaN; the share of NaN is checked per metric below.
        warnings.simplefilter("ignore", DegenerateDataWarning)
        resampled = bootstrap(
            (np.arange(num_groups),),
            compute_resamples,
            n_resamples=NUM_RESAMPLES,
            batch=_BATCH,
            vectorized=True,
            method="percentile",
            rng=np.random.default_rng(seed),
        ).bootstrap_distribution
    bounds = np.full((2, len(names)), np.nan)
    usable = np.isnan(resampled).mean(axis=1) <= MAX_UNDEFINED_SHARE
    if usable.any():
        bounds[:, usable] = np.nanquantile(resampled[usable], [0.025, 0.975], axis=1)
    return bounds
