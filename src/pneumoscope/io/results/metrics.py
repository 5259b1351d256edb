"""Curves of a classifier: reliability, selective prediction, ROC, label shift, conformal sets."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pneumoscope.io.results.estimate import Estimate, check_shapes, require


@dataclass(frozen=True)
class Reliability:
    """A reliability diagram: mean probabilities and observed frequencies in bins of equal width.

    Attributes:
        edges: `(bins + 1,)` float64, from 0 to 1.
        counts: `(bins,)` int, number of images in each bin.
        predicted: `(bins,)` float64, mean probability in each bin; NaN in empty bins.
        observed: by index of each non-empty bin, frequency of the event.
        error: expected calibration error, in [0, 1].
        predicted_mean: mean probability over all images.
        observed_mean: frequency of the event over all images.
        by_chance: mean expected calibration error of perfectly calibrated probabilities on equally many images.
    """

    edges: np.ndarray
    counts: np.ndarray
    predicted: np.ndarray
    observed: dict[int, Estimate]
    error: Estimate
    predicted_mean: float
    observed_mean: float
    by_chance: float

    def __post_init__(self) -> None:
        bins = len(self.counts)
        check_shapes(self, edges=(bins + 1,), predicted=(bins,))


@dataclass(frozen=True)
class SelectiveCurve:
    """Selective prediction: accuracy by coverage, where the least confident images are abstained first.

    Attributes:
        shares: `(m,)` float64 in (0, 1], ascending coverage (share of images that are predicted).
        accuracies: `(m,)` float64, accuracy at each coverage.
        area: area under the risk-coverage curve (AURC); lower is better.
        at_shares: accuracy by minimum coverage.
    """

    shares: np.ndarray
    accuracies: np.ndarray
    area: Estimate
    at_shares: dict[float, Estimate]

    def __post_init__(self) -> None:
        check_shapes(self, accuracies=self.shares.shape)


@dataclass(frozen=True)
class LabelShift:
    """Class shares estimated from probabilities alone.

    Attributes:
        shares: estimated class shares, which sum to 1.
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
        test: name of the statistical test.
        difference: metric of the second classifier minus metric of the first.
        p_value: two-sided p-value of the null hypothesis of no difference.
    """

    test: str
    difference: Estimate
    p_value: float


@dataclass(frozen=True)
class Roc:
    """The ROC curve of one class.

    Attributes:
        false_positive_rate: `(m,)` float64 in [0, 1], false positive rates.
        sensitivity: `(m,)` float64 in [0, 1].
    """

    false_positive_rate: np.ndarray
    sensitivity: np.ndarray

    def __post_init__(self) -> None:
        check_shapes(self, sensitivity=self.false_positive_rate.shape)


@dataclass(frozen=True)
class Conformal:
    """Prediction sets by split conformal prediction.

    Attributes:
        nominal_coverage: nominal coverage, in (0, 1).
        metrics: by class and for `all`: `coverage`, mean `size`, and shares of sets with a `single` class, `several`
            classes or none (`empty`).
    """

    nominal_coverage: float
    metrics: dict[str, dict[str, Estimate]]
