"""Task 2: how good the images are that an embedding finds for another one."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pneumoscope.evaluation.intervals import estimate
from pneumoscope.results import Estimate, require
from pneumoscope.tasks.index import EmbeddingIndex, Kind, build_index

DEPTHS = (1, 5, 10)


@dataclass(frozen=True)
class Labelled:
    """Images of known class, as an embedding sees them.

    Attributes:
        embeddings: `(n, d)` floats.
        labels: `(n,)` int, index into the classes.
        patients: `(n,)` str, whose each is.
    """

    embeddings: np.ndarray
    labels: np.ndarray
    patients: np.ndarray

    def __post_init__(self) -> None:
        n = len(self.labels)
        require(self.embeddings.ndim == 2 and len(self.embeddings) == n, f"embeddings are {self.embeddings.shape}")
        require(self.patients.shape == (n,), f"patients are {self.patients.shape}, expected {(n,)}")

    def index(self, kind: Kind = "exact") -> EmbeddingIndex:
        """Return an index of the images, in their order."""
        return build_index(self.embeddings, self.patients.tolist(), kind=kind)


def measure_retrieval(
    known: Labelled, asked: Labelled, *, classes: Sequence[str], kind: Kind = "exact", seed: int = 0
) -> dict[str, Estimate]:
    """Return how many of the images found are of the class of the image asked for.

    Only images of other patients are found. Figures by class are of the images asked for that are of that class.

    Args:
        known: images that may be found.
        asked: images to find others for.
        classes: class names.
        kind: of the index.
        seed: of the resampling.

    Returns:
        `precision_at_1`, `_5` and `_10`, the mean share of the first 1, 5 and 10 found that are of the same class, each
        also by class as `precision_at_1_CLASS`. For the kinds that find all there is also the mean average precision,
        `map` and `map_CLASS`; for the others `recall_at_5`, the share of the five nearest that they find.

    Raises:
        ValueError: if there is nothing to find or to ask for.
    """
    if not len(known.labels) or not len(asked.labels):
        raise ValueError(f"{len(known.labels)} known images and {len(asked.labels)} asked for, expected some of both")
    whole = kind in ("exact", "flat")
    count = len(known.labels) if whole else max(DEPTHS)
    exclude = [(name,) for name in asked.patients]
    found, _ = known.index(kind).search(asked.embeddings, count, exclude=exclude)
    hits = (known.labels[found] == asked.labels[:, None]) & (found >= 0)
    values = {f"precision_at_{depth}": hits[:, :depth].sum(axis=1) / depth for depth in DEPTHS}
    if whole:
        values["map"] = average_precision(hits)
    by_class = {
        f"{name}_{label}": np.where(asked.labels == number, numbers, np.nan)
        for number, label in enumerate(classes)
        for name, numbers in values.items()
    }
    if not whole:
        nearest, _ = known.index().search(asked.embeddings, 5, exclude=exclude)
        values["recall_at_5"] = (nearest[:, :, None] == found[:, None, :5]).any(axis=2).mean(axis=1)
    return estimate_means({**values, **by_class}, asked.patients, seed=seed)


def average_precision(hits: np.ndarray) -> np.ndarray:
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
    return np.divide(sums, num_relevant, out=np.full(len(hits), np.nan), where=num_relevant > 0)


def estimate_means(values: dict[str, np.ndarray], patients: np.ndarray, *, seed: int = 0) -> dict[str, Estimate]:
    """Return the mean of each row of numbers, over the images that have one, with intervals.

    Args:
        values: by name, `(n,)` floats; NaN where an image has none.
        patients: `(n,)` str, the unit that the intervals resample.
        seed: of the resampling.
    """
    table = np.stack([np.asarray(numbers, dtype=np.float64) for numbers in values.values()], axis=1)
    there = np.isfinite(table)

    def figures(weights: np.ndarray) -> dict[str, np.ndarray]:
        with np.errstate(invalid="ignore"):
            means = (weights @ np.where(there, table, 0)) / (weights @ there)
        return {name: means[:, column] for column, name in enumerate(values)}

    counts = {name: int(number) for name, number in zip(values, there.sum(axis=0), strict=True)}
    return estimate(figures, patients, counts=counts, seed=seed)
