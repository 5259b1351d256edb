"""Task 2: embeddings, labelling by the nearest known images, and the images most like a given one.

The embedding is what the hidden Dense layer of a net of task 1 makes of an image. It is scaled to length 1, so that the
nearest are those of largest cosine; see `pneumoscope.tasks.index`, which finds them for everyone.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from pneumoscope.evaluation.metrics import estimate_share, evaluate
from pneumoscope.progress import track
from pneumoscope.radiographs.dataset import Dataset
from pneumoscope.results import Neighbors
from pneumoscope.tasks.index import EmbeddingIndex, build_index

K_TRIED = (1, 3, 5, 9, 15, 25, 51, 101)
NUM_QUERIES = 6
NUM_NEAREST = 5
_BATCH_SIZE = 64


def embed_images(model: Any, images: np.ndarray, *, layer: str = "embedding") -> np.ndarray:
    """Return what a layer makes of each image.

    Args:
        model: a Keras model that takes `(n, H, W, channels)` of values 0 to 255.
        images: `(n, H, W)` uint8; a net of three channels sees the same grey three times.
        layer: name of a layer with output `(n, d)`.

    Returns:
        `(n, d)` float32.

    Raises:
        ValueError: if the model has no such layer.
    """
    import keras

    net = keras.Model(model.input, model.get_layer(layer).output)
    channels = model.input.shape[-1]
    embeddings = [np.empty((0, *net.output.shape[1:]), dtype=np.float32)]
    for start in track(range(0, len(images), _BATCH_SIZE), "Embedding images"):
        batch = np.repeat(images[start : start + _BATCH_SIZE, ..., None], channels, axis=-1)
        embeddings.append(np.asarray(net.predict_on_batch(batch), dtype=np.float32))
    return np.concatenate(embeddings)


def find_neighbors(
    embeddings: np.ndarray, dataset: Dataset, *, classes: Sequence[str], net_probabilities: np.ndarray, seed: int = 0
) -> Neighbors:
    """Label images by vote of their k nearest training images, and compare with the net.

    The training images are the reference; a vote weighs the less the more of them are of its class, so that classes
    weigh alike as they do in training. k is the one of `K_TRIED` with the highest balanced accuracy on
    validation (the smallest of equals), so that the validation figures flatter a little; the test images are
    looked at once. Images whose class is not known are left out.

    Args:
        embeddings: `(n, d)` floats, one row an image of `dataset`.
        dataset: with the splits `train`, `val` and `test`.
        classes: class names of the net.
        net_probabilities: `(m, classes)` floats, the net's own, of the test images in the order of `dataset`.
        seed: of the resampling and of the choice of examples.

    Raises:
        ValueError: if a split is empty or the shapes do not fit.
    """
    labels = dataset.labels(classes)
    rows = {split: dataset.rows(split) for split in ("train", "val", "test")}
    _check_shapes(embeddings, dataset, net_probabilities, (len(rows["test"]), len(classes)))
    net_decisions = net_probabilities.argmax(axis=1)[labels[rows["test"]] >= 0]
    rows = {split: found[labels[found] >= 0] for split, found in rows.items()}
    empty = [split for split, found in rows.items() if not len(found)]
    if empty:
        raise ValueError(f"no image of known class in {', '.join(empty)}; split the dataset with split_dataset first")

    patients, names = (dataset.table[column].to_numpy().astype(str) for column in ("patient", "name"))
    index = build_index(embeddings[rows["train"]], patients[rows["train"]].tolist())
    shares = {
        split: count_votes(
            index, labels[rows["train"]], embeddings[rows[split]], patients[rows[split]], num_classes=len(classes)
        )
        for split in ("val", "test")
    }
    k_scores = {k: _balanced_accuracy(labels[rows["val"]], votes.argmax(axis=1)) for k, votes in shares["val"].items()}
    k = max(k_scores, key=lambda tried: k_scores[tried])
    evaluations = {
        split: evaluate(
            labels[found],
            shares[split][k],
            classes=classes,
            split=split,
            patients=patients[found],
            names=names[found],
            seed=seed,
        )
        for split, found in rows.items()
        if split != "train"
    }
    truth, decisions = labels[rows["test"]], evaluations["test"].decisions
    queries = rows["test"][_choose_queries(truth, decisions, len(classes), seed)]
    nearest, distances = _find_nearest(queries, embeddings, dataset)
    return Neighbors(
        k=k,
        k_scores={str(tried): score for tried, score in k_scores.items()},
        evaluations=evaluations,
        agreement=estimate_share(decisions == net_decisions, patients[rows["test"]], seed=seed),
        **_count_differences(truth, decisions, net_decisions),
        queries=queries,
        nearest=nearest,
        distances=distances,
    )


def find_similar(
    embedding: np.ndarray,
    embeddings: np.ndarray,
    dataset: Dataset,
    *,
    patient: str | None = None,
    num_neighbors: int = NUM_NEAREST,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the training images most like a given one, never of the same patient.

    Args:
        embedding: `(d,)` floats, of the given image.
        embeddings: `(n, d)` floats, one row an image of `dataset`.
        dataset: the known images; those of its split `train` are searched.
        patient: whose the given image is, as in the dataset's table; None where that is not known.
        num_neighbors: number of images to return; fewer come back where there are no more.

    Returns:
        `(num_neighbors,)` int, index into `dataset`, nearest first, and `(num_neighbors,)` float32, their
        distances: Euclidean, in the embedding scaled to length 1.

    Raises:
        ValueError: if there is no training image of another patient, or the shapes do not fit.
    """
    if embeddings.shape != (len(dataset), *np.shape(embedding)):
        expected = (len(dataset), *np.shape(embedding))
        raise ValueError(f"embeddings are {embeddings.shape}, expected {expected}: one row an image")
    rows = dataset.rows("train")
    index = build_index(embeddings[rows], dataset.table["patient"].to_numpy()[rows].tolist())
    found, distances = index.search(embedding[None], num_neighbors, exclude=[() if patient is None else (patient,)])
    found, distances = found[0][found[0] >= 0], distances[0][found[0] >= 0]
    if not len(found):
        raise ValueError("no training image of another patient to compare with; expected a dataset that was split")
    return rows[found], distances


