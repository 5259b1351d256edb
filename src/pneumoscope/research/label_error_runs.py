"""Task 2: contiguous error runs, in which cross-validated classifiers contradict most labels of a class.

They are searched in a group of two classes, such as two causes of one disease. Isolated errors between the classes are
expected. Errors in consecutive images, in file-name order, have two possible causes: the labels are wrong, or the
images were acquired differently (another device, other markers) and the classifiers rely on this confounder.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pneumoscope.classification.cross_validation import select_pool
from pneumoscope.data.dataset import Dataset
from pneumoscope.evaluation.pixel_baselines import describe_pixels, fit_pixel_baseline
from pneumoscope.io.results import Evaluation, Metrics
from pneumoscope.labels import LabelSet
from pneumoscope.metrics.classification import evaluate_scores, rank_pair
from pneumoscope.metrics.error_runs import list_runs, order_names, smooth_along
from pneumoscope.metrics.weighted import Ranking

LIMIT = 0.25
# Standard deviation of the smoothing kernel, in images of the same class.
REACH = 15.0
# No runs are reported if classifiers hardly distinguish the classes, or for few images.
MIN_GAP = 0.3
MIN_IMAGES = 100


@dataclass(frozen=True)
class GroupRuns:
    """Contiguous error runs of the labels in a group of two classes.

    Attributes:
        group: name of the group; empty if the labels have none of two classes.
        classes: its two classes.
        names: `(n,)` str, file names of the first and then the second class, each in file-name order.
        labels: `(n,)` int, index into `classes`.
        contradicted: `(n,)` floats in [0, 1], estimated share of surrounding images with the same label that
            classifiers assign to the other class.
        aurocs: AUROC of the two classes, `outside` and `inside` of runs, for `predictions` (cross-validated
            classifiers) and `borders` (logistic regression on the outer tenth of the image).
    """

    group: str
    classes: tuple[str, ...]
    names: NDArray[np.str_]
    labels: NDArray[np.integer]
    contradicted: NDArray[np.floating]
    aurocs: dict[str, Metrics]

    @property
    def inside(self) -> NDArray[np.bool_]:
        """`(n,)` bool, True for images in a run: `contradicted >= LIMIT`."""
        return self.contradicted >= LIMIT

    def to_rows(self) -> list[dict[str, str | int]]:
        """Return one row per run: `label`, `first` and `last` file name, number of `images`."""
        rows: list[dict[str, str | int]] = []
        for number, label in enumerate(self.classes):
            names = self.names[self.labels == number].tolist()
            for start, end in list_runs(self.inside[self.labels == number]):
                rows.append({"label": label, "first": names[start], "last": names[end], "images": end - start + 1})
        return rows


def find_group_runs(dataset: Dataset, evaluation: Evaluation) -> GroupRuns:
    """Find contiguous runs in which cross-validated classifiers contradict most labels of a class.

    The score p(second) / (p(first) + p(second)) of the first group of two classes is smoothed in file-name order,
    without images of the same patient, and interpreted as a mixture of the typical scores of both classes.

    Args:
        dataset: with splits.
        evaluation: result of `cross_validate` on `dataset`.
    """
    groups = evaluation.label_set.groups.items()
    group, classes = next(((name, members) for name, members in groups if len(members) == 2), ("", ()))
    if not group:
        return GroupRuns("", (), np.empty(0, str), np.empty(0, np.int64), np.empty(0), {})
    rows, ranking = rank_pair(evaluation.labels, evaluation.probabilities, classes, evaluation.label_set)
    names, patients = evaluation.names[rows], evaluation.patients[rows]
    labels, scores = ranking[0].astype(np.int64), ranking[1]
    in_order = order_names(names.tolist())
    by_class = [in_order[labels[in_order] == number] for number in (0, 1)]
    around = [smooth_along(scores[members], reach=REACH, groups=patients[members]) for members in by_class]
    order = np.concatenate(by_class)
    shares = np.zeros(len(order))
    if min(map(len, by_class)) >= MIN_IMAGES:
        # Up to half of a class may lie in runs: these quartiles describe images outside of runs.
        low, high = np.quantile(around[0], 0.25), np.quantile(around[1], 0.75)
        if high - low >= MIN_GAP:
            shares = np.concatenate([around[0] - low, high - around[1]]) / (high - low)
            shares = np.clip(shares, 0, 1)
    inside = set(names[order][shares >= LIMIT].tolist())
    aurocs = {"predictions": _estimate_aurocs(names, patients, ranking, inside)}
    if inside:
        aurocs["borders"] = _estimate_border_aurocs(dataset, evaluation.label_set, classes, inside)
    return GroupRuns(group, classes, names[order], labels[order], shares, aurocs)


def _estimate_aurocs(
    names: NDArray[np.str_], patients: NDArray[np.str_], ranking: Ranking, inside: set[str]
) -> Metrics:
    """Return the AUROC of the second class `outside` and `inside` of runs, if both classes occur."""
    within = np.array([name in inside for name in names.tolist()], dtype=bool)
    positive, scores = ranking
    return {
        place: evaluate_scores(positive[rows], scores[rows], {}, patients=patients[rows])["auroc"]
        for place, rows in (("outside", ~within), ("inside", within))
        if len(set(positive[rows].tolist())) == 2
    }


def _estimate_border_aurocs(
    dataset: Dataset, label_set: LabelSet, classes: tuple[str, ...], inside: set[str]
) -> Metrics:
    labeled = select_pool(dataset)
    probabilities, _ = fit_pixel_baseline(describe_pixels(labeled)["borders"], labeled, split="val")
    val = labeled.split("val")
    rows, ranking = rank_pair(val.labels(label_set), probabilities, classes, label_set)
    return _estimate_aurocs(val.names[rows], val.patients[rows], ranking, inside)


def write_group_verdict(runs: GroupRuns) -> str:
    """Return a summary of the reliability of one class against the other; empty if there are no error runs."""
    if not runs.inside.any():
        return ""
    pair = f"{runs.classes[0].capitalize()} versus {runs.classes[1]} is unreliable"
    share = f"{100 * runs.inside.mean():.0f} % of the training images of {runs.group}"
    held_out, borders = (runs.aurocs.get(source, {}) for source in ("predictions", "borders"))
    if "inside" not in held_out or "outside" not in held_out:
        return f"{pair}: cross-validated models contradict most labels of {share}."
    verdict = (
        f"{pair}: cross-validated AUROC {held_out['inside'].value:.2f} in contiguous "
        f"error runs ({share}), {held_out['outside'].value:.2f} in all others."
    )
    if "inside" in borders and "outside" in borders and borders["inside"].high < borders["outside"].low:
        return f"{verdict} The image borders alone show the same difference, so acquisition may be a confounder."
    return verdict
