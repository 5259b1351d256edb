import numpy as np
import pytest

from pneumoscope.explain.centrality import estimate_centrality, estimate_peak_in_lesion, measure_centrality


class TestCentrality:
    def test_even_middle_edge_and_outside(self):
        heatmaps = np.zeros((4, 128, 128), np.float32)
        heatmaps[0] = 0.3
        heatmaps[1, 55:65, 60:70] = 1
        heatmaps[2, 55:65, 12:18] = 1
        heatmaps[1, :9, :9] = 1  # outside of the lungs, counts as neither
        heatmaps[3, :9, :9] = 1

        even, middle, edge, outside = measure_centrality(heatmaps)

        assert even == pytest.approx(1)
        assert middle == pytest.approx(2, abs=0.01)
        assert edge == 0
        assert np.isnan(outside)

    def test_a_true_difference_is_significant_over_patients(self):
        rng = np.random.default_rng(0)
        labels = np.repeat([0, 1], 30)
        heatmaps = rng.random((60, 64, 64)).astype(np.float32)
        heatmaps[labels == 0, 25:35, 27:37] += 20
        heatmaps[0] = 0
        patients = np.array([f"child{number // 2}" for number in range(60)])

        metrics = estimate_centrality(heatmaps, labels, patients)

        assert metrics["centrality_negative"].n == 29
        assert metrics["centrality_positive"].value == pytest.approx(1, abs=0.05)
        difference = metrics["centrality_difference"]
        assert difference.low > 0
        assert difference.low <= difference.value <= difference.high
        assert difference.value == pytest.approx(
            metrics["centrality_negative"].value - metrics["centrality_positive"].value
        )

    def test_a_missing_class_has_no_metric(self):
        metrics = estimate_centrality(np.ones((4, 32, 32)), np.zeros(4, int), list("abcd"))
        assert metrics["centrality_negative"].value == pytest.approx(1)
        assert np.isnan(metrics["centrality_positive"].value)
        assert np.isnan(metrics["centrality_difference"].value)


def test_a_peak_counts_within_four_pixels_of_the_lesion():
    masks = np.zeros((4, 64, 64), bool)
    masks[:3, 30:34, 30:34] = True
    heatmaps = np.zeros((4, 64, 64), np.float32)
    heatmaps[0, 32, 37] = heatmaps[1, 32, 38] = heatmaps[3, 32, 32] = 1
    metrics = estimate_peak_in_lesion(heatmaps, masks, list("abcd"))
    assert metrics["peak_in_lesion"].n == 3, "the image without a lesion is left out"
    assert metrics["peak_in_lesion"].value == pytest.approx(1 / 3), "a miss by five pixels and a map without heat"
    assert 0 < metrics["lesion_area"].value < 12**2 / 64**2
    nothing = estimate_peak_in_lesion(heatmaps[3:], masks[3:], ["d"])
    assert np.isnan(nothing["peak_in_lesion"].value) and nothing["lesion_area"].n == 0
