import numpy as np
import pytest

from pneumoscope.metrics.calibration import calibrate, fit_calibration


def draw(num, scale, seed, shares=(0.2, 0.5, 0.3)):
    """Return labels, and probabilities of logits that are `scale` times too large."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(3, num, p=shares)
    logits = 1.5 * np.eye(3)[labels] + rng.normal(size=(num, 3))
    # The true posterior of equally frequent classes has logits 1.5 times these.
    exponents = np.exp(1.5 * scale * logits)
    return labels, exponents / exponents.sum(axis=1, keepdims=True)


def test_the_scale_corrects_overconfidence():
    labels, outputs = draw(3000, 3.0, 0)
    fits = fit_calibration(outputs, labels, np.arange(3000).astype(str))
    assert fits.shape == (101, 4)
    assert fits[0, 0] == pytest.approx(1 / 3, rel=0.1)
    assert np.abs(fits[0, 1:] - fits[0, 1:].mean()).max() < 0.2


def test_calibrated_probabilities_hold_for_the_prior():
    labels, outputs = draw(3000, 3.0, 0)
    prior = np.array([0.5, 0.25, 0.25])
    fits = fit_calibration(outputs, labels, np.arange(3000).astype(str), prior=prior)
    new_labels, new_outputs = draw(20000, 3.0, 1, shares=prior)
    calibrated = calibrate(new_outputs, fits[:1])[0]
    assert calibrated.mean(axis=0) == pytest.approx(prior, abs=0.02)
    sure = calibrated[:, 0] > 0.7
    assert (new_labels[sure] == 0).mean() == pytest.approx(calibrated[sure, 0].mean(), abs=0.02)


def test_calibrated_probabilities_equal_frequencies():
    labels, outputs = draw(3000, 3.0, 0, shares=(1 / 3, 1 / 3, 1 / 3))
    fits = fit_calibration(outputs, labels, np.arange(3000).astype(str))
    new_labels, new_outputs = draw(3000, 3.0, 1, shares=(1 / 3, 1 / 3, 1 / 3))
    calibrated = calibrate(new_outputs, fits[:1])[0]
    confidences = calibrated.max(axis=1)
    correct = calibrated.argmax(axis=1) == new_labels
    assert confidences.mean() == pytest.approx(correct.mean(), abs=0.03)
    assert new_outputs.max(axis=1).mean() > correct.mean() + 0.1


def test_images_of_one_patient_are_not_independent():
    labels, outputs = draw(60, 2.0, 2)
    repeated = np.tile(labels, 10), np.tile(outputs, (10, 1))
    as_cases = fit_calibration(repeated[1], repeated[0], np.arange(600).astype(str))
    as_patients = fit_calibration(repeated[1], repeated[0], np.tile(np.arange(60), 10).astype(str))
    assert as_patients[1:, 0].std() > 2 * as_cases[1:, 0].std()


def test_the_scale_of_a_perfect_classifier_is_finite():
    labels = np.arange(60) % 3
    outputs = np.full((60, 3), 0.05) + 0.85 * np.eye(3)[labels]
    fits = fit_calibration(outputs, labels, np.arange(60).astype(str))
    assert np.isfinite(fits).all()
    assert fits[:, 0].max() < 10


def test_without_images_of_a_class_nothing_is_calibrated():
    outputs = np.array([[0.2, 0.3, 0.5], [0.6, 0.3, 0.1]])
    fits = fit_calibration(outputs, [0, 1], ["a", "b"])
    np.testing.assert_allclose(calibrate(outputs, fits[:1])[0], outputs)
    with pytest.raises(ValueError, match=r"labels \(3,\)"):
        fit_calibration(outputs, [0, 1, 2], ["a", "b"])


def test_a_class_of_one_patient_is_in_every_resample():
    labels = np.repeat(np.arange(20), 2)
    outputs = np.full((40, 20), 0.02) + 0.6 * np.eye(20)[labels]
    assert np.isfinite(fit_calibration(outputs, labels, labels.astype(str))).all()


def test_each_finding_is_calibrated_at_its_prevalence():
    rng = np.random.default_rng(0)
    true = 1 / (1 + np.exp(-rng.normal(-1, 2, (4000, 3))))
    labels = (rng.random(true.shape) < true).astype(int)
    labels[:, 2] = 0
    labels[::7, 0] = -1
    outputs = 1 / (1 + np.exp(-(3 * np.log(true / (1 - true)) + [2, -2, 0])))  # overconfident, with an offset
    fits = fit_calibration(outputs, labels, np.arange(4000).astype(str))
    assert fits.shape == (101, 6)
    assert fits[0] == pytest.approx([1 / 3, 1 / 3, 1, -2 / 3, 2 / 3, 0], abs=0.05)
    assert calibrate(outputs, fits[:1])[0, :, :2] == pytest.approx(true[:, :2], abs=0.05)
    assert calibrate(np.ones((1, 1)), np.array([[1.0, 0.0]])) == pytest.approx(1)


def test_a_calibration_never_reverses_the_model() -> None:
    outputs = np.linspace(0.1, 0.9, 20)
    fits = fit_calibration(np.stack([1 - outputs, outputs], axis=1), outputs < 0.5, np.arange(20).astype(str))
    assert (fits[:, 0] > 0).all()
