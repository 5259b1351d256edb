import numpy as np
import pytest

from pneumoscope.explain.centrality import estimate_centrality, estimate_peak_in_lesion, measure_centrality
from pneumoscope.models.receptive_field import Field


class TestCentrality:
    def test_even_middle_edge_and_outside(self):
        heatmaps = np.zeros((4, 128, 128), np.float32)
        heatmaps[0] = 0.3
        heatmaps[1, 55:65, 60:70] = 1
        heatmaps[2, 55:65, 12:18] = 1
        heatmaps[3, :9, :9] = 1

        even, middle, edge, outside = measure_centrality(heatmaps)

        assert even == pytest.approx(1)
        assert middle == pytest.approx(2, abs=0.01)
        assert edge == 0
        assert np.isnan(outside)

    def test_heat_outside_of_the_lungs_counts_as_neither(self):
        heatmaps = np.zeros((2, 128, 128), np.float32)
        heatmaps[:, 55:65, 60:70] = 0.2
        heatmaps[1, :9, :9] = 1
        with_marker, without = measure_centrality(heatmaps)[::-1]
        assert with_marker == pytest.approx(without)

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


class TestPeaks:
    fields = (Field(0, 17, 4), Field(0, 17, 4))

    def test_hits_count_within_one_position_of_the_lesion(self):
        masks = np.zeros((4, 64, 64), bool)
        masks[:3, 30:34, 30:34] = True
        heatmaps = np.zeros((4, 64, 64), np.float32)
        heatmaps[0, 32, 37] = heatmaps[1, 32, 38] = heatmaps[3, 32, 32] = 1
        metrics = estimate_peak_in_lesion(heatmaps, masks, list("abcd"), fields=self.fields)
        assert metrics["peak_in_lesion"].n == 3, "the image without a lesion is left out"
        assert metrics["peak_in_lesion"].value == pytest.approx(1 / 3), "a miss by two positions and a map without heat"
        assert metrics["lesion_area"].value == pytest.approx(12**2 / 64**2)

    def test_without_lesions_there_is_no_metric(self):
        nothing = np.zeros((2, 16, 16))
        metrics = estimate_peak_in_lesion(nothing, nothing > 0, ["a", "b"], fields=self.fields)
        assert np.isnan(metrics["peak_in_lesion"].value)
        assert metrics["lesion_area"].n == 0
