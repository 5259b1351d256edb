"""Results of the checks for confounders."""

from __future__ import annotations

from dataclasses import dataclass

from pneumoscope.io.results.estimate import Estimate, require

UNTOUCHED = "untouched"


@dataclass(frozen=True)
class Confounders:
    """Metrics of a classifier without the lungs, or on them alone.

    Metrics are `auroc` and `accuracy` of normal against pneumonia and, where sub-types are known,
    `three_class_accuracy`.

    Attributes:
        split: name of the split that all was measured on.
        threshold: of the classifier's accuracy, on the probability of pneumonia.
        metrics: the classifier's by what is shown: `untouched`, `borders_hidden`, `markers_hidden`, `lungs_only`,
            `lungs_hidden`, and `lung_area_hidden`: the same area in all images, where one in twenty shows lung, so that
            no outline is left.
        differences: the same less those on untouched images, in pairs.
        hidden: by the same names, mean share of the image that is hidden.
        pixel_baselines: metrics of logistic regressions on `exposure`, `histogram`, `borders` and, where files differ
            in size, `file_size`; empty without training images.
        series: by series of file names, `exposure` (mean gray level, 0 to 255), `contrast` (standard deviation),
            `markers` and `flagged` (shares of images with letters, and classified as pneumonia).
    """

    split: str
    threshold: float
    metrics: dict[str, dict[str, Estimate]]
    differences: dict[str, dict[str, Estimate]]
    hidden: dict[str, Estimate]
    pixel_baselines: dict[str, dict[str, Estimate]]
    series: dict[str, dict[str, Estimate]]

    def __post_init__(self) -> None:
        require(
            {*self.differences, UNTOUCHED} == {*self.hidden, UNTOUCHED} == set(self.metrics),
            f"metrics are of {sorted(self.metrics)}, differences of {sorted(self.differences)} and hidden of "
            f"{sorted(self.hidden)}; expected {UNTOUCHED} and the same others in all three",
        )
