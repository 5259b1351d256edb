import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d

from pneumoscope.metrics.error_runs import list_runs, smooth_along


@pytest.mark.parametrize("shape", [(80,), (80, 3), (2,), (1,)])
def test_the_mean_around_is_that_of_a_gaussian(shape):
    values = np.random.default_rng(0).random(shape)
    filtered, ones = (
        gaussian_filter1d(of, 3.0, axis=0, mode="constant", truncate=5) for of in (values, np.ones(shape))
    )
    np.testing.assert_allclose(smooth_along(values, reach=3.0), filtered / ones, rtol=1e-9)


def test_values_of_the_own_group_do_not_count():
    values, groups = np.array([1.0, 0.0, 0.0, 1.0]), np.array(["a", "a", "b", "b"])
    smoothed = smooth_along(values, reach=100.0, groups=groups)
    np.testing.assert_allclose(smoothed, [0.5, 0.5, 0.5, 0.5], atol=0.01)
    np.testing.assert_allclose(smooth_along(values[:2], reach=100.0, groups=groups[:2]), values[:2])


def test_runs_may_touch_both_ends():
    assert list_runs(np.ones(3, bool)) == [(0, 2)]
    assert list_runs(np.zeros(3, bool)) == list_runs(np.zeros(0, bool)) == []
