"""Task 2: labels that may be wrong: a net that has not seen the image and its neighbors both contradict them.

Confident learning: C. Northcutt, L. Jiang and I. Chuang, "Confident Learning: Estimating Uncertainty in Dataset
Labels", Journal of Artificial Intelligence Research 70, 2021. A net is confident of a class where its probability is no
less than what it gives on average to the images labelled so.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pneumoscope.errors import PneumoscopeError
from pneumoscope.progress import track
from pneumoscope.radiographs.dataset import Dataset
from pneumoscope.results import THREE_CLASSES, Audit, Evaluation, require
from pneumoscope.tasks.crossvalidate import assign_folds
from pneumoscope.tasks.index import build_index
from pneumoscope.tasks.neighbors import count_votes, embed_images

NUM_VOTES = 25


@dataclass(frozen=True)
class LabelReview:
    """Labels to look at again, the most suspicious first.

    Attributes:
        classes: class names.
        num_images: of how many images.
        names: `(n,)` str, of the images whose label both contradict.
        given, proposed: `(n,)` int, the label and what the net is confident of instead, index into `classes`.
        probabilities: `(n, classes)` floats, of nets that have not seen the image's patient.
        votes: `(n, classes)` floats, shares of the votes of its neighbors.
        suspicion: `(n,)` floats in [-1, 1]: how much more net and neighbors give to `proposed` than to `given`, the
            mean of both.
        joint: `(classes, classes)` floats, how many images labelled as the row are by estimate of the class of the
            column.
        duplicates: groups of `(name, class)` of the same film, with labels that differ.
    """

    classes: tuple[str, ...]
    num_images: int
    names: np.ndarray
    given: np.ndarray
    proposed: np.ndarray
    probabilities: np.ndarray
    votes: np.ndarray
    suspicion: np.ndarray
    joint: np.ndarray
    duplicates: list[list[tuple[str, str]]]

    def __post_init__(self) -> None:
        n, k = len(self.names), len(self.classes)
        require(self.given.shape == self.proposed.shape == self.suspicion.shape == (n,), "names and labels differ")
        require(self.probabilities.shape == self.votes.shape == (n, k), "probabilities and votes differ in shape")
        require(self.joint.shape == (k, k), f"joint is {self.joint.shape}, expected {(k, k)}")

    def to_rows(self) -> list[dict[str, str | float]]:
        """Return one row for each label: `name`, `given`, `proposed`, `suspicion`, `net_CLASS` and `votes_CLASS`."""
        return [
            {
                "name": str(name),
                "given": self.classes[self.given[row]],
                "proposed": self.classes[self.proposed[row]],
                "suspicion": round(float(self.suspicion[row]), 3),
                **{f"net_{kind}": round(float(self.probabilities[row, k]), 3) for k, kind in enumerate(self.classes)},
                **{f"votes_{kind}": round(float(self.votes[row, k]), 3) for k, kind in enumerate(self.classes)},
            }
            for row, name in enumerate(self.names)
        ]


def find_confident_labels(labels: np.ndarray, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return what a net is confident of, and the joint counts of given and true labels that follow.

    Args:
        labels: `(n,)` int, as given; every class occurs.
        probabilities: `(n, classes)` floats, of nets that have not seen the image.

    Returns:
        `(n,)` int, the class that the net is confident of, -1 where it is of none; and `(classes, classes)` float64,
        the number of images labelled as the row that are of the class of the column, whose rows sum to those labelled
        so.

    Raises:
        ValueError: if a class does not occur.

    Example:
        >>> told = np.array([[0.9, 0.1], [0.1, 0.9], [0.1, 0.9], [0.1, 0.9]])
        >>> found, joint = find_confident_labels(np.array([0, 0, 1, 1]), told)
        >>> found.tolist(), joint.round(1).tolist()
        ([0, 1, 1, 1], [[1.0, 1.0], [0.0, 2.0]])
    """
    num_classes = probabilities.shape[1]
    counts = np.bincount(labels, minlength=num_classes)
    if not counts.all():
        raise ValueError(f"labels hold {np.flatnonzero(counts).tolist()}, expected all of 0 to {num_classes - 1}")
    usual = np.array([probabilities[labels == number, number].mean() for number in range(num_classes)])
    candidates = np.where(probabilities >= usual, probabilities, -1)
    confident = np.where(candidates.max(axis=1) >= 0, candidates.argmax(axis=1), -1)
    joint = np.zeros((num_classes, num_classes))
    sure = confident >= 0
    np.add.at(joint, (labels[sure], confident[sure]), 1)
    totals = joint.sum(axis=1, keepdims=True)
    # A class of whose images the net is never confident is taken at its word.
    shares = np.divide(joint, totals, out=np.eye(num_classes), where=totals > 0)
    return confident, shares * counts[:, None]


