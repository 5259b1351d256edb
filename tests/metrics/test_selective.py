"""Withholding helps where confidence knows what is right, and nowhere else."""

import numpy as np
import pytest

from pneumoscope.metrics.selective import measure_selective


def draw(count, knows, seed=0):
    rng = np.random.default_rng(seed)
    right = rng.random(count) < 0.8
    return right, rng.normal(knows * right, 1.0), np.arange(count).astype(str)


def test_a_reader_who_knows_its_doubts_gains_by_withholding():
    curve = measure_selective(*draw(2000, knows=2.0))

    assert curve.at_shares[1.0].value == pytest.approx(0.8, abs=0.03)
    assert curve.at_shares[0.5].value > 0.95
    assert curve.at_shares[0.5].n == 1000
    assert (np.diff(curve.shares) > 0).all() and curve.shares[-1] == 1


def test_a_reader_who_does_not_gains_nothing():
    blind, knowing = (measure_selective(*draw(2000, knows=knows)) for knows in (0.0, 2.0))

    assert blind.at_shares[0.5].value == pytest.approx(blind.at_shares[1.0].value, abs=0.04)
    assert blind.area.value == pytest.approx(0.2, abs=0.04)
    assert knowing.area.high < blind.area.low


def test_the_area_is_the_mean_of_all_risks():
    curve = measure_selective([True, False, True], [3.0, 2.0, 1.0], ["a", "b", "c"])

    assert curve.area.value == pytest.approx(np.mean([0, 1 / 2, 1 / 3]))


def test_images_equally_sure_are_answered_together():
    orders = [measure_selective(right, [1.0, 1.0], ["a", "b"]) for right in ([True, False], [False, True])]

    assert orders[0].accuracies.tolist() == orders[1].accuracies.tolist() == [0.5]
    assert orders[0].area.value == orders[1].area.value == 0.5


def test_shapes_are_checked():
    with pytest.raises(ValueError, match="same shape"):
        measure_selective([True], [1.0, 2.0], ["a"])
