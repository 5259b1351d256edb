"""Curves and intervals behind the metrics of a classifier."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pneumoscope.io.results.estimate import Estimate, require


@dataclass(frozen=True)
class Reliability:
    """Probabilities against frequencies, in bins of equal width.

    Attributes:
        edges: `(bins + 1,)` float64, from 0 to 1.
        counts: `(bins,)` int, images in each bin.
        promised: `(bins,)` float64, mean probability in each bin; NaN where it is empty.
        observed: by number of the bin, frequency of the event; bins that are not empty.
        error: expected calibration error, in [0, 1].
        promised_mean, observed_mean: mean probability, and frequency of the event.
        by_chance: mean error of perfectly calibrated probabilities on as many images.
    """

    edges: np.ndarray
    counts: np.ndarray
    promised: np.ndarray
    observed: dict[int, Estimate]
    error: Estimate
    promised_mean: float
    observed_mean: float
    by_chance: float

    def __post_init__(self) -> None:
        bins = len(self.counts)
        require(self.edges.shape == (bins + 1,), f"edges are {self.edges.shape}, expected {(bins + 1,)}")
        require(self.promised.shape == (bins,), f"promised are {self.promised.shape}, expected {(bins,)}")


@dataclass(frozen=True)
class SelectiveCurve:
    """Accuracy against the share of images answered, the most confident first.

    Attributes:
        shares: `(m,)` float64 in (0, 1], growing.
        accuracies: `(m,)` float64, of the images answered.
        area: mean share of wrong answers over all shares answered (AURC); less is better.
        at_shares: accuracy by the share that is answered at least.
    """

    shares: np.ndarray
    accuracies: np.ndarray
    area: Estimate
    at_shares: dict[float, Estimate]

    def __post_init__(self) -> None:
        shapes = f"shares are {self.shares.shape} and accuracies {self.accuracies.shape}, expected the same shape"
        require(self.shares.shape == self.accuracies.shape, shapes)


@dataclass(frozen=True)
class LabelShift:
    """Class shares estimated from probabilities alone.

    Attributes:
        shares: by class; they sum to 1.
        probabilities: `(n, classes)` float64, corrected for these shares; rows sum to 1.
    """

    shares: dict[str, Estimate]
    probabilities: np.ndarray

    def __post_init__(self) -> None:
        columns = self.probabilities.shape[-1]
        require(columns == len(self.shares), f"{columns} columns and {len(self.shares)} shares differ in number")


@dataclass(frozen=True)
class PairedComparison:
    """Two classifiers on the same images.

    Attributes:
        test: name of the test behind `p_value`.
        difference: metric of the second minus that of the first.
        p_value: of no difference, two-sided, in [0, 1].
    """

    test: str
    difference: Estimate
    p_value: float


@dataclass(frozen=True)
class Roc:
    """Sensitivity against false positive rate of normal or pneumonia.

    Attributes:
        false_alarms, sensitivity: `(m,)` float64 in [0, 1].
    """

    false_alarms: np.ndarray
    sensitivity: np.ndarray

    def __post_init__(self) -> None:
        require(self.false_alarms.shape == self.sensitivity.shape, "false alarms and sensitivity differ in shape")


@dataclass(frozen=True)
class Conformal:
    """Coverage of sets of classes by split conformal prediction.

    Attributes:
        promised: nominal coverage, in (0, 1).
        metrics: metrics by class and for `all`: `coverage`, `size`, `single`, `several`, `empty`.
    """

    promised: float
    metrics: dict[str, dict[str, Estimate]]
