import numpy as np
import pytest

from pneumoscope.labels import LabelSet
from pneumoscope.metrics.classification import evaluate
from pneumoscope.neighbors.search import LabeledEmbeddings
from pneumoscope.research.neighbors_benchmark import measure_disagreement, measure_rejection, measure_retrieval

RNG = np.random.default_rng(0)
LABELS = LabelSet(("normal", "pneumonia"), "normal")


def make_evaluation(labels, probabilities):
    names = np.arange(len(labels)).astype(str)
    return evaluate(labels, probabilities, label_set=LABELS, split="test", patients=names, names=names)


def on_a_circle(degrees, labels, patients):
    angles = np.radians(degrees)
    return LabeledEmbeddings(np.stack([np.cos(angles), np.sin(angles)], axis=1), np.array(labels), np.array(patients))


def test_precision_of_a_small_case():
    references = on_a_circle([0, 10, 20, 30, 40, 50], [0, 1, 0, 0, 1, 1], list("abcdef"))
    metrics = measure_retrieval(references, on_a_circle([-1, 51], [0, 1], ["x", "y"]), LABELS)
    # From the left the classes run 0 1 0 0 1 1; from the right 1 1 0 0 1 0.
    assert metrics["precision_at_1"].value == 1
    assert metrics["precision_at_5_normal"].value == pytest.approx(3 / 5)
    assert (metrics["precision_at_5_pneumonia"].value, metrics["precision_at_5_pneumonia"].n) == (3 / 5, 1)
    assert metrics["precision_at_10"].value == pytest.approx(3 / 10)


def test_images_of_the_same_patient_are_not_retrieved():
    references = on_a_circle([0, 1, 90], [0, 0, 1], ["a", "a", "b"])
    queries = on_a_circle([0, 0], [0, 0], ["a", "c"])
    assert measure_retrieval(references, queries, LABELS)["precision_at_1"].value == 0.5


def test_unlike_images_are_rejected_and_the_rest_at_the_chosen_rate():
    def make_images(axis, count, who):
        embeddings = 10 * np.eye(6)[axis] + RNG.normal(size=(count, 6))
        return LabeledEmbeddings(embeddings, np.zeros(count, int), np.array([f"{who}{row}" for row in range(count)]))

    like, unlike = make_images(0, 400, "t"), make_images(1, 20, "u")
    test = LabeledEmbeddings(
        *(np.concatenate(pair) for pair in zip(*(vars(part).values() for part in (like, unlike)), strict=True))
    )
    parts = {"train": make_images(0, 400, "k"), "val": make_images(0, 400, "v"), "test": test}
    votes = make_evaluation(np.arange(420) % 2, np.eye(2)[(np.arange(420) + (np.arange(420) >= 400)) % 2])

    metrics = measure_rejection(parts, votes)

    assert metrics["rejected"].value == pytest.approx(0.05 * 400 / 420 + 20 / 420, abs=0.04)
    assert metrics["accuracy_of_rest"].value == 1
    assert metrics["accuracy_of_rejected"].value < 0.8


def test_disagreeing_neighbors_predict_errors_of_the_classifier():
    labels = np.arange(200) % 2
    wrong = np.arange(200) < 30
    net = np.eye(2)[np.where(wrong, 1 - labels, labels)] * 0.8 + 0.1
    knowing, echoing = np.eye(2)[labels] * 0.6 + 0.2, net * 0.5 + 0.25

    informed, silent = (measure_disagreement(make_evaluation(labels, votes), net) for votes in (knowing, echoing))

    assert informed["classifier_accuracy"].value == pytest.approx(0.85)
    assert informed["differing"].value == pytest.approx(0.15)
    assert (informed["error_where_differing"].value, informed["error_where_agreeing"].value) == (1, 0)
    assert np.isnan(silent["error_where_differing"].value)
