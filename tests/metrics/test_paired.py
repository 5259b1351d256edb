import numpy as np
import pytest

from pneumoscope.metrics.paired import compare_decisions, compare_rankings

pytest.importorskip("MLstatkit")
pytest.importorskip("statsmodels")


@pytest.fixture(scope="module")
def scores():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 150)
    signal = rng.normal(labels, 1.0)
    return labels, signal + rng.normal(0, 1.5, 300), signal + rng.normal(0, 0.3, 300), np.arange(300).astype(str)


def test_a_better_ranking_is_significant(scores):
    comparison = compare_rankings(*scores)
    assert comparison.p_value < 0.01
    assert 0 < comparison.difference.low < comparison.difference.value < comparison.difference.high


def test_a_ranking_does_not_differ_from_itself(scores):
    labels, first, _, patients = scores
    comparison = compare_rankings(labels, first, 2 * first + 1, patients)
    assert comparison.p_value == 1
    assert comparison.difference.value == comparison.difference.low == comparison.difference.high == 0


def test_the_exact_test_counts_disagreements_only():
    first = np.array([True] * 50 + [True] * 9 + [False] * 1)
    second = np.array([True] * 50 + [False] * 9 + [True] * 1)
    comparison = compare_decisions(first, second, np.arange(60).astype(str))
    assert comparison.p_value == pytest.approx(2 * (1 + 10) / 2**10)
    assert comparison.difference.value == pytest.approx(-8 / 60)
    assert comparison.difference.high < 0


def test_images_of_one_patient_widen_the_interval():
    rng = np.random.default_rng(1)
    first, second = np.repeat(rng.random(40) < 0.6, 5), np.repeat(rng.random(40) < 0.7, 5)
    apart = compare_decisions(first, second, np.arange(200).astype(str)).difference
    together = compare_decisions(first, second, np.repeat(np.arange(40), 5).astype(str)).difference
    assert together.high - together.low > 1.5 * (apart.high - apart.low)


def test_invalid_arguments_raise_an_error():
    with pytest.raises(ValueError, match="both 0 and 1"):
        compare_rankings([1, 1], [0.1, 0.2], [0.2, 0.3], ["a", "b"])
    with pytest.raises(ValueError, match="same shape"):
        compare_decisions([True], [True, False], ["a"])
