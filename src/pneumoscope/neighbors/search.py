"""Exact nearest-neighbor search of reference images, in NumPy.

Embeddings are L2-normalized, so the order equals that of cosine similarity. Distances are Euclidean, in [0, 2]: 0 for
the same direction, 1.41 for orthogonal and 2 for opposite embeddings.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pneumoscope.io.results import check_shapes, require

_MAX_CHUNK_NUMBERS = 1 << 24


class EmbeddingIndex:
    """Index of the embeddings of reference images; row i is image i.

    Attributes:
        dimension: length of an embedding.

    Example:
        >>> index = EmbeddingIndex(np.eye(3), ["ann", "bob", "bob"])
        >>> rows, distances = index.search(np.array([[5.0, 4.0, 0.0]]), 2, exclude=[["ann"]])
        >>> rows.tolist(), distances.astype(float).round(2).tolist()
        ([[1, 2]], [[0.87, 1.41]])
    """

    def __init__(self, embeddings: NDArray[np.floating], patients: Sequence[str]) -> None:
        """Build the index.

        Args:
            embeddings: `(n, d)` finite floats; they are normalized.
            patients: `n` patient identifiers.

        Raises:
            ValueError: if the shapes do not match or a value is not finite.
        """
        self._units = scale_to_length_one(embeddings)
        if self._units.ndim != 2 or len(self._units) != len(patients):
            raise ValueError(
                f"embeddings are {self._units.shape}, expected ({len(patients)}, d): one row per patient identifier"
            )
        self.dimension = self._units.shape[1]
        self._codes: dict[str, int] = {}
        self._patients = np.array([self._codes.setdefault(name, len(self._codes)) for name in patients], dtype=np.int32)

    def __len__(self) -> int:
        """Return the number of reference images."""
        return len(self._units)

    def search(
        self, queries: NDArray[np.floating], count: int, *, exclude: Sequence[Collection[str]] | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return the nearest reference images of each query.

        Args:
            queries: `(m, d)` finite floats; they are normalized.
            count: number of neighbors.
            exclude: for each query, the patients whose images are excluded; by default none.

        Returns:
            Row indices, `(m, count)` int64, nearest first, and distances, `(m, count)` float32. With fewer than `count`
            neighbors, the rest is -1 and infinity.

        Raises:
            ValueError: if the shapes do not match or a value is not finite.
        """
        units = scale_to_length_one(queries)
        if units.ndim != 2 or units.shape[1] != self.dimension:
            raise ValueError(f"queries are {units.shape}, expected (m, {self.dimension})")
        if exclude is None:
            exclude = [()] * len(units)
        if len(exclude) != len(units):
            raise ValueError(f"exclude has {len(exclude)} entries, expected one per query ({len(units)})")
        rows = np.full((len(units), count), -1, dtype=np.int64)
        distances = np.full((len(units), count), np.inf, dtype=np.float32)
        num_nearest = min(count, len(self))
        if not num_nearest:
            return rows, distances
        chunk = max(1, _MAX_CHUNK_NUMBERS // max(len(self), num_nearest * self.dimension))
        for start in range(0, len(units), chunk):
            part = slice(start, start + chunk)
            nearest, gaps = self._search_chunk(units[part], num_nearest, exclude[part])
            rows[part, :num_nearest] = np.where(np.isfinite(gaps), nearest, -1)
            distances[part, :num_nearest] = gaps
        return rows, distances

    def _search_chunk(
        self, units: NDArray[np.float32], count: int, exclude: Sequence[Collection[str]]
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        cosines = units @ self._units.T
        for query, names in enumerate(exclude):
            codes = [self._codes[name] for name in names if name in self._codes]
            cosines[query, np.isin(self._patients, codes)] = -np.inf
        candidates = np.argpartition(cosines, -count, axis=1)[:, -count:]
        gaps = np.linalg.norm(self._units[candidates] - units[:, None], axis=2)
        gaps[np.isneginf(np.take_along_axis(cosines, candidates, axis=1))] = np.inf
        order = np.lexsort((candidates, gaps))
        return np.take_along_axis(candidates, order, axis=1), np.take_along_axis(gaps, order, axis=1)


def scale_to_length_one(embeddings: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return L2-normalized embeddings, `(n, d)` float32; zero vectors are unchanged.

    Raises:
        ValueError: if a value is not finite.

    Example:
        >>> scale_to_length_one(np.array([[3.0, 4.0], [0.0, 0.0]])).round(2).tolist()
        [[0.6000000238418579, 0.800000011920929], [0.0, 0.0]]
    """
    values: NDArray[np.float32] = np.asarray(embeddings, dtype=np.float32)
    lengths = np.linalg.norm(values, axis=-1, keepdims=True)
    if not np.isfinite(lengths).all():
        raise ValueError("embeddings hold NaN or infinity, expected finite numbers; the training may have diverged")
    return np.asarray(values / np.where(lengths > 0, lengths, 1))


@dataclass(frozen=True)
class LabeledEmbeddings:
    """Embeddings of labeled images.

    Attributes:
        embeddings: `(n, d)` floats.
        labels: `(n,)` int, index of the class. Multi-label: `(n, classes)` int, 1 = present, 0 = absent, -1 = unknown.
        patients: `(n,)` str, patient of each image.
    """

    embeddings: NDArray[np.floating]
    labels: NDArray[np.integer]
    patients: NDArray[np.str_]

    def __post_init__(self) -> None:
        n = len(self.labels)
        require(self.embeddings.ndim == 2 and len(self.embeddings) == n, f"embeddings are {self.embeddings.shape}")
        check_shapes(self, patients=(n,))

    def __len__(self) -> int:
        return len(self.labels)

    def find_nearest(
        self, queries: NDArray[np.floating], patients: Sequence[str] | NDArray[np.str_], count: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return rows and distances of the nearest images, excluding the same patient; see `EmbeddingIndex.search`."""
        index = EmbeddingIndex(self.embeddings, self.patients.tolist())
        return index.search(queries, count, exclude=[(name,) for name in patients])
