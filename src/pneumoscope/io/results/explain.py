"""Results of task 4: explanations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pneumoscope.io.results.estimate import Estimate, check_shapes
from pneumoscope.labels import LabelSet


@dataclass(frozen=True)
class Explanation:
    """Task 4: explanations of a classifier.

    Attributes:
        layers: names of the explained layers, from input to output.
        images: `(e, H, W)` float32 in [0, 1], examples that alternate between the classes.
        label_set: the classes.
        labels: `(e,)` int, index of the class.
        decisions: `(e,)` int, predicted classes.
        examples: `(e,)` int, indices of the examples in the dataset.
        heatmaps: `(e, layers, H, W)` float32 in [0, 1], HiResCAM of each layer for the predicted class.
        feature_maps: by layer name `(filters, h, w)` float32, feature maps of the first example of no negative class.
        patches: by layer name `(filters, patches, p, p)` float32 in [0, 1], the patches that activate each filter most.
        patch_filters: by layer name `(filters,)` int, indices of these filters.
        metrics: `centrality_negative`, `centrality_positive` and `centrality_difference` over the test images, and
            `peak_in_lesion` and `lesion_area` if lesion masks exist (phantoms). The suffix `_averaged` marks Grad-CAM.
    """

    layers: tuple[str, ...]
    label_set: LabelSet
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
        check_shapes(self, heatmaps=(e, len(self.layers), height, width))
