"""Time of exact nearest-neighbor search: our index, scikit-learn, and FAISS (`pip install faiss-cpu`).

    python benchmarks/retrieval.py [--num-known 1000000] [--dimension 128] [--num-queries 200]

Embeddings are drawn around centers, as those of a classifier lie, and each patient owns four. One query is searched at
a time, as in inference; recall is the share of the five nearest that is found. Our index also excludes the query's own
patient. Every index is dropped before the next is built, and the peak memory of the process stands beside it.
"""

import argparse
import gc
import resource
import statistics
import sys
import time
from collections.abc import Callable

import numpy as np

from pneumoscope.neighbors.search import EmbeddingIndex, scale_to_length_one
from pneumoscope.progress import track

NUM_NEAREST = 5
SPREAD = 0.5
IMAGES_PER_PATIENT = 4

Search = Callable[[np.ndarray], np.ndarray]


def draw_embeddings(count: int, dimension: int, *, num_centers: int, seed: int) -> np.ndarray:
    """Return `(count, dimension)` float32 of length 1, around centers that do not depend on the seed."""
    centers = np.random.default_rng(0).normal(size=(num_centers, dimension)).astype(np.float32)
    rng = np.random.default_rng(seed)
    drawn = SPREAD * rng.standard_normal((count, dimension), dtype=np.float32)
    drawn += centers[rng.integers(num_centers, size=count)]
    return scale_to_length_one(drawn)


def open_ours(known: np.ndarray) -> Search:
    """Our index, with the patient of each query left out."""
    index = EmbeddingIndex(known, [f"p{row // IMAGES_PER_PATIENT}" for row in range(len(known))])
    return lambda query: index.search(query, NUM_NEAREST, exclude=[["p0"]])[0]


def open_scikit_learn(known: np.ndarray) -> Search:
    """Brute force by scikit-learn."""
    from sklearn.neighbors import NearestNeighbors

    index = NearestNeighbors(n_neighbors=NUM_NEAREST, algorithm="brute").fit(known)
    return lambda query: index.kneighbors(query, return_distance=False)


def open_faiss(known: np.ndarray, factory: str) -> Search:
    """An index of FAISS, by the name that its factory knows."""
    import faiss

    index = faiss.index_factory(known.shape[1], factory)
    index.train(known)
    index.add(known)
    return lambda query: index.search(query, NUM_NEAREST)[1]


def measure(search: Search, queries: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the median milliseconds a query, and what was found."""
    search(queries[:1])
    times, found = [], []
    for number in range(len(queries)):
        start = time.perf_counter()
        found.append(search(queries[number : number + 1])[0])
        times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times), np.stack(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num-known", type=int, default=1_000_000)
    parser.add_argument("--dimension", type=int, default=128)
    parser.add_argument("--num-queries", type=int, default=200)
    given = parser.parse_args()

    num_centers = max(10, given.num_known // 500)
    known = draw_embeddings(given.num_known, given.dimension, num_centers=num_centers, seed=1)
    queries = draw_embeddings(given.num_queries, given.dimension, num_centers=num_centers, seed=2)
    makers: dict[str, Callable[[], Search]] = {
        "scikit-learn, brute force": lambda: open_scikit_learn(known),
        "FAISS, flat": lambda: open_faiss(known, "Flat"),
        "FAISS, HNSW": lambda: open_faiss(known, "HNSW32"),
        "ours": lambda: open_ours(known),
    }
    print(f"{given.num_known:,} known of {given.dimension} numbers, {given.num_queries} queries, one at a time")
    print(f"{'':26}{'build s':>9}{'ms':>9}{'x sklearn':>11}{'x FAISS':>9}{'recall':>8}{'peak MiB':>10}")
    taken: dict[str, float] = {}
    nearest = None
    for name, make in track(list(makers.items()), "Building and searching"):
        start = time.perf_counter()
        search = make()
        built = time.perf_counter() - start
        taken[name], found = measure(search, queries)
        del search
        gc.collect()
        nearest = found if nearest is None else nearest
        recall = np.mean([len(set(one) & set(other)) / NUM_NEAREST for one, other in zip(found, nearest, strict=True)])
        first, second = (taken.get(other, taken[name]) for other in list(makers)[:2])
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
        print(
            f"{name:26}{built:9.1f}{taken[name]:9.2f}{taken[name] / first:11.4f}{taken[name] / second:9.3f}"
            f"{recall:8.3f}{peak:10.0f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
