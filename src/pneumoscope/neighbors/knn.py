"""Embeddings of a classifier, and classification by the k nearest neighbors (k-NN)."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pneumoscope.data.dataset import Dataset
from pneumoscope.data.examples import is_labeled, simplify_labels, take_turns
from pneumoscope.data.image import check_images
from pneumoscope.errors import CollectionError, ModelError
from pneumoscope.io.results import Evaluation, Neighbors
from pneumoscope.labels import UNKNOWN, LabelSet
from pneumoscope.metrics.classification import estimate_share, evaluate
from pneumoscope.neighbors.search import EmbeddingIndex, LabeledEmbeddings
from pneumoscope.progress import track

K_TRIED = (1, 3, 5, 9, 15, 25, 51, 101)
NUM_QUERIES = 6
NUM_NEAREST = 5
_BATCH_SIZE = 64
_VOTES_AT_ONCE = 1024  # images, because votes take memory in proportion to classes


def embed_images(model: Any, images: NDArray[np.uint8], *, layer: str = "embedding") -> NDArray[np.float32]:
    """Return the embedding of each image: the output of one layer.

    Args:
        model: a Keras model that takes `(n, H, W, channels)` with values 0 to 255, such as `SavedModel.model`.
        images: `(n, H, W)` uint8 of the input size of the model. Each channel gets the same gray levels.
        layer: name of a layer whose output is `(n, d)`.

    Returns:
        `(n, d)` float32.

    Raises:
        ImageError: if the images have another type or shape.
        ModelError: if the model has no such layer.

    Example:
        >>> import pneumoscope as ps
        >>> saved = ps.load_model("out/models/improved-binary")  # doctest: +SKIP
        >>> images = ps.draw_phantoms(10, size=128, seed=0).images
        >>> ps.embed_images(saved.model, images).shape  # doctest: +SKIP
        (10, 128)
    """
    import keras

    check_images(images, size=model.input.shape[1])
    names = [item.name for item in model.layers]
    if layer not in names:
        raise ModelError(f"there is no layer {layer!r}; expected one of {', '.join(names)}")

    encoder = keras.Model(model.input, model.get_layer(layer).output)
    channels = model.input.shape[-1]
    embeddings = [np.empty((0, *encoder.output.shape[1:]), dtype=np.float32)]
    for start in track(range(0, len(images), _BATCH_SIZE), "Embedding images"):
        batch = np.repeat(images[start : start + _BATCH_SIZE, ..., None], channels, axis=-1)
        embeddings.append(np.asarray(encoder.predict_on_batch(batch), dtype=np.float32))
    return np.concatenate(embeddings)


def find_neighbors(
    embeddings: NDArray[np.floating],
    dataset: Dataset,
    *,
    label_set: LabelSet,
    probabilities: NDArray[np.floating],
    seed: int = 0,
) -> Neighbors:
    """Classify test images by their k nearest training images, and compare with the classifier.

    The value of k is chosen from `K_TRIED`, see `choose_k`. Images without a known class or finding are left out. Votes
    are weighted, see `count_votes`. In a multi-label set, two predictions agree if all findings do, and a prediction is
    right if all known findings are.

    Args:
        embeddings: `(n, d)` floats, one row per image of `dataset`, as `embed_images` returns them.
        dataset: images with the splits `train`, `val` and `test`.
        label_set: the classes of the classifier.
        probabilities: `(m, classes)` floats, the classifier's output for the test images in the order of `dataset`.
        seed: seed of the bootstrap and of the choice of example images.

    Returns:
        The chosen k, the metrics of k-NN on `val` and `test`, the agreement with the classifier, and example images
        with their nearest neighbors.

    Raises:
        CollectionError: if a split has no image of these classes.
        ValueError: if the shapes do not match.
    """
    parts, rows = _split_embeddings(embeddings, dataset, label_set)
    expected = (len(dataset.rows("test")), len(label_set.classes))
    if probabilities.shape != expected:
        raise ValueError(f"probabilities are {probabilities.shape}, expected {expected}: one row per test image")
    names = {split: dataset.names[members] for split, members in rows.items()}
    k, k_scores, evaluations = _evaluate_votes(parts, names, label_set, seed)
    evaluation = evaluations["test"]
    of_model = replace(evaluation, probabilities=probabilities[np.isin(dataset.rows("test"), rows["test"])])
    correct, model_correct = _are_right(evaluation), _are_right(of_model)
    queries = rows["test"][_choose_queries(evaluation, correct, seed)]
    nearest, distances = _find_nearest(queries, embeddings, dataset)
    differ = (evaluation.decisions != of_model.decisions).reshape(len(correct), -1).any(axis=1)
    return Neighbors(
        k=k,
        k_scores={str(one): score for one, score in k_scores.items()},
        evaluations=evaluations,
        agreement=estimate_share(~differ, parts["test"].patients, seed=seed),
        model_right=int((differ & model_correct).sum()),
        knn_right=int((differ & correct).sum()),
        neither_right=int((differ & ~model_correct & ~correct).sum()),
        queries=queries,
        nearest=nearest,
        distances=distances,
    )


def _evaluate_votes(
    parts: dict[str, LabeledEmbeddings], names: dict[str, NDArray[np.str_]], label_set: LabelSet, seed: int
) -> tuple[int, dict[int, float], dict[str, Evaluation]]:
    """Return the chosen k, the validation balanced accuracy by k, and by split the evaluation with the chosen k."""
    votes = {
        split: count_votes(
            parts["train"],
            parts[split].embeddings,
            parts[split].patients,
            num_classes=len(label_set.classes),
            ks=K_TRIED,
        )
        for split in ("val", "test")
    }
    measured = {k: _balanced_accuracy(parts["val"].labels, shares) for k, shares in votes["val"].items()}
    chosen, k_scores = choose_k(measured), {k: score for k, (score, _) in measured.items()}
    return (
        chosen,
        k_scores,
        {
            split: evaluate(
                parts[split].labels,
                shares[chosen],
                label_set=label_set,
                split=split,
                patients=parts[split].patients,
                names=names[split],
                seed=seed,
            )
            for split, shares in votes.items()
        },
    )


def _split_embeddings(
    embeddings: NDArray[np.floating], dataset: Dataset, label_set: LabelSet
) -> tuple[dict[str, LabeledEmbeddings], dict[str, NDArray[np.int64]]]:
    """Return by split the images with a known class or finding, and their rows in the dataset."""
    if embeddings.ndim != 2 or len(embeddings) != len(dataset):
        raise ValueError(f"embeddings are {embeddings.shape}, expected ({len(dataset)}, d): one row per image")
    labels, patients = dataset.labels(label_set), dataset.patients
    labeled = is_labeled(labels)
    rows = {split: dataset.rows(split) for split in ("train", "val", "test")}
    rows = {split: members[labeled[members]] for split, members in rows.items()}
    empty = [split for split, members in rows.items() if not len(members)]
    if empty:
        names = ", ".join(label_set.classes)
        raise CollectionError(f"no image of {names} in {', '.join(empty)}; split the dataset with split_dataset first")
    parts = {
        split: LabeledEmbeddings(embeddings[members], labels[members], patients[members])
        for split, members in rows.items()
    }
    return parts, rows


def count_votes(
    references: LabeledEmbeddings,
    embeddings: NDArray[np.floating],
    patients: NDArray[np.str_],
    *,
    num_classes: int,
    ks: Sequence[int],
) -> dict[int, NDArray[np.float64]]:
    """Return the share of votes of each class, by k.

    The k nearest reference images of other patients vote. Each vote is divided by the number of reference images of its
    class, so that all classes have the same weight, as in training. Multi-label: they vote on each finding, present or
    absent, unless its label is unknown; the share is 0.5 if no neighbor's label is known.

    Args:
        references: the images that vote.
        embeddings: `(m, d)` floats, embeddings of the images to classify.
        patients: `(m,)` str, patient of each image.
        num_classes: number of classes.
        ks: values of k. A value is left out if an image has fewer neighbors.

    Returns:
        `(m, num_classes)` float64 by k; rows sum to 1 unless multi-label.
    """
    nearest, _ = references.find_nearest(embeddings, patients, min(max(ks), len(references)))
    most = int((nearest >= 0).sum(axis=1).min(initial=nearest.shape[1]))
    tried = [k for k in ks if k <= most]
    if references.labels.ndim == 2:
        return _count_findings(references.labels, nearest, tried)
    weights = 1 / np.maximum(np.bincount(references.labels, minlength=num_classes), 1)
    one_vote, last = np.eye(num_classes) * weights, np.array(tried, dtype=np.int64) - 1
    chunks = np.array_split(references.labels[nearest], -(-len(nearest) // _VOTES_AT_ONCE) or 1)
    votes = np.concatenate([np.cumsum(one_vote[chunk], axis=1)[:, last] for chunk in chunks])
    return {k: votes[:, place] / votes[:, place].sum(axis=1, keepdims=True) for place, k in enumerate(tried)}


def _count_findings(
    labels: NDArray[np.integer], nearest: NDArray[np.int64], ks: Sequence[int]
) -> dict[int, NDArray[np.float64]]:
    """Return the share of votes for each finding by k, `(m, findings)` each."""
    present, absent = (labels == value for value in (1, 0))
    weighted = [part / np.maximum(part.sum(axis=0), 1) for part in (present, absent)]
    shares = {}
    for k in ks:
        votes, against = (part[nearest[:, :k]].sum(axis=1) for part in weighted)
        total = votes + against
        shares[k] = np.divide(votes, total, out=np.full(total.shape, 0.5), where=total > 0)
    return shares


def choose_k(measured: Mapping[int, tuple[float, float]]) -> int:
    """Return the largest k whose score is within one standard error of the highest.

    More neighbors give a smoother decision, which depends less on single images. Source of the rule of one standard
    error: L. Breiman, J. Friedman, R. Olshen and C. Stone, "Classification and Regression Trees", 1984.

    Args:
        measured: by k, a score and its standard error.

    Example:
        >>> choose_k({1: (0.95, 0.01), 3: (0.96, 0.01), 9: (0.955, 0.01), 25: (0.93, 0.01)})
        9
    """
    highest, error = max(measured.values())
    return max(k for k, (score, _) in measured.items() if score >= highest - error)


def _balanced_accuracy(labels: NDArray[np.integer], votes: NDArray[np.float64]) -> tuple[float, float]:
    """Return the mean recall of the classes and its standard error.

    Multi-label: the mean over findings of that of present and absent.
    """
    from sklearn.metrics import recall_score

    if labels.ndim == 1:
        # Only over the classes that occur: a small validation split may lack one.
        present, counts = np.unique(labels, return_counts=True)
        recalls = recall_score(labels, votes.argmax(axis=1), labels=present, average=None)
        error = np.sqrt((recalls * (1 - recalls) / counts).sum()) / len(present)
        return float(recalls.mean()), float(error)
    columns = ((labels[:, number], votes[:, number]) for number in range(labels.shape[1]))
    known = [(truth[truth != UNKNOWN], score[truth != UNKNOWN]) for truth, score in columns]
    scores = [_balanced_accuracy(truth, np.stack([1 - one, one], axis=1)) for truth, one in known if len(truth)]
    means, errors = np.array(scores).T
    return float(means.mean()), float(np.sqrt(np.square(errors).sum()) / len(errors))


def _are_right(evaluation: Evaluation) -> NDArray[np.bool_]:
    """Return `(n,)` bool, whether the predicted class, or each known finding, of each image is right."""
    right = evaluation.decisions == evaluation.labels
    return right if right.ndim == 1 else np.asarray((right | (evaluation.labels == UNKNOWN)).all(axis=1))


def _choose_queries(evaluation: Evaluation, correct: NDArray[np.bool_], seed: int) -> NDArray[np.int64]:
    """Return indices of example images: of each class, correct predictions and errors in turn."""
    labels, names = simplify_labels(evaluation.labels, evaluation.label_set)
    shuffled = np.random.default_rng(seed).permutation(len(labels))
    groups = [
        shuffled[(labels[shuffled] == label) & (correct[shuffled] == outcome)]
        for outcome in (True, False)
        for label in range(len(names))
    ]
    return take_turns(groups)[:NUM_QUERIES]


def _find_nearest(
    queries: NDArray[np.int64], embeddings: NDArray[np.floating], dataset: Dataset
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return indices and distances of the nearest training images of other patients, `(q, 5)` each, or fewer."""
    rows, patients = dataset.rows("train"), dataset.patients
    index = EmbeddingIndex(embeddings[rows], patients[rows].tolist())
    nearest, distances = index.search(embeddings[queries], NUM_NEAREST, exclude=[(name,) for name in patients[queries]])
    width = (nearest >= 0).sum(axis=1).min(initial=NUM_NEAREST)
    return rows[nearest[:, :width]], distances[:, :width]
