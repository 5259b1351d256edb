"""Image retrieval metrics: precision at k and mean average precision."""

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
    """Return precision at k and mean average precision; images of the query's patient are excluded.

    Args:
        references: images to retrieve.
        queries: query images.
        classes: class names.
        seed: of the bootstrap.

    Returns:
        `precision_at_1`, `precision_at_5` and `precision_at_10`, the mean share of retrieved images of the query's
        class, and `map`, the mean average precision. With the suffix `_CLASS`, over the queries of one class.

    Raises:
        ValueError: if there are no references or no queries.
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
    """Return the average precision of rankings: the mean of the precision at the rank of each relevant image.

    Source: C. Manning, P. Raghavan and H. Schuetze, "Introduction to Information Retrieval", 2008, section 8.4.

    Args:
        hits: `(m, n)` bool, whether the image at each rank is relevant; rankings are complete.

    Returns:
        `(m,)` float64 in [0, 1]; NaN if no image is relevant.

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
    """Return the mean of each of `values`, `(n,)` floats by name, with its interval; NaN values are ignored."""
    table = np.stack([np.asarray(numbers, dtype=np.float64) for numbers in values.values()], axis=1)
    defined = np.isfinite(table)

    def average(weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        with np.errstate(invalid="ignore"):
            means = (weights @ np.where(defined, table, 0)) / (weights @ defined)
        return {name: means[:, column] for column, name in enumerate(values)}

    counts = {name: int(number) for name, number in zip(values, defined.sum(axis=0), strict=True)}
    return estimate(average, patients, counts=counts, seed=seed)
