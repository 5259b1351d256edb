"""Train, validation and test splits and cross-validation folds, grouped by patient."""

import warnings
from dataclasses import replace
from typing import Literal

import numpy as np
import pandas as pd
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from pneumoscope.data.dataset import Dataset
from pneumoscope.errors import CollectionError, LeakError
from pneumoscope.labels import LabelSet
from pneumoscope.progress import log


def split_dataset(
    dataset: Dataset,
    *,
    by: Literal["patient", "image"] = "patient",
    seed: int = 0,
    val_share: float = 0.15,
    keep_val: bool = False,
) -> Dataset:
    """Return the dataset with `split` set to `train`, `val` or `test`.

    An official test split is kept. Without one, a test split is sampled first. Validation is sampled from the
    remaining images. Sampling by patient is stratified by class; byte-identical images stay together.

    Args:
        dataset: with the official splits of the collection, if any.
        by: what is sampled. By `image`, images of one patient can be in train and validation: use it only to measure
            the effect of this leak.
        seed: random seed.
        val_share: share of validation images among the images outside test, in (0, 0.5].
        keep_val: keep the official `val` split; by default it is merged into train.

    Raises:
        CollectionError: if there are too few patients.
        LeakError: if a patient is in more than one split.
    """
    if by not in ("patient", "image"):
        raise ValueError(f"by is {by!r}, expected 'patient' or 'image'")
    if not 0 < val_share <= 0.5:
        raise ValueError(f"val_share is {val_share}, expected more than 0 and at most 0.5")
    split = dataset.table["split"].to_numpy().astype(object)
    split[split == ""] = "train"
    if not keep_val:
        split[split == "val"] = "train"
    missing = [name for name in ("test", "val") if not (split == name).any()]
    for number, name in enumerate(missing):
        pool = np.flatnonzero(split == "train")
        if by == "image":
            chosen = np.random.default_rng(seed).permutation(pool)[: round(val_share * len(pool))]
        else:
            rows = replace(dataset, images=np.zeros((len(dataset), 1, 1), np.uint8), masks=None)  # not copied
            part, num_folds = rows.select(pool), max(2, round(1 / val_share))
            folds = split_folds(part, num_folds=num_folds, seed=seed, min_patients=len(missing) - number + 1)
            labels = part.table["label"] if not dataset.label_set.multi_label else np.zeros(len(part))
            # The first fold, unless a class with few patients is only in others.
            chosen = pool[folds == max(range(folds.max() + 1), key=lambda fold: len({*labels[folds == fold]}))]
        split[chosen] = name
    table = dataset.table.assign(split=split.astype(str))
    if by == "patient":
        check_patients(table)
    return replace(dataset, table=table)


