import numpy as np
import pytest

from pneumoscope.metrics.label_shift import estimate_label_shift

CLASSES = ("healthy", "covid", "flu")


def draw(shares, count=1000, seed=0):
    """Return labels of some shares, exact probabilities for equally frequent classes, and patients."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(3, count, p=shares)
    centers = 1.5 * np.eye(3)
    features = rng.normal(centers[labels], 1.0)
    likelihoods = np.exp(-np.square(features[:, None] - centers).sum(axis=2) / 2)
    return labels, likelihoods / likelihoods.sum(axis=1, keepdims=True), np.arange(count).astype(str)


@pytest.mark.parametrize("shares", [(0.7, 0.2, 0.1), (0.05, 0.15, 0.8)])
def test_shares_are_estimated_without_labels(shares):
    _, probabilities, patients = draw(shares)
    shift = estimate_label_shift(probabilities, patients, classes=CLASSES)
    for name, share in zip(CLASSES, shares, strict=True):
        assert shift.shares[name].value == pytest.approx(share, abs=0.05)
        assert shift.shares[name].low - 0.01 <= share <= shift.shares[name].high + 0.01
    assert shift.probabilities.sum(axis=1) == pytest.approx(1)


def test_shares_do_not_depend_on_the_prior_of_the_probabilities():
    _, probabilities, patients = draw((0.7, 0.2, 0.1))
    prior = np.array([0.5, 0.25, 0.25])
    others = probabilities * prior / (probabilities @ prior)[:, None]
    first = estimate_label_shift(probabilities, patients, classes=CLASSES)
    second = estimate_label_shift(others, patients, classes=CLASSES, prior=prior)
    for name in CLASSES:
        assert second.shares[name].value == pytest.approx(first.shares[name].value, abs=1e-3)
    assert second.probabilities == pytest.approx(first.probabilities, abs=1e-2)


def test_corrected_probabilities_have_a_higher_accuracy():
    labels, probabilities, patients = draw((0.8, 0.15, 0.05))
    corrected = estimate_label_shift(probabilities, patients, classes=CLASSES).probabilities
    before, after = ((values.argmax(axis=1) == labels).mean() for values in (probabilities, corrected))
    assert after > before + 0.05


def test_few_images_raise_an_error():
    _, probabilities, patients = draw((0.5, 0.3, 0.2), count=49)
    with pytest.raises(ValueError, match="50 or more"):
        estimate_label_shift(probabilities, patients, classes=CLASSES)
