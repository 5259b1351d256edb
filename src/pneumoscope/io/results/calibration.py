"""Calibration, operating points and metrics of a classifier."""

from dataclasses import dataclass

from pneumoscope.io.results import Estimate, require


@dataclass(frozen=True)
class Calibration:
    """Parameters of `pneumoscope.metrics.calibration`; `resampled` holds the fits on bootstrap samples of patients.

    Calibrated probabilities hold for a population with the `frequencies` of the classes, or if there are none, with
    equally frequent classes.
    """

    method: str
    fitted_on: str
    fitted: tuple[float, ...]
    resampled: tuple[tuple[float, ...], ...]
    frequencies: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        lengths = {len(fit) for fit in self.resampled}
        require(lengths == {len(self.fitted)}, f"resampled fits have {lengths} parameters; expected {len(self.fitted)}")


@dataclass(frozen=True)
class ConformalLimit:
    """The fitted threshold of the conformal sets, see `pneumoscope.metrics.conformal`."""

    method: str
    coverage: float
    fitted_on: str
    limit: float


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold on the probability of a class, with metrics on the images it was chosen on."""

    threshold: float
    sensitivity: Estimate
    one_minus_specificity: Estimate


@dataclass(frozen=True)
class SplitMetrics:
    """Metrics of one split by name: of all classes, and of the positive class (empty without one)."""

    classes: dict[str, Estimate]
    positive: dict[str, Estimate]


@dataclass(frozen=True)
class Spread:
    """Mean, standard deviation and values of a metric over models trained with different seeds."""

    mean: float
    sd: float
    values: tuple[float, ...]


@dataclass(frozen=True)
class SeedComparison:
    """Test metrics of models trained with different seeds, by `task/metric`."""

    seeds: tuple[int, ...]
    test: dict[str, Spread]


@dataclass(frozen=True, kw_only=True)
class CalibrationReport:
    """Calibration and operating points fitted on held-out images, and the resulting metrics.

    Attributes:
        calibration: parameters of the calibration.
        conformal: threshold of the conformal sets; None if the model has none.
        operating_points: by name of the point and of the class: the positive one, or each finding if multi-label.
            Empty for a single-label set without a negative class.
        operating_points_from: the images on which the operating points were chosen.
        metrics: metrics by split: `val`, `test` and, if the study has it, `held_out`.
        seeds: metrics over seeds; None if only one model was trained.
    """

    calibration: Calibration
    conformal: ConformalLimit | None = None
    operating_points: dict[str, dict[str, OperatingPoint]]
    operating_points_from: str
    metrics: dict[str, SplitMetrics]
    seeds: SeedComparison | None = None
