import builtins

import numpy as np
import pytest

from pneumoscope.errors import MissingExtraError
from pneumoscope.tasks.index import KINDS, build_index

FAISS_KINDS = [kind for kind in KINDS if kind != "exact"]


def make_clusters(count, *, dimension=16, per_patient=3, seed=0):
    """Return embeddings of any length around centers, as those of a net lie, and whose each is."""
    rng = np.random.default_rng(seed)
    centers = 3 * rng.normal(size=(40, dimension))
    embeddings = centers[rng.integers(40, size=count)] + rng.normal(size=(count, dimension))
    return embeddings * rng.uniform(0.5, 2, (count, 1)), [f"p{row // per_patient}" for row in range(count)]


def search_by_cosine(queries, known, count):
    lengths = np.linalg.norm(queries, axis=1)[:, None] * np.linalg.norm(known, axis=1)
    return np.argsort(-(queries @ known.T) / lengths, axis=1)[:, :count]


@pytest.fixture(autouse=True)
def _one_thread():
    # Threads that spin while they wait are slower than one where the tests run beside each other.
    faiss = pytest.importorskip("faiss")
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    yield
    faiss.omp_set_num_threads(before)


def test_the_nearest_are_those_of_largest_cosine():
    known, patients = make_clusters(500)
    queries, _ = make_clusters(60, seed=1)

    rows, distances = build_index(known, patients).search(queries, 5)

    np.testing.assert_array_equal(rows, search_by_cosine(queries, known, 5))
    cosines = np.sum(queries[:, None] * known[rows], axis=2)
    cosines /= np.linalg.norm(queries, axis=1)[:, None] * np.linalg.norm(known[rows], axis=2)
    np.testing.assert_allclose(distances, np.sqrt(2 - 2 * cosines), rtol=1e-4)


@pytest.mark.parametrize(("kind", "recall"), [("flat", 1.0), ("hnsw", 0.9), ("ivfpq", 0.9)])
def test_what_faiss_finds_is_what_there_is(kind, recall):
    known, patients = make_clusters(10_000)
    queries, _ = make_clusters(100, seed=1)

    rows, distances = build_index(known, patients, kind=kind).search(queries, 5)

    nearest = search_by_cosine(queries, known, 5)
    assert np.mean([len(set(one) & set(other)) / 5 for one, other in zip(rows, nearest, strict=True)]) >= recall
    assert (np.diff(distances, axis=1) >= 0).all()


@pytest.mark.parametrize("kind", ["exact", "flat", "hnsw"])
def test_images_of_the_same_patient_and_those_removed_are_never_found(kind):
    known, patients = make_clusters(300, per_patient=20)
    index = build_index(known, patients, kind=kind)
    index.remove(np.arange(0, 300, 2))

    rows, _ = index.search(known, 5, exclude=[[patient] for patient in patients])

    assert (rows % 2 == 1).all()
    assert all(patients[row] != patients[query] for query, found in enumerate(rows) for row in found)
    assert len(index) == 150


@pytest.mark.parametrize("kind", ["exact", "flat", "hnsw"])
def test_images_added_one_after_the_other_are_found_as_if_at_once(kind):
    known, patients = make_clusters(200)
    index = build_index(known[:50], patients[:50], kind=kind)

    rows = [index.add(known[row : row + 1], patients[row : row + 1])[0] for row in range(50, 200)]

    assert rows == list(range(50, 200))
    for found, expected in zip(index.search(known, 4), build_index(known, patients).search(known, 4), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("kind", ["exact", "flat"])
def test_where_there_are_too_few_the_rest_is_empty(kind):
    index = build_index(np.eye(3), ["a", "b", "b"], kind=kind)

    rows, distances = index.search(np.eye(3)[:1], 4, exclude=[["b", "someone else"]])

    assert rows.tolist() == [[0, -1, -1, -1]]
    assert distances.tolist() == [[0, np.inf, np.inf, np.inf]]


def test_what_does_not_fit_is_refused(monkeypatch):
    index = build_index(np.eye(3), ["a", "b", "c"])
    with pytest.raises(ValueError, match=r"embeddings are \(1, 2\), expected \(1, 3\)"):
        index.add(np.ones((1, 2)), ["d"])
    with pytest.raises(ValueError, match="NaN or infinity"):
        index.search(np.full((1, 3), np.nan), 1)
    with pytest.raises(ValueError, match="patients for 2 queries, expected 1"):
        index.search(np.ones((1, 3)), 1, exclude=[["a"], ["b"]])
    with pytest.raises(ValueError, match="rows run from 3 to 3, expected 0 to 2"):
        index.remove([3])
    with pytest.raises(ValueError, match="'tree', expected one of exact, flat, hnsw, ivfpq"):
        build_index(np.eye(3), ["a", "b", "c"], kind="tree")
    with pytest.raises(ValueError, match="3 images, expected 9984 or more at once"):
        build_index(np.eye(3), ["a", "b", "c"], kind="ivfpq")

    def refuse(name, *args, **kwargs):
        if name == "faiss":
            raise ImportError
        return genuine(name, *args, **kwargs)

    genuine = builtins.__import__
    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(MissingExtraError, match=r"pip install 'pneumoscope\[search\]', or take the kind `exact`"):
        build_index(np.eye(3), ["a", "b", "c"], kind="flat")
