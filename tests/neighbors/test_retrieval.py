import numpy as np
import pytest

from pneumoscope.neighbors.retrieval import average_precision, estimate_means, measure_retrieval
from pneumoscope.neighbors.search import LabeledEmbeddings


def on_a_circle(degrees, labels, patients):
    angles = np.radians(degrees)
    return LabeledEmbeddings(np.stack([np.cos(angles), np.sin(angles)], axis=1), np.array(labels), np.array(patients))


def test_precision_and_average_precision_of_a_small_case():
    references = on_a_circle([0, 10, 20, 30, 40, 50], [0, 1, 0, 0, 1, 1], list("abcdef"))
    queries = on_a_circle([-1, 51], [0, 1], ["x", "y"])

    metrics = measure_retrieval(references, queries, classes=("normal", "pneumonia"))

    # From the left the classes run 0 1 0 0 1 1; from the right 1 1 0 0 1 0.
    assert metrics["precision_at_1"].value == 1
    assert metrics["precision_at_5_normal"].value == pytest.approx(3 / 5)
    assert metrics["precision_at_5_pneumonia"].value == pytest.approx(3 / 5)
    assert metrics["precision_at_10"].value == pytest.approx(3 / 10)
    assert metrics["map_normal"].value == pytest.approx((1 + 2 / 3 + 3 / 4) / 3)
    assert metrics["map_pneumonia"].value == pytest.approx((1 + 1 + 3 / 5) / 3)
    assert metrics["map"].value == pytest.approx((metrics["map_normal"].value + metrics["map_pneumonia"].value) / 2)
    assert metrics["map_pneumonia"].n == 1


def test_images_of_the_same_patient_are_not_retrieved():
    references = on_a_circle([0, 1, 90], [0, 0, 1], ["a", "a", "b"])
    queries = on_a_circle([0, 0], [0, 0], ["a", "c"])
    assert measure_retrieval(references, queries, classes=("normal", "pneumonia"))["precision_at_1"].value == 0.5


def test_a_ranking_without_anything_relevant_has_no_precision():
    hits = np.array([[False, False], [True, True]])
    assert np.isnan(average_precision(hits)[0]) and average_precision(hits)[1] == 1
    mean = estimate_means({"map": average_precision(hits)}, np.array(["a", "b"]))["map"]
    assert (mean.value, mean.n) == (1, 1)


def test_missing_images_raise_an_error():
    none = LabeledEmbeddings(np.empty((0, 2)), np.empty(0, int), np.empty(0, str))
    with pytest.raises(ValueError, match="0 reference and 0 query images"):
        measure_retrieval(none, none, classes=("a", "b"))
    with pytest.raises(ValueError, match=r"patients are \(2,\), expected \(1,\)"):
        LabeledEmbeddings(np.ones((1, 2)), np.array([0]), np.array(["a", "b"]))
