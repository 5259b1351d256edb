"""Calibration: an overconfident net becomes honest, and classes weigh alike."""

import numpy as np
import pytest

from pneumoscope.metrics.calibration import calibrate, fit_calibration


def draw(num, scale, seed, shares=(0.2, 0.5, 0.3)):
    """Return labels, and what a net tells whose logits are `scale` times too large."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(3, num, p=shares)
    logits = 1.5 * np.eye(3)[labels] + rng.normal(size=(num, 3))
    # The true posterior of equally frequent classes has logits 1.5 times these.
    exponents = np.exp(1.5 * scale * logits)
    return labels, exponents / exponents.sum(axis=1, keepdims=True)


def test_it_finds_by_how_much_a_net_is_too_sure():
    labels, outputs = draw(3000, 3.0, 0)

    fits = fit_calibration(outputs, labels, np.arange(3000).astype(str))

    assert fits.shape == (101, 4)
    assert fits[0, 0] == pytest.approx(1 / 3, rel=0.1)
    assert np.abs(fits[0, 1:] - fits[0, 1:].mean()).max() < 0.2


def test_a_calibrated_probability_is_kept_about_as_often_as_it_says():
    labels, outputs = draw(3000, 3.0, 0, shares=(1 / 3, 1 / 3, 1 / 3))
    fits = fit_calibration(outputs, labels, np.arange(3000).astype(str))
    new_labels, new_outputs = draw(3000, 3.0, 1, shares=(1 / 3, 1 / 3, 1 / 3))

    told = calibrate(new_outputs, fits[:1])[0]
    sure = told.max(axis=1)
    right = told.argmax(axis=1) == new_labels

    assert sure.mean() == pytest.approx(right.mean(), abs=0.03)
    assert new_outputs.max(axis=1).mean() > right.mean() + 0.1


def test_images_of_one_patient_are_no_independent_cases():
    labels, outputs = draw(60, 2.0, 2)
    repeated = np.tile(labels, 10), np.tile(outputs, (10, 1))
    as_cases = fit_calibration(repeated[1], repeated[0], np.arange(600).astype(str))
    as_patients = fit_calibration(repeated[1], repeated[0], np.tile(np.arange(60), 10).astype(str))

    assert as_patients[1:, 0].std() > 2 * as_cases[1:, 0].std()


def test_a_net_that_is_always_right_does_not_drive_the_scale_to_infinity():
    labels = np.arange(60) % 3
    outputs = np.full((60, 3), 0.05) + 0.85 * np.eye(3)[labels]

    fits = fit_calibration(outputs, labels, np.arange(60).astype(str))

    assert np.isfinite(fits).all()
    assert fits[:, 0].max() < 10


def test_a_missing_class_is_an_error():
    with pytest.raises(ValueError, match="expected all of 0 to 2"):
        fit_calibration(np.full((4, 3), 1 / 3), [0, 0, 1, 1], ["a", "b", "c", "d"])