def split_folds(dataset: Dataset, *, num_folds: int, seed: int, min_patients: int | None = None) -> np.ndarray:
    """Return `(n,)` int, the fold of each image, grouped by patient and stratified by class.

    Multi-label images are stratified by the rarest finding of the patient; findings of fewer patients than folds are
    not stratified, and reported.

    Args:
        dataset: images to split.
        num_folds: number of folds, 2 or more.
        seed: random seed.
        min_patients: number of patients that each class must have; `num_folds` by default. If it is less, there are at
            most as many folds as patients of the largest class (multi-label: of all), and folds may lack a class.

    Raises:
        CollectionError: if a class has too few patients.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    groups = group_patients(dataset.table)
    multi_label = dataset.label_set.multi_label
    classes = _find_rarest(dataset, groups) if multi_label else dataset.table["label"].to_numpy()
    patients = {name: len(set(groups[classes == name])) for name in sorted(set(classes))}
    least = num_folds if min_patients is None else min_patients
    largest = len(set(groups)) if multi_label else max(patients.values(), default=0)
    num_folds = min(num_folds, max(least, largest))
    lacking = {name: count for name, count in patients.items() if count < least and name in dataset.label_set.classes}
    if (lacking and not multi_label) or len(set(groups)) < num_folds:
        found = ", ".join(f"{name!r} has {count}" for name, count in lacking.items()) or f"{len(set(groups))} in all"
        raise CollectionError(
            f"too few patients to split: {found}; expected {least} or more in each class. Add radiographs, leave the "
            "class out (--classes), or give all splits in folders or in the table"
        )
    few = {name or dataset.label_set.without_finding: count for name, count in patients.items() if count < num_folds}
    if few:
        texts = ", ".join(f"{name} {count}" for name, count in few.items())
        log.warning("few patients: %s; some parts may have none", texts)
    if multi_label:
        classes = np.where([patients[name] < num_folds for name in classes], "", classes)
    folds = np.empty(len(dataset), dtype=np.int64)
    splitter = StratifiedGroupKFold(num_folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)  # reported above
        for number, (_, held_out) in enumerate(splitter.split(classes, classes, groups)):
            folds[held_out] = number
    return folds


def _find_rarest(dataset: Dataset, groups: np.ndarray) -> np.ndarray:
    """Return `(n,)` str, of each image, the finding of its patient that the fewest patients have; empty for none."""
    present = dataset.labels() == 1
    names = np.array([*dataset.label_set.classes, ""])
    of_patient = np.zeros((groups.max(initial=-1) + 1, present.shape[1]), bool)
    np.logical_or.at(of_patient, groups, present)
    order = np.argsort(of_patient.sum(axis=0), kind="stable")
    rarest = np.where(of_patient.any(axis=1), order[of_patient[:, order].argmax(axis=1)], len(order))
    chosen: np.ndarray = names[rarest][groups]
    return chosen


def check_patients(table: pd.DataFrame) -> None:
    """Check that every patient is in one split only.

    Raises:
        LeakError: if a patient is in more than one split.
    """
    splits_of_patient = table.groupby("patient")["split"].nunique()
    shared = splits_of_patient.index[splits_of_patient > 1].tolist()
    if shared:
        raise LeakError(
            f"{len(shared)} patients are in more than one split (such as {', '.join(map(str, shared[:5]))}); "
            "expected each patient in one. Move their images to one split, or list the files in a manifest "
            "with the columns path, label, patient and split"
        )


def check_contradictions(table: pd.DataFrame, label_set: LabelSet | None = None) -> None:
    """Make sure that no two files with the same bytes have different labels.

    Raises:
        CollectionError: with the number of such images and the first of them.
    """
    if groups := find_contradictions(table, label_set):
        first = groups[0]
        files = ", ".join(f"{table['name'][row]} ({table['label'][row] or 'no finding'})" for row in first[:3])
        raise CollectionError(
            f"images with the same bytes have different labels: {len(groups)}, such as {files}; expected one label. "
            "Correct the labels or remove these files"
        )


def find_contradictions(table: pd.DataFrame, label_set: LabelSet | None = None) -> list[list[int]]:
    """Return the rows of each image that has different labels in files with the same bytes.

    A group of `label_set` and one of its classes do not contradict each other.
    """
    groups = label_set.groups if label_set is not None else {}
    repeated = table.index[table.duplicated("sha256", keep=False) & (table["sha256"] != "")]
    rows_of: dict[str, list[int]] = {}
    for row in repeated:
        rows_of.setdefault(table["sha256"][row], []).append(row)

    def agree(labels: set[str]) -> bool:
        return bool(set.intersection(*({*groups.get(label, (label,))} for label in labels)))

    return [rows for rows in rows_of.values() if not agree({str(table["label"][row]) for row in rows})]


def group_patients(table: pd.DataFrame) -> np.ndarray:
    """Return `(n,)` int, the group of each image: images of one patient and byte-identical images share a group."""
    patients, files = (pd.factorize(table[column])[0] for column in ("patient", "sha256"))
    num_nodes = 2 * len(table)
    edges = coo_matrix((np.ones(len(table)), (patients, len(table) + files)), shape=(num_nodes, num_nodes))
    groups: np.ndarray = connected_components(edges, directed=False)[1][patients]
    return groups
