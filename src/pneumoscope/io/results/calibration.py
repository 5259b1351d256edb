"""How a classifier is calibrated, where its operating points lie, and its metrics with them."""

from dataclasses import dataclass

from pneumoscope.io.results import Estimate, require


@dataclass(frozen=True)
class Calibration:
    """Parameters of `pneumoscope.metrics.calibration`; `resampled` are those of fits on resampled patients."""

    method: str
    fitted_on: str
    fitted: tuple[float, ...]
    resampled: tuple[tuple[float, ...], ...]

    def __post_init__(self) -> None:
        lengths = {len(fit) for fit in self.resampled}
        require(lengths == {len(self.fitted)}, f"resampled fits have {lengths} parameters, expected {len(self.fitted)}")


@dataclass(frozen=True)
class ConformalLimit:
    """The limit of the conformal sets, see `pneumoscope.metrics.conformal`."""

    method: str
    coverage: float
    fitted_on: str
    limit: float


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold on the probability of pneumonia, and the metrics on the images that it was chosen on."""

    threshold: float
    sensitivity: Estimate
    one_minus_specificity: Estimate


@dataclass(frozen=True)
class SplitMetrics:
    """Metrics of one split by name."""

    three_class: dict[str, Estimate]
    normal_or_pneumonia: dict[str, Estimate]


@dataclass(frozen=True)
class Spread:
    """Mean, standard deviation and single values of a metric over models that differ in their seed."""

    mean: float
    sd: float
    values: tuple[float, ...]


@dataclass(frozen=True)
class SeedComparison:
    """Test metrics of models that differ in their seed alone, by `task/metric`."""

    seeds: tuple[int, ...]
    test: dict[str, Spread]


@dataclass(frozen=True, kw_only=True)
class CalibrationReport:
    """What is chosen for a classifier on held-out images, and its metrics with that.

    Attributes:
        conformal: None where the model has no conformal sets.
        operating_points: by name.
        operating_points_from: the images that they were chosen on.
        metrics: metrics by split: `val`, `test` and, where a study held some out, `held_out`.
        seeds: None where one model was trained.
    """

    calibration: Calibration
    conformal: ConformalLimit | None = None
    operating_points: dict[str, OperatingPoint]
    operating_points_from: str
    metrics: dict[str, SplitMetrics]
    seeds: SeedComparison | None = None
