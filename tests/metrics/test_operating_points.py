import numpy as np
import pytest
from sklearn.metrics import roc_curve

from pneumoscope.labels import LabelSet
from pneumoscope.metrics.operating_points import choose_operating_points, estimate_specificity, list_decided


def test_each_point_has_its_nominal_sensitivity_or_specificity():
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


def test_points_are_in_order_for_separable_classes():
    points = choose_operating_points([0] * 50 + [1] * 50, [*np.linspace(0, 0.4, 50), *np.linspace(0.6, 1, 50)])
    assert points["screening"] <= points["balanced"] <= points["specific"]
    assert points["balanced"] == pytest.approx(0.5)


def test_specificity_is_that_of_the_roc_curve():
    rng = np.random.default_rng(1)
    labels = np.repeat([0, 1], [200, 400])
    probabilities = 1 / (1 + np.exp(-rng.normal(np.where(labels, 1.0, -1.0), 1.0)))
    specificity_97 = estimate_specificity(labels, probabilities, np.arange(600).astype(str))
    false_alarms, sensitivity, _ = roc_curve(labels, probabilities, drop_intermediate=False)
    assert specificity_97.value == pytest.approx(1 - false_alarms[sensitivity >= 0.97].min())
    assert specificity_97.low < specificity_97.value < specificity_97.high
    assert specificity_97.n == 200


def test_specificity_needs_both_classes():
    assert np.isnan(estimate_specificity([1, 1], [0.2, 0.8], ["a", "b"]).value)
    assert np.isnan(estimate_specificity([0, 0], [0.2, 0.8], ["a", "b"]).value)


def test_each_finding_with_both_labels_can_be_decided():
    findings = LabelSet(("edema", "mass"), multi_label=True)
    labels, probabilities = np.array([[1, -1], [0, 0], [-1, 0]]), np.array([[0.8, 0.1], [0.3, 0.2], [0.5, 0.4]])
    cases = list_decided(labels, probabilities, findings)
    assert [case.is_decidable for case in cases.values()] == [True, False]
    assert cases["edema"].scores.tolist() == [0.8, 0.3] and cases["mass"].labels.tolist() == [0, 0]
    assert not list_decided(np.array([0, 1]), np.eye(2), LabelSet(("a", "b")))
