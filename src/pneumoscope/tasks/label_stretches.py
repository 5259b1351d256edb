"""Task 2: stretches of file names in which nets contradict most sub-types.

Nets that have not seen the patient mistake bacterial for viral here and there. Where they do so film after film, in the
order of the file names, the labels went wrong together, or the films of the stretch were made otherwise (by another
machine, with other letters) and nets tell sub-types by that. Films side by side show which.
"""

from dataclasses import dataclass

import numpy as np

from pneumoscope.evaluation.metrics import estimate_binary_scores
from pneumoscope.evaluation.stretches import list_runs, order_names, smooth_along
from pneumoscope.radiographs.dataset import Dataset
from pneumoscope.results import THREE_CLASSES, Estimate, Evaluation, require
from pneumoscope.tasks.trivial import answer_trivially, describe_trivially

LIMIT = 0.25
# Standard deviation, in images of the same sub-type, of the weights with which those around an image count.
REACH = 15.0
# Sub-types that nets hardly tell apart, or few images, show no stretches.
LEAST_GAP = 0.3
FEWEST_IMAGES = 100


@dataclass(frozen=True)
class LabelStretches:
    """How far sub-types are contradicted along a collection.

    Attributes:
        names: `(n,)` str, of bacterial and then viral images, each in the order of their file names.
        subtypes: `(n,)` int, as labelled, index into the three classes.
        contradicted: `(n,)` floats in [0, 1], estimated share of the images around with the same label that look to
            nets as the other sub-type does elsewhere.
        limit: share from which on an image lies in a stretch.
        aurocs: of bacterial against viral, by `nets`, each on patients it has not seen, and by `borders`, a regression
            on the outer tenth of the validation images, which shows no lung: `outside` and `inside` of stretches.
    """

    names: np.ndarray
    subtypes: np.ndarray
    contradicted: np.ndarray
    limit: float
    aurocs: dict[str, dict[str, Estimate]]

    def __post_init__(self) -> None:
        shapes = f"names are {self.names.shape}, subtypes {self.subtypes.shape}, contradicted {self.contradicted.shape}"
        require(self.names.shape == self.subtypes.shape == self.contradicted.shape, f"{shapes}; expected one shape")

    @property
    def inside(self) -> np.ndarray:
        """`(n,)` bool, which images lie in a stretch."""
        return self.contradicted >= self.limit

    def to_rows(self) -> list[dict[str, str | int]]:
        """Return one row for each stretch: the `subtype` as labelled, `first` and `last` name, number of `images`."""
        rows: list[dict[str, str | int]] = []
        for subtype in np.unique(self.subtypes).tolist():
            chosen = self.subtypes == subtype
            names = self.names[chosen]
            rows += [
                {
                    "subtype": THREE_CLASSES[subtype],
                    "first": str(names[start]),
                    "last": str(names[end]),
                    "images": end - start + 1,
                }
                for start, end in list_runs(self.inside[chosen])
            ]
        return rows


def find_label_stretches(dataset: Dataset, told: Evaluation) -> LabelStretches:
    """Find the stretches of file names in which nets that have not seen the patient contradict most sub-types.

    The mean probability of viral among bacterial and viral, over the images around in the order of their file names, is
    read as a mixture of what it is among the bulk of either sub-type. An image's own patient does not count.

    Args:
        dataset: split, with the images told of.
        told: three classes, by nets that have not seen the patient; see `cross_validate`.
    """
    sick = told.labels > 0
    names, given, patients = told.names[sick], told.labels[sick], told.patients[sick]
    viral = _weigh_viral(told.probabilities[sick])
    in_order = order_names(names.tolist())
    rows = {kind: in_order[given[in_order] == kind] for kind in (1, 2)}
    around = {kind: smooth_along(viral[found], reach=REACH, groups=patients[found]) for kind, found in rows.items()}
    contradicted = {kind: np.zeros(len(found)) for kind, found in rows.items()}
    if min(len(found) for found in rows.values()) >= FEWEST_IMAGES:
        # Up to a half of either sub-type may lie in stretches: quartiles are of what lies outside them.
        low, high = np.quantile(around[1], 0.25), np.quantile(around[2], 0.75)
        if high - low >= LEAST_GAP:
            contradicted = {
                1: np.clip((around[1] - low) / (high - low), 0, 1),
                2: np.clip((high - around[2]) / (high - low), 0, 1),
            }
    order = np.concatenate([rows[1], rows[2]])
    shares = np.concatenate([contradicted[1], contradicted[2]])
    inside = set(names[order][shares >= LIMIT].tolist())
    aurocs = {"nets": _rank_subtypes(names, given, patients, viral, inside)}
    if inside:
        aurocs["borders"] = _rank_by_borders(dataset, inside)
    return LabelStretches(names[order], given[order], shares, LIMIT, aurocs)


def _weigh_viral(probabilities: np.ndarray) -> np.ndarray:
    return probabilities[:, 2] / np.maximum(probabilities[:, 1:].sum(axis=1), 1e-7)


def _rank_subtypes(
    names: np.ndarray, given: np.ndarray, patients: np.ndarray, viral: np.ndarray, inside: set[str]
) -> dict[str, Estimate]:
    """Return the AUROC of bacterial against viral `outside` and `inside` of stretches, where there are both."""
    within = np.array([name in inside for name in names.tolist()], dtype=bool)
    return {
        place: estimate_binary_scores((given[rows] == 2).astype(np.int64), viral[rows], patients[rows])["auroc"]
        for place, rows in (("outside", ~within), ("inside", within))
        if len(set(given[rows].tolist())) == 2
    }


def _rank_by_borders(dataset: Dataset, inside: set[str]) -> dict[str, Estimate]:
    known = dataset.select((dataset.labels(THREE_CLASSES) >= 0) & (dataset.table["split"].to_numpy() != "test"))
    answers, _ = answer_trivially(describe_trivially(known)["borders"], known, split="val")
    val = known.split("val")
    sick = val.labels(THREE_CLASSES) > 0
    names, patients = (val.table[column].to_numpy().astype(str)[sick] for column in ("name", "patient"))
    return _rank_subtypes(names, val.labels(THREE_CLASSES)[sick], patients, _weigh_viral(answers[sick]), inside)


def write_subtype_verdict(stretches: LabelStretches) -> str:
    """Return how far to trust bacterial against viral; empty where no stretch of file names contradicts it."""
    if not stretches.inside.any():
        return ""
    share = f"film after film, in {100 * stretches.inside.mean():.0f} of 100 training pneumonias"
    nets, borders = (stretches.aurocs.get(source, {}) for source in ("nets", "borders"))
    if "inside" in nets and "outside" in nets:
        apart, mixed = (nets[place].value for place in ("outside", "inside"))
        measured = f"told them with an AUROC of {apart:.2f}, but of {mixed:.2f} where they were often wrong {share}"
    else:
        measured = f"were often wrong {share}"
    verdict = f"Take bacterial or viral with care: nets that had not seen the patient {measured}."
    if "inside" in borders and "outside" in borders and borders["inside"].high < borders["outside"].low:
        return (
            f"{verdict} The frame of the film alone does likewise: it may be how a film was made that tells them apart."
        )
    return verdict
