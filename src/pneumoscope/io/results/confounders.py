"""Results of the checks for confounders."""

from __future__ import annotations

from dataclasses import dataclass

from pneumoscope.io.results.estimate import Estimate

UNTOUCHED = "untouched"


@dataclass(frozen=True)
class Confounders:
    """What is told without the lungs, or from them alone.

    Figures are `auroc` and `accuracy` of normal against pneumonia and, where sub-types are known,
    `three_class_accuracy`.

    Attributes:
        split: name of the split that all was measured on.
        threshold: on the probability of pneumonia, that the classifier's accuracy was measured at.
        figures: the classifier's by what it was shown: `untouched`, `borders_hidden`, `markers_hidden`,
            `lungs_only`, `lungs_hidden`, and `lung_area_hidden`: the same area in all films, where one in twenty
            shows lung, so that no outline tells anything.
        differences: the same less those on untouched images, in pairs.
        hidden: by the same names, mean share of the image that was hidden.
        trivial: figures of logistic regressions on `exposure`, `histogram`, `borders` and, where files differ in
            size, `file_size`; empty where there was nothing to fit them on.
        series: by how the data set names its files, `exposure` (mean gray level, 0 to 255), `contrast` (standard
            deviation), `markers` and `flagged` (shares of images with letters, and called pneumonia).
    """

    split: str
    threshold: float
    figures: dict[str, dict[str, Estimate]]
    differences: dict[str, dict[str, Estimate]]
    hidden: dict[str, Estimate]
    trivial: dict[str, dict[str, Estimate]]
    series: dict[str, dict[str, Estimate]]

    def __post_init__(self) -> None:
        changed = set(self.figures) - {UNTOUCHED}
        if UNTOUCHED not in self.figures or set(self.differences) != changed or set(self.hidden) != changed:
            raise ValueError(
                f"figures are of {sorted(self.figures)}, differences of {sorted(self.differences)} and hidden of "
                f"{sorted(self.hidden)}; expected {UNTOUCHED} and the same others in all three"
            )
