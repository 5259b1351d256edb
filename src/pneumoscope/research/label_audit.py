"""Task 2: label audit. Finds labels that a cross-validated classifier and the nearest neighbors both contradict.

Method: confident learning, C. Northcutt, L. Jiang and I. Chuang, "Confident Learning: Estimating Uncertainty in Dataset
Labels", Journal of Artificial Intelligence Research 70, 2021. A classifier is confident of a class if its probability
is at least the mean probability over the images with that label.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pneumoscope.classification.cross_validation import assign_folds, select_pool
from pneumoscope.data.dataset import Dataset
from pneumoscope.errors import LabelError, PneumoscopeError
from pneumoscope.io.results import Evaluation
from pneumoscope.neighbors.knn import count_votes, embed_images
from pneumoscope.neighbors.search import LabeledEmbeddings
from pneumoscope.progress import track

NUM_VOTES = 25


def find_confident_labels(
    labels: NDArray[np.integer], probabilities: NDArray[np.floating]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the confident class of each image, and the joint counts of given and true labels.

    Args:
        labels: `(n,)` int, given labels; every class occurs.
        probabilities: `(n, classes)` floats, cross-validated.

    Returns:
        `(n,)` int, the confident class, -1 if there is none; and `(classes, classes)` float64, estimated joint counts
        of given label (row) and true class (column). Rows sum to the label counts.

    Raises:
        ValueError: if a class does not occur.

    Example:
        >>> probabilities = np.array([[0.9, 0.1], [0.1, 0.9], [0.1, 0.9], [0.1, 0.9]])
        >>> confident, joint = find_confident_labels(np.array([0, 0, 1, 1]), probabilities)
        >>> confident.tolist(), joint.round(1).tolist()
        ([0, 1, 1, 1], [[1.0, 1.0], [0.0, 2.0]])
    """
    num_classes = probabilities.shape[1]
    counts = np.bincount(labels, minlength=num_classes)
    if not counts.all():
        raise ValueError(f"labels hold {np.flatnonzero(counts).tolist()}, expected all of 0 to {num_classes - 1}")
    thresholds = np.array([probabilities[labels == number, number].mean() for number in range(num_classes)])
    candidates = np.where(probabilities >= thresholds, probabilities, -1)
    confident = np.where(candidates.max(axis=1) >= 0, candidates.argmax(axis=1), -1)
    joint = np.zeros((num_classes, num_classes))
    np.add.at(joint, (labels[confident >= 0], confident[confident >= 0]), 1)
    totals = joint.sum(axis=1, keepdims=True)
    # A class without confident images keeps its labels.
    shares = np.divide(joint, totals, out=np.eye(num_classes), where=totals > 0)
    return confident, shares * counts[:, None]


def review_labels(
    evaluation: Evaluation, votes: NDArray[np.float64]
) -> tuple[list[dict[str, str | float]], NDArray[np.float64]]:
    """Return the labels that classifier and neighbors contradict, and the joint counts of `find_confident_labels`.

    Args:
        evaluation: predictions of `cross_validate` with the protocol `patients`.
        votes: `(n, classes)` floats, vote shares of `vote_held_out` for the same images.

    Returns:
        One row per label, most suspicious first. Keys: `name`; `given` label; `proposed` label, the confident class;
        `suspicion` in [-1, 1], the probability of `proposed` minus that of `given`, averaged over classifier and
        neighbors; and per class `probability_CLASS` (cross-validated classifier) and `votes_CLASS` (share of votes).
    """
    labels, probabilities, classes = evaluation.labels, evaluation.probabilities, evaluation.classes
    rows = np.arange(len(labels))
    confident, joint = find_confident_labels(labels, probabilities)
    contradicted = (confident >= 0) & (confident != labels) & (votes.argmax(axis=1) != labels)
    suspicion = np.mean([values[rows, confident] - values[rows, labels] for values in (probabilities, votes)], axis=0)
    order = rows[contradicted][np.argsort(-suspicion[contradicted], kind="stable")]
    return [
        {
            "name": str(evaluation.names[row]),
            "given": classes[labels[row]],
            "proposed": classes[confident[row]],
            "suspicion": round(float(suspicion[row]), 3),
            **{f"probability_{name}": round(float(probabilities[row, k]), 3) for k, name in enumerate(classes)},
            **{f"votes_{name}": round(float(votes[row, k]), 3) for k, name in enumerate(classes)},
        }
        for row in order
    ], joint


def vote_held_out(dataset: Dataset, evaluation: Evaluation, models_dir: Path, *, seed: int = 0) -> NDArray[np.float64]:
    """Return neighbor votes for held-out images, in the embedding of the model of their fold.

    Args:
        dataset: dataset passed to `cross_validate`.
        evaluation: result of `cross_validate` with the protocol `patients`.
        models_dir: folder of the models of `cross_validate`.
        seed: seed of `cross_validate`.

    Returns:
        `(n, classes)` float64, vote shares in the order of `evaluation`.

    Raises:
        LabelError: if the labels are multi-label.
        PneumoscopeError: if the dataset differs from the cross-validated one.
        ModelError: if a model is missing.
    """
    from pneumoscope.models.saved_model import load_model

    label_set = evaluation.label_set
    if label_set.multi_label:
        raise LabelError("the label audit is defined for one class per image; this collection is multi-label")
    pool = select_pool(dataset)
    if not np.array_equal(pool.names, evaluation.names):
        raise PneumoscopeError(
            f"the {len(pool)} images outside test differ from the {len(evaluation.names)} cross-validated images; "
            "expected the same collection and seed"
        )
    folds, labels, patients = assign_folds(pool, "patients", seed=seed), pool.labels(label_set), pool.patients
    votes = np.empty((len(pool), len(label_set.classes)))
    for fold in track(range(folds.max() + 1), "Counting votes of neighbors"):
        trained, held_out = folds != fold, folds == fold
        saved = load_model(models_dir / f"patients-{fold + 1}")
        embeddings = embed_images(saved.model, pool.images, layer=saved.card.embedding_layer or "embedding")
        references = LabeledEmbeddings(embeddings[trained], labels[trained], patients[trained])
        k = min(NUM_VOTES, len(references))
        queries = embeddings[held_out], patients[held_out]
        votes[held_out] = count_votes(references, *queries, num_classes=votes.shape[1], ks=(k,))[k]
    return votes
