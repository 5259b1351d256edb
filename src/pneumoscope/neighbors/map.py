"""Task 2: two-dimensional maps of embeddings. New images can be added to a fitted map.

    tsne    t-SNE (van der Maaten and Hinton 2008), by openTSNE (Policar, Strazar and Zupan 2024)
    umap    UMAP (McInnes, Healy and Melville 2018)

A map preserves local neighborhoods under cosine distance. Distances between clusters have no meaning.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pneumoscope.data.dataset import Dataset
from pneumoscope.data.examples import simplify_labels
from pneumoscope.errors import CollectionError, MissingExtraError, TrainingError
from pneumoscope.io.results import EmbeddingMap
from pneumoscope.labels import LabelSet
from pneumoscope.neighbors.search import EmbeddingIndex, scale_to_length_one

Method = Literal["tsne", "umap"]
Place = Callable[[NDArray[np.float64]], Any]  # embeds normalized embeddings into a fitted map
PERPLEXITY = 30
PLACING_PERPLEXITY = 5
MIN_IMAGES = 4
NUM_NEIGHBORS = 5
NUM_LINKED = 3
MAX_MEASURED = 2000
NUM_UMAP_NEIGHBORS = 15
# Below this number of images, Barnes-Hut is faster than FFT interpolation.
MIN_FFT_IMAGES = 2000


def compute_map(
    embeddings: NDArray[np.floating],
    dataset: Dataset,
    *,
    label_set: LabelSet,
    seed: int = 0,
    new_embeddings: NDArray[np.floating] | None = None,
    new_names: Sequence[str] = (),
    method: Method = "tsne",
) -> EmbeddingMap:
    """Compute a two-dimensional map of embeddings.

    The map is fitted on all images outside `test`; their origin is `train`. Test images and new images are embedded
    into the fitted map. Rows are the images of `dataset` in order, then the new images.

    Args:
        embeddings: `(n, d)` floats, one row per image of `dataset`.
        dataset: with 4 or more images outside the split `test`.
        label_set: the classes of the classifier. Multi-label: each point has one label, see `simplify_labels`.
        seed: of the map and of the sample for its quality metrics.
        new_embeddings, new_names: `(m, d)` floats and `m` names of unlabeled images.
        method: `tsne` or `umap`.

    Raises:
        ValueError: if the shapes do not match or a value is not finite.
        CollectionError: if there are too few images.
        TrainingError: if all images have the same embedding.
        MissingExtraError: if openTSNE or UMAP is not installed.
    """
    if new_embeddings is None:
        new_embeddings = np.empty((0, embeddings.shape[-1]), dtype=np.float32)
    _check_shapes(embeddings, dataset, new_embeddings, new_names)
    test, num_new = dataset.table["split"].to_numpy() == "test", len(new_embeddings)
    _check_fit(embeddings[~test])
    origins = np.array([*np.where(test, "test", "train"), *["new"] * num_new], dtype=str)
    coordinates = np.empty((len(origins), 2), dtype=np.float32)
    units, others = (
        scale_to_length_one(part).astype(np.float64)
        for part in (embeddings[~test], np.concatenate([embeddings[test], new_embeddings]))
    )
    coordinates[origins == "train"], place = _FITS[method](units, seed)
    if len(others):
        coordinates[origins != "train"] = place(others)
    patients = [*dataset.table["patient"].astype(str), *[""] * num_new]
    labels, classes = simplify_labels(dataset.labels(label_set), label_set)
    return EmbeddingMap(
        coordinates=coordinates,
        labels=np.concatenate([labels, np.full(num_new, -1)]),
        origins=origins,
        names=np.array([*dataset.table["name"], *new_names], dtype=str),
        classes=classes,
        method=method,
        nearest=_find_nearest(np.concatenate([embeddings, new_embeddings]), origins, patients),
        **measure_map(embeddings[~test], coordinates[origins == "train"], seed=seed),
    )


def _fit_tsne(units: NDArray[np.float64], seed: int) -> tuple[Any, Place]:
    try:
        from openTSNE import TSNE
    except ImportError as error:
        raise MissingExtraError("the method `tsne` requires openTSNE. Run: pip install '.[train]'") from error
    most = (len(units) - 1) / 3
    tsne = TSNE(
        perplexity=min(PERPLEXITY, most),
        neighbors="exact",
        negative_gradient_method="fft" if len(units) >= MIN_FFT_IMAGES else "bh",
        # OpenMP threads busy-wait, so two threads are slower than one on a loaded machine.
        n_jobs=1,
        random_state=seed,
    )
    fitted = tsne.fit(units)
    return fitted, lambda others: fitted.transform(others, perplexity=min(PLACING_PERPLEXITY, most))


def _fit_umap(units: NDArray[np.float64], seed: int) -> tuple[Any, Place]:
    try:
        from umap import UMAP
    except ImportError as error:
        raise MissingExtraError(
            "the method `umap` requires umap-learn. Run: pip install '.[umap]', or use the method `tsne`"
        ) from error
    num_neighbors = min(NUM_UMAP_NEIGHBORS, len(units) - 1)
    start = "spectral" if len(units) > MIN_IMAGES else "random"
    umap = UMAP(n_neighbors=num_neighbors, init=start, random_state=seed, n_jobs=1)
    umap.fit(units)
    return umap.embedding_, umap.transform


_FITS = {"tsne": _fit_tsne, "umap": _fit_umap}


def _check_shapes(
    embeddings: NDArray[np.floating], dataset: Dataset, new_embeddings: NDArray[np.floating], new_names: Sequence[str]
) -> None:
    if embeddings.ndim != 2 or len(embeddings) != len(dataset):
        raise ValueError(f"embeddings are {embeddings.shape}, expected ({len(dataset)}, d): one row per image")
    expected = (len(new_names), embeddings.shape[1])
    if new_embeddings.shape != expected:
        raise ValueError(f"new_embeddings are {new_embeddings.shape}, expected {expected}: one row per name")
    if not (np.isfinite(embeddings).all() and np.isfinite(new_embeddings).all()):
        raise ValueError("embeddings hold NaN or infinity, expected finite numbers; the training may have diverged")


def _check_fit(embeddings: NDArray[np.floating]) -> None:
    if len(embeddings) < MIN_IMAGES:
        raise CollectionError(
            f"{len(embeddings)} images outside test, expected {MIN_IMAGES} or more for a map; add radiographs"
        )
    if np.ptp(embeddings, axis=0).max() == 0:
        raise TrainingError("all images have the same embedding: the training collapsed. Train with another seed.")


def measure_map(
    embeddings: NDArray[np.floating], coordinates: NDArray[np.floating], *, seed: int = 0
) -> dict[str, float]:
    """Measure the neighborhood preservation of a map, with 5 neighbors, on a sample of at most 2,000 images.

    Args:
        embeddings: `(n, d)` floats.
        coordinates: `(n, 2)` floats.
        seed: of the sample.

    Returns:
        Metrics in [0, 1], 1 = perfect. `trustworthiness`: neighbors on the map are neighbors in the embedding;
        `continuity`: the reverse (J. Venna and S. Kaski, "Neighborhood Preservation in Nonlinear Projection Methods",
        2001; chance level about 0.5). `knn_preservation`: share of common neighbors (J. Lee and M. Verleysen, "Quality
        Assessment of Dimensionality Reduction", 2009; chance level 5 / n).
    """
    from sklearn.manifold import trustworthiness

    sample = np.random.default_rng(seed).permutation(len(embeddings))[:MAX_MEASURED]
    units, places = scale_to_length_one(embeddings[sample]), np.asarray(coordinates, dtype=np.float64)[sample]
    count = min(NUM_NEIGHBORS, (len(sample) - 1) // 2)
    kept = _find_others(units, count)[:, :, None] == _find_others(places, count)[:, None]
    return {
        "trustworthiness": float(trustworthiness(units, places, n_neighbors=count)),
        "continuity": float(trustworthiness(places, units, n_neighbors=count)),
        "knn_preservation": float(kept.any(axis=2).mean()),
    }


def _find_nearest(
    embeddings: NDArray[np.floating], origins: NDArray[np.str_], patients: Sequence[str]
) -> NDArray[np.int64]:
    """Return `(n, 3)` int, for each point the nearest fitted images of other patients by embedding."""
    rows = np.flatnonzero(origins == "train")
    index = EmbeddingIndex(embeddings[rows], [patients[row] for row in rows.tolist()])
    nearest, _ = index.search(embeddings, NUM_LINKED, exclude=[(name,) for name in patients])
    return np.where(nearest < 0, -1, rows[nearest])


def _find_others(points: NDArray[np.floating], count: int) -> NDArray[np.int64]:
    """Return `(n, count)` int, the nearest neighbors of each point."""
    from sklearn.neighbors import NearestNeighbors

    search = NearestNeighbors(n_neighbors=count, algorithm="brute").fit(points)
    return np.asarray(search.kneighbors(return_distance=False))
