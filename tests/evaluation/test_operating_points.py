"""Operating points keep what they promise on the images they were chosen on."""

import numpy as np
import pytest

from pneumoscope.evaluation.operating_points import choose_operating_points


def test_each_point_keeps_its_promise():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], [300, 700])
    probabilities = 1 / (1 + np.exp(-rng.normal(np.where(labels, 1.5, -1.5), 1.0)))

    points = choose_operating_points(labels, probabilities)

    def sensitivity(threshold):
        return (probabilities[labels == 1] >= threshold).mean()

    def specificity(threshold):
        return (probabilities[labels == 0] < threshold).mean()

    assert sensitivity(points["screening"]) >= 0.97 > sensitivity(np.nextafter(points["screening"] + 0.01, 1))
    assert specificity(points["specific"]) >= 0.95 > specificity(points["specific"] - 0.01)
    tried = np.linspace(0, 1, 1001)
    best = max(sensitivity(threshold) + specificity(threshold) for threshold in tried)
    assert sensitivity(points["balanced"]) + specificity(points["balanced"]) >= best


def test_points_stay_in_order_where_classes_are_told_apart():
    points = choose_operating_points([0] * 50 + [1] * 50, [*np.linspace(0, 0.4, 50), *np.linspace(0.6, 1, 50)])

    assert points["screening"] <= points["balanced"] <= points["specific"]
    assert points["balanced"] == pytest.approx(0.5)


def test_one_class_alone_is_an_error():
    with pytest.raises(ValueError, match="both 0 and 1"):
        choose_operating_points([1, 1], [0.2, 0.8])
