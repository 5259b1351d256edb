import numpy as np
import pytest

from pneumoscope.metrics.selective import measure_selective


def draw(count, skill, seed=0):
    rng = np.random.default_rng(seed)
    correct = rng.random(count) < 0.8
    return correct, rng.normal(skill * correct, 1.0), np.arange(count).astype(str)


def test_withholding_raises_accuracy_with_informative_confidence():
    curve = measure_selective(*draw(2000, skill=2.0))
    assert curve.at_shares[1.0].value == pytest.approx(0.8, abs=0.03)
    assert curve.at_shares[0.5].value > 0.95
    assert curve.at_shares[0.5].n == 1000
    assert (np.diff(curve.shares) > 0).all() and curve.shares[-1] == 1


def test_withholding_changes_nothing_with_random_confidence():
    random, informative = (measure_selective(*draw(2000, skill=skill)) for skill in (0.0, 2.0))
    assert random.at_shares[0.5].value == pytest.approx(random.at_shares[1.0].value, abs=0.04)
    assert random.area.value == pytest.approx(0.2, abs=0.04)
    assert informative.area.high < random.area.low


def test_the_area_is_the_mean_of_all_risks():
    curve = measure_selective([True, False, True], [3.0, 2.0, 1.0], ["a", "b", "c"])
    assert curve.area.value == pytest.approx(np.mean([0, 1 / 2, 1 / 3]))


def test_images_of_equal_confidence_are_answered_together():
    orders = [measure_selective(correct, [1.0, 1.0], ["a", "b"]) for correct in ([True, False], [False, True])]
    assert orders[0].accuracies.tolist() == orders[1].accuracies.tolist() == [0.5]
    assert orders[0].area.value == orders[1].area.value == 0.5