def review_labels(told: Evaluation, votes: np.ndarray, audit: Audit, subtypes: dict[str, str]) -> LabelReview:
    """Return the labels that net and neighbors both contradict, and those of duplicates that differ.

    Args:
        told: probabilities of nets, each of images whose patient it has not seen; see `cross_validate`.
        votes: `(n, classes)` floats, shares of the votes of the same images' neighbors; see `vote_held_out`.
        audit: of the collection, which knows the duplicates.
        subtypes: class by name, of all images of the collection.
    """
    rows = np.arange(len(told.labels))
    confident, joint = find_confident_labels(told.labels, told.probabilities)
    contradicted = (confident >= 0) & (confident != told.labels) & (votes.argmax(axis=1) != told.labels)
    more = [values[rows, confident] - values[rows, told.labels] for values in (told.probabilities, votes)]
    suspicion = np.mean(more, axis=0)
    order = rows[contradicted][np.argsort(-suspicion[contradicted], kind="stable")]
    groups = [[(name, subtypes[name]) for name in group] for group in (*audit.exact_duplicates, *audit.near_duplicates)]
    return LabelReview(
        classes=told.classes,
        num_images=len(rows),
        names=told.names[order],
        given=told.labels[order],
        proposed=confident[order],
        probabilities=told.probabilities[order],
        votes=votes[order],
        suspicion=suspicion[order],
        joint=joint,
        duplicates=[group for group in groups if len({label for _, label in group}) > 1],
    )


def vote_held_out(dataset: Dataset, told: Evaluation, nets_dir: Path, *, seed: int = 0) -> np.ndarray:
    """Return how neighbors vote on images that were held out by patient, in the embedding of the net that missed them.

    Args:
        dataset: split, as `cross_validate` was given it.
        told: what it returned for the protocol `patients`.
        nets_dir: where it left its nets.
        seed: as it was given.

    Returns:
        `(n, classes)` float64 in the order of `told`.

    Raises:
        PneumoscopeError: if the dataset is not the one that was cross-validated.
        BundleError: if a net is missing.
    """
    from pneumoscope.models.bundle import load_bundle

    pool = dataset.select((dataset.table["split"].to_numpy() != "test") & (dataset.labels(THREE_CLASSES) >= 0))
    names = pool.table["name"].to_numpy().astype(str)
    if not np.array_equal(names, told.names):
        raise PneumoscopeError(
            f"{len(names)} images outside test are not the {len(told.names)} that were cross-validated; "
            "expected the same collection and seed"
        )
    folds, labels = assign_folds(pool, "patients", seed=seed), pool.labels(THREE_CLASSES)
    patients = pool.table["patient"].to_numpy().astype(str)
    votes = np.empty((len(pool), len(THREE_CLASSES)))
    for fold in track(range(folds.max() + 1), "Asking the neighbors"):
        held_out = folds == fold
        embeddings = embed_images(load_bundle(nets_dir / f"patients-{fold + 1}").model, pool.images)
        index = build_index(embeddings[~held_out], patients[~held_out].tolist())
        count = min(NUM_VOTES, len(index))
        shares = count_votes(
            index,
            labels[~held_out],
            embeddings[held_out],
            patients[held_out],
            num_classes=len(THREE_CLASSES),
            ks=(count,),
        )
        votes[held_out] = shares[count]
    return votes
