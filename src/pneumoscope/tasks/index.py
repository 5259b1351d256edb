"""Task 2: an index of embeddings that finds the nearest of other patients, exactly or nearly so.

Embeddings are scaled to length 1, so that the nearest are those of largest cosine. Distances are Euclidean between
the scaled ones: 0 for the same direction, 1.41 for nothing in common, 2 for the opposite one.

    exact   every known image is compared with (NumPy)
    flat    the same by FAISS (Douze et al. 2024)
    hnsw    a graph of near ones is followed (Malkov and Yashunin 2018)
    ivfpq   only the cells nearest to the query are looked into, at codes of a byte for four numbers (Jegou, Douze and
            Schmid 2011)

The last two may miss some of the nearest. What they find is measured again with the embeddings themselves, so that
distances and order are exact in all four.
"""

from collections.abc import Callable, Collection, Sequence
from typing import Any, Literal

import numpy as np

from pneumoscope.errors import MissingExtraError

Kind = Literal["exact", "flat", "hnsw", "ivfpq"]
KINDS: tuple[Kind, ...] = ("exact", "flat", "hnsw", "ivfpq")
NUM_LINKS = 32
NUM_FOLLOWED = 128
NUM_CELLS_SEEN = 16
# Codes are coarse: so many times the images asked for are measured again.
NUM_MEASURED = {"exact": 1, "flat": 1, "hnsw": 1, "ivfpq": 20}
FEWEST_TO_LEARN_CODES = 9984
_MAX_CELLS = 1 << 24


