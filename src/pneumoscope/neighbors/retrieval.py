"""Retrieval: precision of the nearest reference images of a query image."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pneumoscope.io.results import Estimate
from pneumoscope.metrics.intervals import estimate
from pneumoscope.neighbors.search import LabeledEmbeddings

DEPTHS = (1, 5, 10)


def measure_retrieval(
    references: LabeledEmbeddings, queries: LabeledEmbeddings, *, classes: Sequence[str], seed: int = 0
) -> dict[str, Estimate]:
    """Return precision and mean average precision of the retrieved images of other patients.

    Args:
        references: images that may be retrieved.
        queries: images to retrieve others for.
        classes: class names.
        seed: of the resampling.

    Returns:
        `precision_at_1`, `_5` and `_10`, the mean share of the first 1, 5 and 10 images that are of the query's class,
        and `map`, the mean average precision; each also over the queries of one class, as `map_CLASS`.

    Raises:
        ValueError: if there is no reference or no query.
    """
    if not len(references) or not len(queries):
        raise ValueError(f"{len(references)} reference and {len(queries)} query images, expected one or more of both")
    nearest, _ = references.find_nearest(queries.embeddings, queries.patients, len(references))
    hits = (references.labels[nearest] == queries.labels[:, None]) & (nearest >= 0)
    values = {f"precision_at_{depth}": hits[:, :depth].sum(axis=1) / depth for depth in DEPTHS}
    values["map"] = average_precision(hits)
    by_class = {
        f"{name}_{label}": np.where(queries.labels == number, numbers, np.nan)
        for number, label in enumerate(classes)
        for name, numbers in values.items()
    }
    return estimate_means({**values, **by_class}, queries.patients, seed=seed)


def average_precision(hits: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the average precision of rankings: the mean, over the relevant, of the precision down to each.

    Source: C. Manning, P. Raghavan and H. Schuetze, "Introduction to Information Retrieval", 2008, section 8.4.

    Args:
        hits: `(m, n)` bool, whether the image at each rank is relevant; all relevant images are among them.

    Returns:
        `(m,)` float64 in [0, 1]; NaN where nothing is relevant.

    Example:
        >>> average_precision(np.array([[True, False, True], [False, True, False]])).round(3)
        array([0.833, 0.5  ])
    """
    precisions = np.cumsum(hits, axis=1) / np.arange(1, hits.shape[1] + 1)
    num_relevant = hits.sum(axis=1)
    sums = (precisions * hits).sum(axis=1)
    return np.asarray(np.divide(sums, num_relevant, out=np.full(len(hits), np.nan), where=num_relevant > 0))


def estimate_means(
    values: dict[str, NDArray[np.float64]], patients: NDArray[np.str_], *, seed: int = 0
) -> dict[str, Estimate]:
    """Return the mean of each of `values`, `(n,)` floats by name, over the images where it is not NaN."""
    table = np.stack([np.asarray(numbers, dtype=np.float64) for numbers in values.values()], axis=1)
    defined = np.isfinite(table)

    def average(weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        with np.errstate(invalid="ignore"):
            means = (weights @ np.where(defined, table, 0)) / (weights @ defined)
        return {name: means[:, column] for column, name in enumerate(values)}

    counts = {name: int(number) for name, number in zip(values, defined.sum(axis=0), strict=True)}
    return estimate(average, patients, counts=counts, seed=seed)
