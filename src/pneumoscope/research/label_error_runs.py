"""Task 2: contiguous error runs, in which cross-validated classifiers contradict most subtype labels.

Isolated errors between bacterial and viral are expected. Errors in consecutive images, in file-name order, have two
possible causes: the labels are wrong, or the images were acquired differently (another device, other markers) and the
classifiers rely on this confounder.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pneumoscope.classification.cross_validation import select_pool
from pneumoscope.data.dataset import Dataset
from pneumoscope.evaluation.pixel_baselines import describe_pixels, fit_pixel_baseline
from pneumoscope.io.results import Evaluation, Metrics
from pneumoscope.labels import THREE_CLASSES
from pneumoscope.metrics.classification import estimate_binary_scores
from pneumoscope.metrics.error_runs import list_runs, order_names, smooth_along

LIMIT = 0.25
# Standard deviation of the smoothing kernel, in images of the same subtype.
REACH = 15.0
# No runs are reported if classifiers hardly distinguish the subtypes, or for few images.
MIN_GAP = 0.3
MIN_IMAGES = 100


@dataclass(frozen=True)
class SubtypeRuns:
    """Contiguous error runs of subtype labels.

    Attributes:
        names: `(n,)` str, file names of bacterial and then viral images, each in file-name order.
        subtypes: `(n,)` int, labels as indices into the three classes.
        contradicted: `(n,)` floats in [0, 1], estimated share of surrounding images with the same label that
            classifiers assign to the other subtype.
        limit: an image belongs to a run when `contradicted >= limit`.
        aurocs: AUROC of bacterial against viral, `outside` and `inside` of runs, for `predictions` (cross-validated
            classifiers) and `borders` (logistic regression on the outer tenth of the image).
    """

    names: NDArray[np.str_]
    subtypes: NDArray[np.integer]
    contradicted: NDArray[np.floating]
    limit: float
    aurocs: dict[str, Metrics]

    @property
    def inside(self) -> NDArray[np.bool_]:
        """`(n,)` bool, True for images in a run."""
        return self.contradicted >= self.limit

    def to_rows(self) -> list[dict[str, str | int]]:
        """Return one row per run: labeled `subtype`, `first` and `last` file name, number of `images`."""
        rows: list[dict[str, str | int]] = []
        for subtype in np.unique(self.subtypes).tolist():
            names = self.names[self.subtypes == subtype].tolist()
            for start, end in list_runs(self.inside[self.subtypes == subtype]):
                run = {"first": names[start], "last": names[end], "images": end - start + 1}
                rows.append({"subtype": THREE_CLASSES[subtype], **run})
        return rows


def find_subtype_runs(dataset: Dataset, evaluation: Evaluation) -> SubtypeRuns:
    """Find contiguous runs in which cross-validated classifiers contradict most subtype labels.

    The score p(viral) / (p(bacterial) + p(viral)) is smoothed in file-name order, without images of the same patient,
    and interpreted as a mixture of the typical scores of both subtypes.

    Args:
        dataset: with splits.
        evaluation: three-class result of `cross_validate` on `dataset`.
    """
    pneumonia = evaluation.labels > 0
    names, labels = evaluation.names[pneumonia], evaluation.labels[pneumonia]
    patients, viral = evaluation.patients[pneumonia], _share_of_viral(evaluation.probabilities[pneumonia])
    in_order = order_names(names.tolist())
    rows = [in_order[labels[in_order] == subtype] for subtype in (1, 2)]
    around = [smooth_along(viral[members], reach=REACH, groups=patients[members]) for members in rows]
    order = np.concatenate(rows)
    shares = np.zeros(len(order))
    if min(map(len, rows)) >= MIN_IMAGES:
        # Up to half of a subtype may lie in runs: these quartiles describe images outside of runs.
        low, high = np.quantile(around[0], 0.25), np.quantile(around[1], 0.75)
        if high - low >= MIN_GAP:
            shares = np.concatenate([around[0] - low, high - around[1]]) / (high - low)
            shares = np.clip(shares, 0, 1)
    inside = set(names[order][shares >= LIMIT].tolist())
    aurocs = {"predictions": _estimate_aurocs(names, labels, patients, viral, inside)}
    if inside:
        aurocs["borders"] = _estimate_border_aurocs(dataset, inside)
    return SubtypeRuns(names[order], labels[order], shares, LIMIT, aurocs)


def _share_of_viral(probabilities: NDArray[np.floating]) -> NDArray[np.floating]:
    return np.asarray(probabilities[:, 2] / np.maximum(probabilities[:, 1:].sum(axis=1), 1e-7))


def _estimate_aurocs(
    names: NDArray[np.str_],
    labels: NDArray[np.integer],
    patients: NDArray[np.str_],
    viral: NDArray[np.floating],
    inside: set[str],
) -> Metrics:
    """Return the AUROC of bacterial against viral `outside` and `inside` of runs, if both classes occur."""
    within = np.array([name in inside for name in names.tolist()], dtype=bool)
    return {
        place: estimate_binary_scores((labels[rows] == 2).astype(np.int64), viral[rows], patients[rows])["auroc"]
        for place, rows in (("outside", ~within), ("inside", within))
        if len(set(labels[rows].tolist())) == 2
    }


def _estimate_border_aurocs(dataset: Dataset, inside: set[str]) -> Metrics:
    labeled = select_pool(dataset)
    probabilities, _ = fit_pixel_baseline(describe_pixels(labeled)["borders"], labeled, split="val")
    val = labeled.split("val")
    labels = val.labels(THREE_CLASSES)
    pneumonia = labels > 0
    names, patients, viral = val.names[pneumonia], val.patients[pneumonia], _share_of_viral(probabilities[pneumonia])
    return _estimate_aurocs(names, labels[pneumonia], patients, viral, inside)


def write_subtype_verdict(runs: SubtypeRuns) -> str:
    """Return a summary of the reliability of bacterial against viral; empty if there are no error runs."""
    if not runs.inside.any():
        return ""
    share = f"{100 * runs.inside.mean():.0f} % of the training pneumonias"
    held_out, borders = (runs.aurocs.get(source, {}) for source in ("predictions", "borders"))
    if "inside" not in held_out or "outside" not in held_out:
        return f"Bacterial versus viral is unreliable: cross-validated models contradict most labels of {share}."
    verdict = (
        f"Bacterial versus viral is unreliable: cross-validated AUROC {held_out['inside'].value:.2f} in contiguous "
        f"error runs ({share}), {held_out['outside'].value:.2f} in all other pneumonias."
    )
    if "inside" in borders and "outside" in borders and borders["inside"].high < borders["outside"].low:
        return f"{verdict} The image borders alone show the same difference, so acquisition may be a confounder."
    return verdict