def count_votes(
    index: EmbeddingIndex,
    known_labels: np.ndarray,
    embeddings: np.ndarray,
    patients: np.ndarray,
    *,
    num_classes: int,
    ks: Sequence[int] = K_TRIED,
) -> dict[int, np.ndarray]:
    """Return how the k nearest known images of other patients vote.

    Args:
        index: of the known images.
        known_labels: `(n,)` int, their class; row i is that of image i of the index.
        embeddings: `(m, d)` floats, of the images to label.
        patients: `(m,)` str, whose each is.
        num_classes: how many classes there are.
        ks: numbers of neighbors; those that some image does not have are left out.

    Returns:
        By k, `(m, num_classes)` float64, the share of the votes of each class, each vote divided by the number of
        known images of its class; rows sum to 1.
    """
    nearest, _ = index.search(embeddings, min(max(ks), len(index)), exclude=[(name,) for name in patients])
    weights = 1 / np.maximum(np.bincount(known_labels, minlength=num_classes), 1)
    votes = np.cumsum((np.eye(num_classes) * weights)[known_labels[nearest]], axis=1)
    most = int((nearest >= 0).sum(axis=1).min(initial=nearest.shape[1]))
    return {k: votes[:, k - 1] / votes[:, k - 1].sum(axis=1, keepdims=True) for k in ks if k <= most}


def _check_shapes(
    embeddings: np.ndarray, dataset: Dataset, net_probabilities: np.ndarray, expected: tuple[int, int]
) -> None:
    if embeddings.ndim != 2 or len(embeddings) != len(dataset):
        raise ValueError(f"embeddings are {embeddings.shape}, expected ({len(dataset)}, d): one row an image")
    if net_probabilities.shape != expected:
        raise ValueError(f"net_probabilities are {net_probabilities.shape}, expected {expected}: of the test images")


def _balanced_accuracy(truth: np.ndarray, decisions: np.ndarray) -> float:
    from sklearn.metrics import recall_score

    # Over the classes there are: a small validation split may lack one, and k is to be chosen all the same.
    return float(recall_score(truth, decisions, labels=np.unique(truth), average="macro"))


def _count_differences(truth: np.ndarray, decisions: np.ndarray, net_decisions: np.ndarray) -> dict[str, int]:
    differ = decisions != net_decisions
    return {
        "net_right": int((differ & (net_decisions == truth)).sum()),
        "knn_right": int((differ & (decisions == truth)).sum()),
        "neither_right": int((differ & (net_decisions != truth) & (decisions != truth)).sum()),
    }


def _choose_queries(truth: np.ndarray, decisions: np.ndarray, num_classes: int, seed: int) -> np.ndarray:
    """Return examples of each class labelled rightly and wrongly, in turn, as positions in `truth`."""
    shuffled = np.random.default_rng(seed).permutation(len(truth))
    right = truth == decisions
    groups = [
        shuffled[(truth[shuffled] == label) & (right[shuffled] == outcome)]
        for outcome in (True, False)
        for label in range(num_classes)
    ]
    in_turn = [group[turn] for turn in range(NUM_QUERIES) for group in groups if turn < len(group)]
    return np.array(in_turn[:NUM_QUERIES], dtype=np.int64)


def _find_nearest(queries: np.ndarray, embeddings: np.ndarray, dataset: Dataset) -> tuple[np.ndarray, np.ndarray]:
    patients = dataset.table["patient"].to_numpy()
    found = [find_similar(embeddings[row], embeddings, dataset, patient=patients[row]) for row in queries]
    width = min(len(nearest) for nearest, _ in found)
    return np.stack([nearest[:width] for nearest, _ in found]), np.stack([gaps[:width] for _, gaps in found])
