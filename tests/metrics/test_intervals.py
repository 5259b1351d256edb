import numpy as np
import pytest

from pneumoscope.metrics.intervals import estimate, estimate_mean


def test_the_interval_of_a_mean_has_its_theoretical_width():
    values = np.random.default_rng(0).normal(size=400)
    result = estimate_mean(values, np.arange(400).astype(str))
    half_width = 1.96 * values.std(ddof=1) / 20
    assert result.value == pytest.approx(values.mean())
    assert (result.high - result.low) / 2 == pytest.approx(half_width, rel=0.1)
    assert result.low < result.value < result.high
    assert result.n == 400


def test_images_of_one_patient_widen_the_interval():
    of_patient = np.random.default_rng(1).normal(size=50)
    values = np.repeat(of_patient, 8)
    as_images = estimate_mean(values, np.arange(400).astype(str))
    as_patients = estimate_mean(values, np.repeat(np.arange(50), 8).astype(str))
    widening = (as_patients.high - as_patients.low) / (as_images.high - as_images.low)
    assert widening == pytest.approx(np.sqrt(8), rel=0.15)


def test_patients_are_resampled_with_all_their_images():
    patients = np.array(["a", "b", "a", "c", "c", "c"])
    batches = []

    def compute(weights):
        batches.append(weights)
        return {"images": weights.sum(axis=1)}

    estimate(compute, patients)

    resamples = np.concatenate(batches[1:])
    assert resamples.shape == (1000, 6)
    assert (resamples[:, 0] == resamples[:, 2]).all()
    assert (resamples[:, 3] == resamples[:, 4]).all() and (resamples[:, 4] == resamples[:, 5]).all()
    assert (resamples[:, [0, 1, 3]].sum(axis=1) == 3).all()
    assert len(np.unique(resamples[:, 0])) == 4


def test_a_single_patient_has_a_value_and_no_interval():
    result = estimate_mean([1.0, 2.0, 3.0], ["a", "a", "a"])
    assert result.value == 2.0
    assert np.isnan([result.low, result.high]).all()


@pytest.mark.parametrize(("share", "usable"), [(0.0, True), (0.03, True), (0.12, False), (1.0, False)])
def test_few_undefined_resamples_are_left_out(share, usable):
    patients = np.arange(100).astype(str)
    chance = np.random.default_rng(0)

    def compute(weights):
        mean = weights @ np.arange(100.0) / 100
        undefined = (chance.random(len(weights)) < share) & (weights != 1).any(axis=1)
        return {"undefined": np.where(undefined, np.nan, mean), "plain": mean}

    result = estimate(compute, patients)

    assert np.isfinite([result["undefined"].low, result["undefined"].high]).all() == usable
    assert np.isfinite([result["plain"].low, result["plain"].high]).all()
    if usable:
        assert result["undefined"].low == pytest.approx(result["plain"].low, abs=0.5)


def test_an_undefined_metric_has_no_interval():
    undefined = lambda weights: {"metric": np.where((weights == 1).all(axis=1), np.nan, weights[:, 0])}  # noqa: E731
    result = estimate(undefined, ["a", "b"])["metric"]
    assert np.isnan([result.value, result.low, result.high]).all()


def test_invalid_shapes_raise_an_error():
    with pytest.raises(ValueError, match=r"values are \(2,\), patients are \(3,\)"):
        estimate_mean([1.0, 2.0], ["a", "b", "c"])
    with pytest.raises(ValueError, match="there are 0 images"):
        estimate_mean([], [])
