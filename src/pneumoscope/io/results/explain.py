"""Results of task 4: explanations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pneumoscope.io.results.benchmark import MethodTable
from pneumoscope.io.results.estimate import Estimate, require


@dataclass(frozen=True)
class Explanation:
    """Task 4: explanations of a classifier of normal against pneumonia.

    Attributes:
        layers: names of the layers that are shown, from the input on.
        images: `(e, H, W)` float32 in [0, 1], examples, normal and pneumonia in turn.
        labels: `(e,)` int, 1 = pneumonia.
        decisions: `(e,)` int, decisions of the classifier.
        examples: `(e,)` int, index of the examples into the dataset.
        heatmaps: `(e, layers, H, W)` float32 in [0, 1], HiResCAM of each layer for the predicted class.
        feature_maps: by layer name `(filters, h, w)` float32, of the first pneumonia example.
        patches: by layer name `(filters, patches, p, p)` float32 in [0, 1], that activate the filters most.
        patch_filters: by layer name `(filters,)` int, indices of those filters.
        metrics: `centrality_normal`, `centrality_pneumonia`, `centrality_difference` over the test images, and
            `peak_in_lesion`, `lesion_area` with true masks (phantoms); the same with `_averaged` for Grad-CAM.
    """

    layers: tuple[str, ...]
    images: np.ndarray
    labels: np.ndarray
    decisions: np.ndarray
    examples: np.ndarray
    heatmaps: np.ndarray
    feature_maps: dict[str, np.ndarray]
    patches: dict[str, np.ndarray]
    patch_filters: dict[str, np.ndarray]
    metrics: dict[str, Estimate]

    def __post_init__(self) -> None:
        e, height, width = self.images.shape
        expected = (e, len(self.layers), height, width)
        require(self.heatmaps.shape == expected, f"heatmaps are {self.heatmaps.shape}, expected {expected}")


@dataclass(frozen=True)
class ExplanationBenchmark:
    """Comparison of explanation methods.

    Attributes:
        table: one row a method, see `pneumoscope.research.explain_benchmark`.
        layer: name of the layer of the class-activation maps.
        claim: `centrality_normal`, `centrality_pneumonia`, `centrality_difference` of HiResCAM over test images.
        probes: change of the probability of pneumonia by changes of the image that are no sign of disease.
    """

    table: MethodTable
    layer: str
    claim: dict[str, Estimate]
    probes: dict[str, Estimate]
