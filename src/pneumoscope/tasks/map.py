"""Task 2: a t-SNE map of embeddings, and images placed on it that had no part in making it.

t-SNE: van der Maaten and Hinton 2008, by openTSNE (Policar, Strazar and Zupan 2024), which can place a new
point on a finished map. The map shows who neighbors whom; distances between far groups mean nothing.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from pneumoscope.errors import CollectionError, MissingExtraError, TrainingError
from pneumoscope.radiographs.dataset import Dataset
from pneumoscope.results import EmbeddingMap

PERPLEXITY = 30
PLACING_PERPLEXITY = 5
MIN_IMAGES = 4
NUM_NEIGHBORS = 5
MAX_JUDGED = 2000
# Below, summing over a tree is faster than the Fourier grid, whose cost hardly depends on the number of points.
FEWEST_FOR_GRID = 2000


def draw_map(
    embeddings: np.ndarray,
    dataset: Dataset,
    *,
    classes: Sequence[str],
    seed: int = 0,
    new_embeddings: np.ndarray | None = None,
    new_names: Sequence[str] = (),
) -> EmbeddingMap:
    """Map embeddings to the plane.

    All images but those of the split `test` make the map and have the origin `train`; test images and then new
    ones are placed on it, each by itself. The rows of the map are those of `dataset`, in its order, then the
    new images.

    Args:
        embeddings: `(n, d)` floats, one row an image of `dataset`.
        dataset: with 4 or more images outside the split `test`.
        classes: class names of the net.
        seed: of the map and of the sample that trustworthiness is measured on (2,000 images at most).
        new_embeddings: `(m, d)` floats, images from anywhere; their class counts as not known.
        new_names: `m` names.

    Raises:
        ValueError: if the shapes do not fit or a number is not finite.
        CollectionError: if there are too few images.
        TrainingError: if the net gives all images the same embedding.
        MissingExtraError: if openTSNE is not installed.
    """
    if new_embeddings is None:
        new_embeddings = np.empty((0, embeddings.shape[-1]), dtype=np.float32)
    _check_shapes(embeddings, dataset, new_embeddings, new_names)
    test = dataset.table["split"].to_numpy() == "test"
    known = embeddings[~test].astype(np.float64)
    if len(known) < MIN_IMAGES:
        raise CollectionError(
            f"{len(known)} images outside test, expected {MIN_IMAGES} or more to map; add radiographs"
        )
    if np.ptp(known, axis=0).max() == 0:
        raise TrainingError("all images have the same embedding: the net ended dead; train it anew with another seed")
    fitted = _fit_map(known, seed)
    coordinates = np.empty((len(dataset) + len(new_embeddings), 2), dtype=np.float32)
    origins = np.array([*np.where(test, "test", "train"), *["new"] * len(new_embeddings)], dtype=str)
    coordinates[origins == "train"] = fitted
    unseen = np.concatenate([embeddings[test], new_embeddings])
    if len(unseen):
        perplexity = min(PLACING_PERPLEXITY, (len(known) - 1) / 3)
        coordinates[origins != "train"] = fitted.transform(unseen.astype(np.float64), perplexity=perplexity)
    return EmbeddingMap(
        coordinates=coordinates,
        labels=np.concatenate([dataset.labels(classes), np.full(len(new_embeddings), -1)]),
        origins=origins,
        names=np.array([*dataset.table["name"], *new_names], dtype=str),
        classes=tuple(classes),
        trustworthiness=_measure_trust(known, coordinates[origins == "train"], seed),
    )


def _check_shapes(
    embeddings: np.ndarray, dataset: Dataset, new_embeddings: np.ndarray, new_names: Sequence[str]
) -> None:
    if embeddings.ndim != 2 or len(embeddings) != len(dataset):
        raise ValueError(f"embeddings are {embeddings.shape}, expected ({len(dataset)}, d): one row an image")
    expected = (len(new_names), embeddings.shape[1])
    if new_embeddings.shape != expected:
        raise ValueError(f"new_embeddings are {new_embeddings.shape}, expected {expected}: one row a name")
    if not (np.isfinite(embeddings).all() and np.isfinite(new_embeddings).all()):
        raise ValueError("embeddings hold NaN or infinity, expected finite numbers; the net may have diverged")


def _fit_map(embeddings: np.ndarray, seed: int) -> Any:
    try:
        from openTSNE import TSNE
    except ImportError as error:
        raise MissingExtraError(
            "the map needs openTSNE, which is not installed; mend it with: pip install 'pneumoscope[train]'"
        ) from error
    return TSNE(
        perplexity=min(PERPLEXITY, (len(embeddings) - 1) / 3),
        neighbors="exact",
        negative_gradient_method="fft" if len(embeddings) >= FEWEST_FOR_GRID else "bh",
        # Its threads spin while they wait for each other: two on a busy machine are slower than one.
        n_jobs=1,
        random_state=seed,
    ).fit(embeddings)


def _measure_trust(embeddings: np.ndarray, coordinates: np.ndarray, seed: int) -> float:
    from sklearn.manifold import trustworthiness

    judged = np.random.default_rng(seed).permutation(len(embeddings))[:MAX_JUDGED]
    num_neighbors = min(NUM_NEIGHBORS, (len(judged) - 1) // 2)
    return float(trustworthiness(embeddings[judged], coordinates[judged], n_neighbors=num_neighbors))
