"""Time of exact nearest-neighbor search: our index, scikit-learn, and FAISS (`pip install faiss-cpu`).

python benchmarks/retrieval.py [--num-references 1000000] [--dimension 128] [--num-queries 200]

Embeddings are drawn around centers, as those of a classifier lie, and each patient owns four. One query is searched at
a time, as in inference; recall is the share of the five nearest that is found. Our index also excludes the query's own
patient. Each index is deleted before the next is built; the peak memory is that of the process so far.
"""

import gc
import resource
import sys
import time
from collections.abc import Callable
from functools import partial

import numpy as np
from timing import parse_options, take_turns

from pneumoscope.neighbors.search import EmbeddingIndex, scale_to_length_one

NUM_NEAREST = 5
SPREAD = 0.5
IMAGES_PER_PATIENT = 4

Search = Callable[[np.ndarray], np.ndarray]


def draw_embeddings(count: int, dimension: int, *, num_centers: int, seed: int) -> np.ndarray:
    """Return `(count, dimension)` float32 of length 1, around centers that do not depend on the seed."""
    centers = np.random.default_rng(0).normal(size=(num_centers, dimension)).astype(np.float32)
    rng = np.random.default_rng(seed)
    embeddings = SPREAD * rng.standard_normal((count, dimension), dtype=np.float32)
    embeddings += centers[rng.integers(num_centers, size=count)]
    return scale_to_length_one(embeddings)


def open_ours(references: np.ndarray) -> Search:
    index = EmbeddingIndex(references, [f"p{row // IMAGES_PER_PATIENT}" for row in range(len(references))])
    return lambda query: index.search(query, NUM_NEAREST, exclude=[["p0"]])[0]


def open_scikit_learn(references: np.ndarray) -> Search:
    from sklearn.neighbors import NearestNeighbors

    index = NearestNeighbors(n_neighbors=NUM_NEAREST, algorithm="brute").fit(references)
    return lambda query: index.kneighbors(query, return_distance=False)


def open_faiss(references: np.ndarray) -> Search:
    import faiss

    index = faiss.IndexFlatL2(references.shape[1])
    index.add(references)
    return lambda query: index.search(query, NUM_NEAREST)[1]


def main() -> None:
    options = parse_options(__doc__, num_references=1_000_000, dimension=128, num_queries=200)
    count, num_centers = options.num_references, max(10, options.num_references // 500)
    references = draw_embeddings(count, options.dimension, num_centers=num_centers, seed=1)
    queries = draw_embeddings(options.num_queries, options.dimension, num_centers=num_centers, seed=2)[:, None]
    print(f"{count:,} references of {options.dimension} numbers, {len(queries)} queries, one at a time")
    print(f"{'':26}{'build s':>9}{'ms':>9}{'x sklearn':>11}{'recall':>8}{'peak MiB':>10}")
    reference_time = exact = None
    openers = {"scikit-learn, brute force": open_scikit_learn, "FAISS, flat": open_faiss, "ours": open_ours}
    for name, open_index in openers.items():
        start = time.perf_counter()
        search = open_index(references)
        built = time.perf_counter() - start
        nearest = [search(query)[0] for query in queries]
        seconds = take_turns({str(row): partial(search, query) for row, query in enumerate(queries)}, 1)
        milliseconds = 1000 * float(np.median(list(seconds.values())))
        reference_time, exact = reference_time or milliseconds, exact or nearest
        recall = np.mean([len({*one} & {*other}) / NUM_NEAREST for one, other in zip(nearest, exact, strict=True)])
        del search, seconds
        gc.collect()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
        ratio = milliseconds / reference_time
        print(f"{name:26}{built:9.1f}{milliseconds:9.2f}{ratio:11.4f}{recall:8.3f}{peak:10.0f}", flush=True)


if __name__ == "__main__":
    main()
