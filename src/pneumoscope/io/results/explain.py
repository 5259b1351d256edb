"""Results of task 4: explanations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pneumoscope.io.results.benchmark import MethodTable
from pneumoscope.io.results.estimate import Estimate, require


@dataclass(frozen=True)
class Explanation:
    """Task 4: why the net of task 1.A decides as it does.

    Attributes:
        layers: names of the layers that are shown, from the input on.
        images: `(e, H, W)` float32 in [0, 1], examples, normal and pneumonia in turn.
        labels: `(e,)` int, 1 = pneumonia.
        decisions: `(e,)` int, what the net said.
        examples: `(e,)` int, index of the examples into the dataset.
        heatmaps: `(e, layers, H, W)` float32 in [0, 1], Grad-CAM of each layer for the decided class, with
            gradients taken place by place (HiResCAM).
        feature_maps: by layer name `(filters, h, w)` float32, of the first pneumonia example.
        patches: by layer name `(filters, patches, p, p)` float32 in [0, 1]: image patches that excite
            the strongest filters most.
        patch_filters: by layer name `(filters,)` int, which filters those are.
        metrics: `centrality_normal`, `centrality_pneumonia`, `centrality_difference` over the test images, and
            `peak_in_lesion`, `lesion_area` where true masks are known (phantoms); the same with `_averaged`
            for Grad-CAM as published, with gradients averaged over the layer.
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
    """Methods of explanation side by side.

    Attributes:
        table: a row a method, see `pneumoscope.research.explain_benchmark`.
        layer: name of the layer that the class-activation maps look through.
        claim: `centrality_normal`, `centrality_pneumonia`, `centrality_difference` of HiResCAM over test images.
        probes: how the probability of pneumonia answers to changes that are no sickness, by change.
    """

    table: MethodTable
    layer: str
    claim: dict[str, Estimate]
    probes: dict[str, Estimate]
