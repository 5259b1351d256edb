import numpy as np
import pytest

from pneumoscope.metrics.reliability import NUM_BINS, measure_reliability


def draw(count, seed=0):
    rng = np.random.default_rng(seed)
    probabilities = rng.random(count)
    return rng.random(count) < probabilities, probabilities, np.arange(count).astype(str)


def test_calibrated_probabilities_have_the_error_of_chance():
    events, probabilities, patients = draw(2000)
    reliability = measure_reliability(events, probabilities, patients)

    assert reliability.error.value == pytest.approx(reliability.by_chance, abs=0.015)
    assert reliability.predicted_mean == pytest.approx(reliability.observed_mean, abs=0.03)
    kept = [
        observed.low <= reliability.predicted[number] <= observed.high
        for number, observed in reliability.observed.items()
    ]
    assert np.mean(kept) >= 0.8


def test_overconfidence_is_the_calibration_error():
    events, probabilities, patients = draw(3000)
    reliability = measure_reliability(events, np.full(len(probabilities), 0.9), patients)
    assert reliability.error.value == pytest.approx(0.4, abs=0.03)
    assert reliability.error.low < reliability.error.value < reliability.error.high
    assert reliability.counts.sum() == reliability.counts[13] == 3000


def test_the_error_equals_that_of_mapie():
    metrics = pytest.importorskip("mapie.metrics.calibration")
    rng = np.random.default_rng(1)
    labels, probabilities = rng.integers(0, 3, 500), rng.dirichlet([1, 1, 1], 500)
    correct, highest = (probabilities.argmax(axis=1) == labels).astype(int), probabilities.max(axis=1)

    reliability = measure_reliability(correct, highest, np.arange(500).astype(str))

    expected = metrics.expected_calibration_error(correct, highest, num_bins=NUM_BINS, split_strategy="uniform")
    assert reliability.error.value == pytest.approx(expected)


def test_invalid_arguments_raise_an_error():
    with pytest.raises(ValueError, match="expected 0 to 1"):
        measure_reliability([True], [1.2], ["a"])
    with pytest.raises(ValueError, match="same shape"):
        measure_reliability([True, False], [0.2], ["a"])
