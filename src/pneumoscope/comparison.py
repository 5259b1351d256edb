"""Methods side by side: plain values, as a benchmark leaves them."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from pneumoscope.results import Estimate, require


@dataclass(frozen=True)
class MethodTable:
    """Figures of several methods for one end, measured on the same images.

    Attributes:
        figures: by method, by name of the figure; what a method does not have is missing.
        remarks: by method, what its figures must be read with, as one sentence.
    """

    figures: dict[str, dict[str, Estimate]]
    remarks: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        strangers = [name for name in self.remarks if name not in self.figures]
        require(not strangers, f"remarks are of {', '.join(strangers)}, expected methods that have figures")

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of all figures, in the order in which the methods name them."""
        return tuple(dict.fromkeys(name for figures in self.figures.values() for name in figures))


@dataclass(frozen=True)
class DetectorComparison:
    """Task 3: metrics of anomaly detectors on test."""

    table: MethodTable


@dataclass(frozen=True)
class NeighborsBenchmark:
    """Retrieval, rejection and uncertainty by nearest neighbors.

    Attributes:
        table: a row for each classifier, and for raw pixels.
    """

    table: MethodTable


@dataclass(frozen=True)
class ExplanationBenchmark:
    """Methods of explanation side by side, and what their pictures need.

    Attributes:
        table: a row a method, see `pneumoscope.tasks.explain.benchmark`.
        layer: name of the layer that the class-activation maps look through.
        methods: those whose maps are kept as examples.
        images: `(e, H, W)` uint8, examples with a lesion whose place is known.
        masks: `(e, H, W)` bool, that place.
        heatmaps: `(methods, e, H, W)` uint8, 255 = hottest.
        centralities: `(n,)` float64, how central the heat of each test image lies, in [0, 2]; NaN without heat.
        labels: `(n,)` int, 1 = pneumonia, 0 = normal.
        claim: `centrality_normal`, `centrality_pneumonia`, `centrality_difference` of these.
        probes: how the probability of pneumonia answers to changes that are no sickness, by change.
    """

    table: MethodTable
    layer: str
    methods: tuple[str, ...]
    images: np.ndarray
    masks: np.ndarray
    heatmaps: np.ndarray
    centralities: np.ndarray
    labels: np.ndarray
    claim: dict[str, Estimate]
    probes: dict[str, Estimate]

    def __post_init__(self) -> None:
        expected = (len(self.methods), *self.images.shape)
        require(self.heatmaps.shape == expected, f"heatmaps are {self.heatmaps.shape}, expected {expected}")
        require(self.masks.shape == self.images.shape, f"masks are {self.masks.shape}, expected {self.images.shape}")
        require(self.labels.shape == self.centralities.shape, "labels and centralities differ in shape")
