import numpy as np
import pytest

from pneumoscope.metrics.intervals import estimate, estimate_mean


def test_interval_of_a_mean_is_that_of_theory():
    values = np.random.default_rng(0).normal(size=400)

    found = estimate_mean(values, np.arange(400).astype(str))

    half_width = 1.96 * values.std(ddof=1) / 20
    assert found.value == pytest.approx(values.mean())
    assert (found.high - found.low) / 2 == pytest.approx(half_width, rel=0.1)
    assert found.low < found.value < found.high
    assert found.n == 400


def test_images_of_one_patient_are_no_independent_cases():
    of_patient = np.random.default_rng(1).normal(size=50)
    values = np.repeat(of_patient, 8)

    as_images = estimate_mean(values, np.arange(400).astype(str))
    as_patients = estimate_mean(values, np.repeat(np.arange(50), 8).astype(str))

    widening = (as_patients.high - as_patients.low) / (as_images.high - as_images.low)
    assert widening == pytest.approx(np.sqrt(8), rel=0.15)


def test_a_patient_is_drawn_with_all_images_and_as_many_patients_as_there_are():
    patients = np.array(["a", "b", "a", "c", "c", "c"])
    seen = []

    def figures(weights):
        seen.append(weights)
        return {"images": weights.sum(axis=1)}

    estimate(figures, patients, num_resamples=200)

    resamples = np.concatenate(seen[1:])
    assert resamples.shape == (200, 6)
    assert (resamples[:, 0] == resamples[:, 2]).all()
    assert (resamples[:, 3] == resamples[:, 4]).all() and (resamples[:, 4] == resamples[:, 5]).all()
    assert (resamples[:, [0, 1, 3]].sum(axis=1) == 3).all()
    assert len(np.unique(resamples[:, 0])) == 4


def test_the_seed_alone_decides():
    values, patients = np.arange(30.0), np.arange(30).astype(str)

    assert estimate_mean(values, patients, seed=5) == estimate_mean(values, patients, seed=5)
    assert estimate_mean(values, patients, seed=5) != estimate_mean(values, patients, seed=6)


def test_a_single_patient_has_a_value_and_no_interval():
    found = estimate_mean([1.0, 2.0, 3.0], ["a", "a", "a"])

    assert found.value == 2.0
    assert np.isnan([found.low, found.high]).all()


@pytest.mark.parametrize(("undefined", "usable"), [(0.0, True), (0.03, True), (0.12, False), (1.0, False)])
def test_undefined_resamples_are_left_out_only_where_they_are_few(undefined, usable):
    patients = np.arange(100).astype(str)
    chance = np.random.default_rng(0)

    def figures(weights):
        mean = weights @ np.arange(100.0) / 100
        return {"odd": np.where(chance.random(len(weights)) < undefined, np.nan, mean), "plain": mean}

    found = estimate(figures, patients, values={"odd": 49.5, "plain": 49.5})

    assert np.isfinite([found["odd"].low, found["odd"].high]).all() == usable
    assert np.isfinite([found["plain"].low, found["plain"].high]).all()
    if usable:
        assert found["odd"].low == pytest.approx(found["plain"].low, abs=0.5)


def test_an_undefined_figure_has_no_interval():
    found = estimate(lambda weights: {"figure": weights[:, 0]}, ["a", "b"], values={"figure": np.nan})["figure"]

    assert np.isnan([found.value, found.low, found.high]).all()


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"values are \(2,\) and patients \(3,\)"):
        estimate_mean([1.0, 2.0], ["a", "b", "c"])
    with pytest.raises(ValueError, match="there are 0 images"):
        estimate_mean([], [])
