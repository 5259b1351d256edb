from types import SimpleNamespace

import numpy as np
import pytest

from pneumoscope.classification.cross_validation import assign_folds, select_pool
from pneumoscope.data.kermany import KERMANY_LABELS
from pneumoscope.errors import PneumoscopeError
from pneumoscope.metrics.classification import evaluate
from pneumoscope.neighbors.knn import count_votes
from pneumoscope.neighbors.search import LabeledEmbeddings
from pneumoscope.research.label_audit import find_confident_labels, review_labels, vote_held_out


def flip(labels, share, rng):
    """Return labels of which a share is moved on to the next class, and which those are."""
    flipped = rng.random(len(labels)) < share
    return np.where(flipped, (labels + 1) % 3, labels), flipped


def test_joint_counts_match_flipped_labels():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 3000)
    given, flipped = flip(truth, 0.1, rng)
    predictions = rng.dirichlet([1, 1, 1], 3000) * 0.4 + 0.6 * np.eye(3)[truth]

    confident, joint = find_confident_labels(given, predictions)

    np.testing.assert_allclose(joint.sum(axis=1), np.bincount(given))
    assert joint.sum() - np.trace(joint) == pytest.approx(flipped.sum(), rel=0.1)
    wrong = (confident >= 0) & (confident != given)
    assert flipped[wrong].mean() > 0.95
    with pytest.raises(ValueError, match=r"labels hold \[1\], expected all of 0 to 2"):
        find_confident_labels(np.ones(3, int), predictions[:3])


@pytest.fixture(scope="module")
def mislabeled(phantoms):
    """Return which labels of phantoms are flipped, and predictions of a model and of neighbors."""
    rng = np.random.default_rng(5)
    pool = select_pool(phantoms)
    truth = pool.labels()
    given, flipped = flip(truth, 0.12, rng)
    centers = rng.normal(size=(3, 12))
    embeddings = centers[truth] + 0.7 * rng.normal(size=(len(truth), 12))
    references = LabeledEmbeddings(embeddings, given, pool.patients)
    votes = count_votes(references, embeddings, pool.patients, num_classes=3, ks=(9,))[9]
    closeness = np.exp(-np.square(embeddings[:, None] - centers).sum(axis=2) / 2)
    predictions = evaluate(
        given,
        closeness / closeness.sum(axis=1, keepdims=True),
        label_set=KERMANY_LABELS,
        split="held out by patients",
        patients=pool.patients,
        names=pool.names,
    )
    return flipped, predictions, votes


def test_flipped_labels_are_listed_first(mislabeled):
    flipped, predictions, votes = mislabeled

    rows, _ = review_labels(predictions, votes)

    place = {name: row for row, name in enumerate(predictions.names)}
    correct = flipped[[place[row["name"]] for row in rows]]
    assert correct.mean() > 0.8 > 5 * flipped.mean()
    assert correct.sum() > 0.6 * flipped.sum()
    assert (np.diff([row["suspicion"] for row in rows]) <= 0).all()
    assert all(row["given"] != row["proposed"] for row in rows)


def test_neighbors_of_held_out_images_are_training_images_of_their_model(phantoms, tmp_path, monkeypatch):
    pool = select_pool(phantoms)
    folds, labels = assign_folds(pool, "patients", seed=0), pool.labels()
    about = {"label_set": KERMANY_LABELS, "split": "x", "patients": pool.patients, "names": pool.names}
    predictions = evaluate(labels, np.eye(3)[labels], **about)
    embedded_folds = []

    class SavedModel:
        def __init__(self, path):
            self.model = int(path.name.rpartition("-")[2]) - 1
            self.card = SimpleNamespace(embedding_layer="embedding")

    def embed(fold, images, *, layer):
        embedded_folds.append(fold)
        # Held-out images lie on each other, so that a search among them would find them first.
        return np.where((folds == fold)[:, None], 9.0, np.eye(3)[labels]) + np.eye(3)[labels]

    monkeypatch.setattr("pneumoscope.models.saved_model.load_model", SavedModel)
    monkeypatch.setattr("pneumoscope.research.label_audit.embed_images", embed)

    votes = vote_held_out(phantoms, predictions, tmp_path, seed=0)

    assert embedded_folds == list(range(5))
    assert votes.shape == (len(pool), 3)
    np.testing.assert_allclose(votes.sum(axis=1), 1)
    assert (votes.argmax(axis=1) == labels).mean() > 0.9
    with pytest.raises(PneumoscopeError, match="expected the same collection and seed"):
        vote_held_out(phantoms.select(np.arange(20)), predictions, tmp_path, seed=0)