class EmbeddingIndex:
    """Known images, to be searched by their embedding.

    Attributes:
        kind: how they are searched; see the top of this file.
        dimension: numbers in an embedding.
    """

    def __init__(self, dimension: int, *, kind: Kind = "exact") -> None:
        if kind not in KINDS:
            raise ValueError(f"the kind of index is {kind!r}, expected one of {', '.join(KINDS)}")
        self.kind: Kind = kind
        self.dimension = dimension
        self._size = 0
        self._units = np.empty((0, dimension), dtype=np.float32)
        self._owners = np.empty(0, dtype=np.int32)
        self._alive = np.empty(0, dtype=bool)
        self._codes: dict[str, int] = {}
        self._num_owned = np.empty(0, dtype=np.int64)
        self._faiss: Any = None

    def __len__(self) -> int:
        """Return the number of images that can be found."""
        return int(self._alive[: self._size].sum())

    def add(self, embeddings: np.ndarray, patients: Sequence[str]) -> np.ndarray:
        """Make images known.

        Args:
            embeddings: `(n, d)` finite floats of any length.
            patients: `n` names, whose image each is.

        Returns:
            `(n,)` int64, the row of each, by which it is found and removed; rows are never given twice.

        Raises:
            ValueError: if the shapes do not fit, a number is not finite, or `ivfpq` starts with too few images.
            MissingExtraError: if FAISS is needed and not installed.
        """
        units = scale_to_length_one(embeddings)
        if units.ndim != 2 or units.shape != (len(patients), self.dimension):
            raise ValueError(f"embeddings are {units.shape}, expected {(len(patients), self.dimension)}")
        if self.kind != "exact" and len(units):
            if self._faiss is None:
                self._faiss = _MAKERS[self.kind](units)
            self._faiss.add(units)
        self._keep(units, patients)
        return np.arange(self._size - len(units), self._size)

    def remove(self, rows: Sequence[int] | np.ndarray) -> None:
        """Let images be found no more; rows that were removed before are passed over.

        Raises:
            ValueError: if there never was such a row.
        """
        rows = np.asarray(rows, dtype=np.int64)
        if len(rows) and not (rows.min() >= 0 and rows.max() < self._size):
            raise ValueError(f"rows run from {rows.min()} to {rows.max()}, expected 0 to {self._size - 1}")
        self._alive[rows] = False

    def search(
        self, queries: np.ndarray, count: int, *, exclude: Sequence[Collection[str]] | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the nearest known images of each query.

        Args:
            queries: `(m, d)` finite floats of any length.
            count: how many.
            exclude: for each query the patients of whom no image may be found; by default there are none.

        Returns:
            `(m, count)` int64 rows, nearest first, -1 where there are no more; and `(m, count)` float32 distances,
            infinite there.

        Raises:
            ValueError: if the shapes do not fit or a number is not finite.
        """
        units = scale_to_length_one(queries)
        if units.ndim != 2 or units.shape[1] != self.dimension:
            raise ValueError(f"queries are {units.shape}, expected (m, {self.dimension})")
        if exclude is not None and len(exclude) != len(units):
            raise ValueError(f"exclude names patients for {len(exclude)} queries, expected {len(units)}")
        owners = [
            [self._codes[name] for name in names if name in self._codes] for names in exclude or [()] * len(units)
        ]
        # FAISS passes over no owner: so many more are asked for. An exact search does.
        most = max((int(self._num_owned[codes].sum()) for codes in owners if self.kind != "exact"), default=0)
        wanted = min(count * NUM_MEASURED[self.kind] + most, self._size)
        chunk = max(1, _MAX_CELLS // max(1, self._size, wanted * self.dimension))
        found = [
            self._measure(units[start : start + chunk], wanted, count, owners[start : start + chunk])
            for start in range(0, len(units), chunk)
        ]
        if not found:
            return np.empty((0, count), dtype=np.int64), np.empty((0, count), dtype=np.float32)
        rows, distances = (np.concatenate(parts) for parts in zip(*found, strict=True))
        return rows, distances

    @property
    def graph(self) -> Any:
        """What FAISS made, to be kept beside the embeddings; None for the kind `exact`."""
        return self._faiss

    @classmethod
    def restore(cls, units: np.ndarray, patients: Sequence[str], *, kind: Kind, graph: Any) -> "EmbeddingIndex":
        """Return an index with what FAISS made of the same embeddings before; see `graph`."""
        index = cls(units.shape[1], kind=kind)
        index._faiss = graph
        index._keep(units, patients)
        return index

    def embeddings(self, rows: np.ndarray) -> np.ndarray:
        """Return `(n, d)` float32, the embeddings of some rows, scaled to length 1."""
        return self._units[: self._size][rows]

    def _keep(self, units: np.ndarray, patients: Sequence[str]) -> None:
        owners = np.array([self._codes.setdefault(name, len(self._codes)) for name in patients], dtype=np.int32)
        end = self._size + len(units)
        self._units, self._owners, self._alive = (
            _put(array, self._size, values)
            for array, values in (
                (self._units, units),
                (self._owners, owners),
                (self._alive, np.ones(len(units), dtype=bool)),
            )
        )
        self._num_owned = np.bincount(self._owners[:end], minlength=len(self._codes))
        self._size = end

    def _measure(
        self, units: np.ndarray, wanted: int, count: int, owners: list[list[int]]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return rows and distances of the nearest among candidates, none of them of `owners`."""
        candidates = self._find_candidates(units, wanted, owners)
        # FAISS gives -1 where it finds no more: a row from the end, where nothing may have been written yet.
        places = np.maximum(candidates, 0)
        gaps = np.linalg.norm(self._units[places] - units[:, None], axis=2)
        gaps[(candidates < 0) | ~self._alive[places]] = np.inf
        for number, codes in enumerate(owners):
            if codes:
                gaps[number, (self._owners[places[number], None] == codes).any(axis=1)] = np.inf
        order = np.lexsort((candidates, gaps))[:, :count]
        rows, distances = (np.take_along_axis(values, order, axis=1) for values in (candidates, gaps))
        rows = np.where(np.isfinite(distances), rows, -1)
        missing = ((0, 0), (0, count - rows.shape[1]))
        return np.pad(rows, missing, constant_values=-1), np.pad(distances, missing, constant_values=np.inf)

    def _find_candidates(self, units: np.ndarray, wanted: int, owners: list[list[int]]) -> np.ndarray:
        """Return `(m, wanted)` int64, rows that may be the nearest, in any order; some may be of `owners`."""
        if not wanted:
            return np.empty((len(units), 0), dtype=np.int64)
        alive = self._alive[: self._size]
        if self.kind == "exact":
            cosines = units @ self._units[: self._size].T
            if not alive.all():
                cosines[:, ~alive] = -np.inf
            for number, codes in enumerate(owners):
                for code in codes:
                    cosines[number, self._owners[: self._size] == code] = -np.inf
            if wanted == self._size:
                return np.tile(np.arange(self._size), (len(units), 1))
            return np.argpartition(cosines, -wanted, axis=1)[:, -wanted:]
        return self._faiss.search(units, wanted, params=_set_search(self.kind, wanted, alive))[1]


def build_index(embeddings: np.ndarray, patients: Sequence[str], *, kind: Kind = "exact") -> EmbeddingIndex:
    """Return an index of `(n, d)` embeddings; row i is image i. See `EmbeddingIndex`.

    Example:
        >>> index = build_index(np.eye(3), ["ann", "bob", "bob"])
        >>> rows, distances = index.search(np.array([[5.0, 4.0, 0.0]]), 2, exclude=[["ann"]])
        >>> rows.tolist(), distances.astype(float).round(2).tolist()
        ([[1, 2]], [[0.87, 1.41]])
    """
    index = EmbeddingIndex(np.shape(embeddings)[-1], kind=kind)
    index.add(embeddings, patients)
    return index


def scale_to_length_one(embeddings: np.ndarray) -> np.ndarray:
    """Return embeddings scaled to length 1, as float32; those of length 0 stay as they are.

    Raises:
        ValueError: if a number is not finite.

    Example:
        >>> scale_to_length_one(np.array([[3.0, 4.0], [0.0, 0.0]])).round(2).tolist()
        [[0.6000000238418579, 0.800000011920929], [0.0, 0.0]]
    """
    values = np.asarray(embeddings, dtype=np.float32)
    lengths = np.linalg.norm(values, axis=-1, keepdims=True)
    if not np.isfinite(lengths).all():
        raise ValueError("embeddings hold NaN or infinity, expected finite numbers; the net may have diverged")
    return values / np.where(lengths > 0, lengths, 1)


def _put(array: np.ndarray, start: int, values: np.ndarray) -> np.ndarray:
    """Return an array that holds `values` from `start` on, with room to spare, so that adding costs what is added."""
    end = start + len(values)
    if not start:
        return values.copy()
    if end > len(array):
        larger = np.empty((max(end, len(array) + len(array) // 2), *array.shape[1:]), dtype=array.dtype)
        larger[:start] = array[:start]
        array = larger
    array[start:end] = values
    return array


def _import_faiss() -> Any:
    try:
        import faiss
    except ImportError as error:
        raise MissingExtraError(
            "this index needs FAISS, which is not installed; mend it with: pip install 'pneumoscope[search]', "
            "or take the kind `exact`"
        ) from error
    return faiss


def _make_flat(units: np.ndarray) -> Any:
    return _import_faiss().IndexFlatL2(units.shape[1])


def _make_hnsw(units: np.ndarray) -> Any:
    faiss = _import_faiss()
    graph = faiss.IndexHNSWFlat(units.shape[1], NUM_LINKS)
    graph.hnsw.efConstruction = NUM_FOLLOWED
    return graph


def _make_ivfpq(units: np.ndarray) -> Any:
    faiss = _import_faiss()
    if len(units) < FEWEST_TO_LEARN_CODES:
        raise ValueError(
            f"{len(units)} images, expected {FEWEST_TO_LEARN_CODES} or more at once to learn the codes of ivfpq from; "
            "take the kind `exact`, which is fast on so few"
        )
    num_numbers = units.shape[1]
    num_bytes = next(size for size in range(max(1, num_numbers // 4), 0, -1) if num_numbers % size == 0)
    num_cells = min(int(4 * np.sqrt(len(units))), len(units) // 39)
    # np: without the ordering of the codes for a search by Hamming distance, which takes most of the time.
    graph = faiss.index_factory(num_numbers, f"IVF{num_cells},PQ{num_bytes}np")
    learned_from = np.random.default_rng(0).permutation(len(units))[: max(39 * num_cells, FEWEST_TO_LEARN_CODES)]
    graph.train(units[np.sort(learned_from)])
    return graph


_MAKERS: dict[Kind, Callable[[np.ndarray], Any]] = {"flat": _make_flat, "hnsw": _make_hnsw, "ivfpq": _make_ivfpq}


def _set_search(kind: Kind, wanted: int, alive: np.ndarray) -> Any:
    faiss = _import_faiss()
    chosen: dict[str, Any] = {}
    if not alive.all():
        # FAISS reads the bits in place, so that they must outlive the search: the parameters hold them.
        chosen["sel"] = faiss.IDSelectorBitmap(np.packbits(alive, bitorder="little"))
    if kind == "hnsw":
        return faiss.SearchParametersHNSW(efSearch=max(NUM_FOLLOWED, wanted), **chosen)
    if kind == "ivfpq":
        return faiss.SearchParametersIVF(nprobe=NUM_CELLS_SEEN, **chosen)
    return faiss.SearchParameters(**chosen)
