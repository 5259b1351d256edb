"""95 % intervals that resample patients, not images: images of one child are no independent cases."""

import warnings
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import DegenerateDataWarning, bootstrap

from pneumoscope.io.results import Estimate

MAX_UNDEFINED_SHARE = 0.05
_BATCH = 100

Figures = Callable[[np.ndarray], Mapping[str, np.ndarray]]


def estimate(
    figures: Figures,
    patients: ArrayLike,
    *,
    values: Mapping[str, float] | None = None,
    counts: Mapping[str, int] | None = None,
    seed: int = 0,
    num_resamples: int = 1000,
) -> dict[str, Estimate]:
    """Return figures with 95 % intervals from one bootstrap over patients.

    A resample draws as many patients as there are, with replacement, and is handed to `figures` as a weight
    for each image: how often its patient was drawn. The interval runs from the 2.5th to the 97.5th percentile
    (Efron and Tibshirani 1993, chapter 13). Resamples that leave a figure undefined (NaN), say for want of a
    class, are left out of its interval where they are at most one in twenty; with more, or with a single
    patient, or where the figure itself is undefined, the interval is NaN. A share of exactly 0 or 1 gets an
    interval of no width, which understates what is not known.

    Args:
        figures: takes weights `(r, n)` float64, one row a resample, and returns `(r,)` floats by name.
        patients: `(n,)` str, whose image each is.
        values: the figures on the images as they are; by default what `figures` gives for weights of 1.
        counts: number of images behind a figure, where that is not `n`.
        seed: of the resampling.
        num_resamples: number of resamples.

    Raises:
        ValueError: if there is no image.

    Example:
        >>> ages = np.array([1.0, 2.0, 3.0, 4.0])
        >>> found = estimate(lambda weights: {"age": weights @ ages / weights.sum(axis=1)}, ["a", "b", "c", "d"])
        >>> print(found["age"])
        2.500 [1.500, 3.500]
    """
    groups, members = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
    if not len(members):
        raise ValueError("there are 0 images, expected 1 or more to estimate a figure from")
    if values is None:
        values = {name: float(found[0]) for name, found in figures(np.ones((1, len(members)))).items()}

    def weigh(drawn: np.ndarray, axis: int) -> np.ndarray:
        found = figures(_count_draws(drawn)[:, members])
        return np.stack([found[name] for name in values])

    lows = highs = np.full(len(values), np.nan)
    if len(groups) > 1:
        lows, highs = _bootstrap_bounds(weigh, len(groups), seed, num_resamples)
    counts = counts or {}
    return {
        name: Estimate(float(value), *_defined(value, low, high), n=counts.get(name, len(members)))
        for (name, value), low, high in zip(values.items(), lows, highs, strict=True)
    }


def estimate_mean(values: ArrayLike, patients: ArrayLike, *, seed: int = 0) -> Estimate:
    """Return the mean of one number an image, with its 95 % interval.

    Args:
        values: `(n,)` floats.
        patients: `(n,)` str.
        seed: of the resampling.

    Raises:
        ValueError: if the shapes differ or there is no image.
    """
    values = np.asarray(values, dtype=np.float64)
    if values.shape != np.shape(patients):
        raise ValueError(f"values are {values.shape} and patients {np.shape(patients)}, expected the same shape (n,)")
    return estimate(lambda weights: {"mean": weights @ values / weights.sum(axis=1)}, patients, seed=seed)["mean"]


def _count_draws(drawn: np.ndarray) -> np.ndarray:
    num_resamples, num_groups = drawn.shape
    places = drawn + num_groups * np.arange(num_resamples)[:, None]
    return np.bincount(places.ravel(), minlength=drawn.size).reshape(drawn.shape).astype(np.float64)


def _bootstrap_bounds(weigh: Callable, num_groups: int, seed: int, num_resamples: int) -> tuple[np.ndarray, np.ndarray]:
    with warnings.catch_warnings():
        # SciPy warns of any NaN; those are judged figure by figure below.
        warnings.simplefilter("ignore", DegenerateDataWarning)
        resampled = bootstrap(
            (np.arange(num_groups),),
            weigh,
            n_resamples=num_resamples,
            batch=_BATCH,
            vectorized=True,
            method="percentile",
            rng=np.random.default_rng(seed),
        ).bootstrap_distribution
    bounds = np.full((2, len(resampled)), np.nan)
    usable = np.isnan(resampled).mean(axis=1) <= MAX_UNDEFINED_SHARE
    if usable.any():
        bounds[:, usable] = np.nanquantile(resampled[usable], [0.025, 0.975], axis=1)
    return bounds[0], bounds[1]


def _defined(value: float, low: float, high: float) -> tuple[float, float]:
    return (float("nan"), float("nan")) if np.isnan(value) else (float(low), float(high))
