"""Kept promises show as kept, broken ones as broken by as much as they are."""

import numpy as np
import pytest

from pneumoscope.metrics.reliability import NUM_BINS, measure_reliability, measure_top_label_reliability


def draw(count, seed=0):
    rng = np.random.default_rng(seed)
    probabilities = rng.random(count)
    return rng.random(count) < probabilities, probabilities, np.arange(count).astype(str)


def test_calibrated_probabilities_miss_by_no_more_than_chance():
    events, probabilities, patients = draw(2000)
    found = measure_reliability(events, probabilities, patients)

    assert found.error.value == pytest.approx(found.by_chance, abs=0.015)
    assert found.promised_mean == pytest.approx(found.observed_mean, abs=0.03)
    kept = [observed.low <= found.promised[number] <= observed.high for number, observed in found.observed.items()]
    assert np.mean(kept) >= 0.8


def test_an_overconfident_promise_misses_by_as_much():
    events, probabilities, patients = draw(3000)
    found = measure_reliability(events, np.full(len(probabilities), 0.9), patients)

    assert found.error.value == pytest.approx(0.4, abs=0.03)
    assert found.error.low < found.error.value < found.error.high
    assert found.counts.sum() == found.counts[13] == 3000


def test_the_error_is_the_library_s():
    metrics = pytest.importorskip("mapie.metrics.calibration")
    rng = np.random.default_rng(1)
    labels, probabilities = rng.integers(0, 3, 500), rng.dirichlet([1, 1, 1], 500)

    found = measure_top_label_reliability(labels, probabilities, np.arange(500).astype(str))

    right = (probabilities.argmax(axis=1) == labels).astype(int)
    expected = metrics.expected_calibration_error(
        right, probabilities.max(axis=1), num_bins=NUM_BINS, split_strategy="uniform"
    )
    assert found.error.value == pytest.approx(expected)


def test_a_promise_out_of_range_is_an_error():
    with pytest.raises(ValueError, match="expected 0 to 1"):
        measure_reliability([True], [1.2], ["a"])
    with pytest.raises(ValueError, match="same shape"):
        measure_reliability([True, False], [0.2], ["a"])
