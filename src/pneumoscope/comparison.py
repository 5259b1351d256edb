"""Methods side by side: plain values, as a benchmark leaves them."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from pneumoscope.results import Detection, Estimate, require


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
    """Task 3: detectors of anomalies side by side.

    Attributes:
        table: figures on test, and what each detector must be read with.
        detections: by method, what the figures were told from; of several seeds the first.
    """

    table: MethodTable
    detections: dict[str, Detection]


@dataclass(frozen=True)
class NeighborsBenchmark:
    """Neighbors measured from all sides.

    Attributes:
        table: a row for each net and number of classes, for raw pixels, and for each kind of index.
        distances: `(n,)` float32, mean distance of each test image to its five nearest known images, three classes.
        right: `(n,)` bool, whether its neighbors tell its class.
        threshold: distance beyond which an image is rejected, chosen on validation.
    """

    table: MethodTable
    distances: np.ndarray
    right: np.ndarray
    threshold: float

    def __post_init__(self) -> None:
        require(self.distances.shape == self.right.shape, "distances and right differ in shape")
