import numpy as np
import pytest

from pneumoscope.neighbors.search import EmbeddingIndex


def make_clusters(count, *, dimension=16, per_patient=3, seed=0):
    """Return embeddings of any length around 40 centers, and the patient of each."""
    rng = np.random.default_rng(seed)
    centers = 3 * rng.normal(size=(40, dimension))
    embeddings = centers[rng.integers(40, size=count)] + rng.normal(size=(count, dimension))
    return embeddings * rng.uniform(0.5, 2, (count, 1)), [f"p{row // per_patient}" for row in range(count)]


def test_the_nearest_are_those_of_largest_cosine():
    references, patients = make_clusters(500)
    queries, _ = make_clusters(60, seed=1)
    rows, distances = EmbeddingIndex(references, patients).search(queries, 5)
    lengths = np.linalg.norm(queries, axis=1)[:, None] * np.linalg.norm(references, axis=1)
    cosines = queries @ references.T / lengths
    np.testing.assert_array_equal(rows, np.argsort(-cosines, axis=1)[:, :5])
    np.testing.assert_allclose(distances, np.sqrt(2 - 2 * np.take_along_axis(cosines, rows, axis=1)), rtol=1e-4)


def test_images_of_excluded_patients_are_never_returned():
    references, patients = make_clusters(300, per_patient=20)
    rows, distances = EmbeddingIndex(references, patients).search(references, 5, exclude=[[name] for name in patients])
    assert all(patients[row] != patients[query] for query, nearest in enumerate(rows) for row in nearest)
    assert np.isfinite(distances).all() and (np.diff(distances, axis=1) >= 0).all()


def test_missing_neighbors_are_marked():
    index = EmbeddingIndex(np.eye(3), ["a", "b", "b"])
    rows, distances = index.search(np.eye(3)[:1], 4, exclude=[["b", "someone else"]])
    assert rows.tolist() == [[0, -1, -1, -1]]
    assert distances.tolist() == [[0, np.inf, np.inf, np.inf]]
    assert EmbeddingIndex(np.empty((0, 3)), []).search(np.eye(3), 1)[0].tolist() == [[-1]] * 3
    assert index.search(np.empty((0, 3)), 2)[0].shape == (0, 2)


def test_shapes_and_numbers_are_checked():
    index = EmbeddingIndex(np.eye(3), ["a", "b", "c"])
    with pytest.raises(ValueError, match=r"embeddings are \(1, 2\), expected \(2, d\)"):
        EmbeddingIndex(np.ones((1, 2)), ["c", "d"])
    with pytest.raises(ValueError, match=r"queries are \(1, 2\), expected \(m, 3\)"):
        index.search(np.ones((1, 2)), 1)
    with pytest.raises(ValueError, match="NaN or infinity"):
        index.search(np.full((1, 3), np.nan), 1)
    with pytest.raises(ValueError, match=r"exclude has 2 entries, expected one per query \(1\)"):
        index.search(np.ones((1, 3)), 1, exclude=[["a"], ["b"]])
