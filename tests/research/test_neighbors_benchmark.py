import numpy as np
import pytest

from pneumoscope.labels import LabelSet
from pneumoscope.metrics.classification import evaluate
from pneumoscope.neighbors.search import LabeledEmbeddings
from pneumoscope.research.neighbors_benchmark import (
    calibrate_votes,
    measure_disagreement,
    measure_distances,
    measure_rejection,
    measure_vote_calibration,
    shrink_images,
)

RNG = np.random.default_rng(0)
LABELS = LabelSet(("normal", "pneumonia"), "normal")


def make_images(center, count, who):
    embeddings = center + RNG.normal(size=(count, 6))
    return LabeledEmbeddings(embeddings, np.zeros(count, int), np.array([f"{who}{row}" for row in range(count)]))


def make_evaluation(labels, probabilities, split="test"):
    names = np.arange(len(labels)).astype(str)
    return evaluate(labels, probabilities, label_set=LABELS, split=split, patients=names, names=names)


def test_unlike_images_are_rejected_and_the_rest_at_the_chosen_rate():
    center = 10 * np.eye(6)[0]
    references, held_out = make_images(center, 400, "k"), make_images(center, 400, "v")
    like, unlike = make_images(center, 400, "t"), make_images(10 * np.eye(6)[1], 20, "u")
    threshold = float(np.quantile(measure_distances(references, held_out), 0.9))
    distances = np.concatenate([measure_distances(references, like), measure_distances(references, unlike)])
    right = np.arange(420) < 400

    metrics = measure_rejection(distances, threshold, right, np.arange(420).astype(str))

    assert metrics["rejected"].value == pytest.approx(0.1 * 400 / 420 + 20 / 420, abs=0.05)
    assert metrics["accuracy_of_rest"].value == 1
    assert metrics["accuracy_of_rejected"].value < 0.8


def make_votes(count, *, rng):
    """Return overconfident votes: each image's neighbors all vote alike."""
    labels = rng.integers(0, 2, count)
    return labels, np.eye(2)[np.where(rng.random(count) < 0.8, labels, 1 - labels)]


def test_calibrated_votes_are_calibrated():
    rng = np.random.default_rng(1)
    held_out, test = (make_evaluation(*make_votes(1500, rng=rng), split=split) for split in ("val", "test"))

    metrics = measure_vote_calibration(held_out, test, num_votes=9)

    assert metrics["ece_votes"].value == pytest.approx(0.2, abs=0.03)
    assert metrics["ece_calibrated"].value < 0.04
    assert metrics["accuracy_calibrated"].value == pytest.approx(test.metrics["accuracy"].value)


def test_votes_are_not_calibrated_where_a_class_is_missing():
    with pytest.raises(ValueError, match=r"labels hold \[0\], expected all of 0 to 1"):
        calibrate_votes(np.ones((3, 2)) / 2, np.zeros(3, int), np.ones((1, 2)) / 2, num_votes=5)


def test_disagreeing_neighbors_predict_errors_of_the_classifier():
    labels = np.arange(200) % 2
    wrong = np.arange(200) < 30
    net = np.eye(2)[np.where(wrong, 1 - labels, labels)] * 0.8 + 0.1
    knowing = np.eye(2)[labels] * 0.6 + 0.2
    echoing = net * 0.5 + 0.25

    informed, silent = (measure_disagreement(make_evaluation(labels, votes), net) for votes in (knowing, echoing))

    assert informed["classifier_accuracy"].value == pytest.approx(0.85)
    assert informed["differing"].value == pytest.approx(0.15)
    assert (informed["error_where_differing"].value, informed["error_where_agreeing"].value) == (1, 0)
    assert informed["auroc_errors_differing"].value == informed["auroc_errors_votes"].value == 1
    assert informed["auroc_errors_classifier"].value == pytest.approx(0.5)
    assert silent["auroc_errors_differing"].value == pytest.approx(0.5)
    assert np.isnan(silent["error_where_differing"].value)


def test_pixels_are_means_of_blocks_less_the_mean_of_the_image():
    images = np.arange(2 * 64 * 64, dtype=np.uint16).reshape(2, 64, 64).astype(np.uint8)

    pixels = shrink_images(images)

    blocks = images[1].reshape(32, 2, 32, 2).mean(axis=(1, 3))
    np.testing.assert_allclose(pixels[1].reshape(32, 32), blocks - blocks.mean(), atol=1e-3)
