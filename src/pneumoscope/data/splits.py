"""Who trains, who validates, who tests: by patient, never by image (but for one split that shows why)."""

import numpy as np
import pandas as pd
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from pneumoscope.data.dataset import Dataset
from pneumoscope.errors import CollectionError, LeakError


def split_dataset(dataset: Dataset, *, seed: int, val_share: float = 0.15, keep_val: bool = False) -> Dataset:
    """Return the dataset with `split` set to `train`, `val` or `test` by patient.

    The test images of the collection stay as they are; without any, a patient-grouped share is set aside
    first. Validation is a patient-grouped, class-stratified share of the rest. Images with the same
    bytes stay together too, whatever their names say.

    Args:
        dataset: as loaded, with the collection's own splits.
        seed: of the shuffle.
        val_share: share of the images outside test that validates, in (0, 0.5].
        keep_val: use the collection's own `val` as it is; by default it joins train.

    Raises:
        CollectionError: if there are too few patients.
        LeakError: if a patient stands on both sides.
    """
    split = dataset.table["split"].to_numpy().astype(object)
    split[split == ""] = "train"
    if not keep_val:
        split[split == "val"] = "train"
    if not (split == "test").any():
        _set_aside(dataset, split, "test", val_share, seed)
    if not (split == "val").any():
        _set_aside(dataset, split, "val", val_share, seed)
    table = dataset.table.assign(split=split.astype(str))
    check_patients(table)
    return Dataset(dataset.images, table, dataset.skipped, dataset.masks)


def split_random(dataset: Dataset, *, seed: int, val_share: float = 0.15) -> Dataset:
    """Return the dataset with validation drawn by image from all that is not test: this leaks, on purpose.

    The high figures of the literature come from such a split; it is here to be compared with.
    """
    split = dataset.table["split"].to_numpy().astype(object)
    pool = np.flatnonzero(split != "test")
    chosen = np.random.default_rng(seed).permutation(pool)[: round(val_share * len(pool))]
    split[pool] = "train"
    split[chosen] = "val"
    return Dataset(dataset.images, dataset.table.assign(split=split.astype(str)), dataset.skipped, dataset.masks)


def split_folds(dataset: Dataset, *, num_folds: int, seed: int) -> np.ndarray:
    """Return `(n,)` int, the fold of each image; patients stay together and classes are balanced.

    Raises:
        CollectionError: if a class has fewer patients than there are folds.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    classes = dataset.table["subtype"].to_numpy()
    groups = group_patients(dataset.table)
    fewest = min(len(set(groups[classes == name])) for name in set(classes))
    if fewest < num_folds:
        raise CollectionError(
            f"a class has only {fewest} patients, {num_folds} or more are needed to split by patient; add radiographs"
        )
    folds = np.empty(len(dataset), dtype=np.int64)
    splitter = StratifiedGroupKFold(num_folds, shuffle=True, random_state=seed)
    for number, (_, held_out) in enumerate(splitter.split(classes, classes, groups)):
        folds[held_out] = number
    return folds


def check_patients(table: pd.DataFrame) -> None:
    """Make sure that no patient stands in two splits.

    Raises:
        LeakError: naming the patients that do.
    """
    splits_of_patient = table.groupby("patient")["split"].nunique()
    shared = splits_of_patient.index[splits_of_patient > 1].tolist()
    if shared:
        raise LeakError(
            f"{len(shared)} patients stand in more than one split (such as {', '.join(map(str, shared[:5]))}); "
            "expected each patient in one. Move their images to one split, or list the files in a CSV manifest "
            "with the columns path, label, patient and split."
        )


def group_patients(table: pd.DataFrame) -> np.ndarray:
    """Return `(n,)` int: images of one patient, or with the same bytes, share a number."""
    patients, num_patients = _number(table["patient"])
    files, num_files = _number(table["sha256"])
    edges = coo_matrix((np.ones(len(table)), (patients, num_patients + files)), shape=(num_patients + num_files,) * 2)
    return connected_components(edges, directed=False)[1][patients]


def _number(values: pd.Series) -> tuple[np.ndarray, int]:
    codes, uniques = pd.factorize(values)
    return codes, len(uniques)


def _set_aside(dataset: Dataset, split: np.ndarray, name: str, share: float, seed: int) -> None:
    if not 0 < share <= 0.5:
        raise ValueError(f"share is {share}, expected more than 0 and at most 0.5")
    pool = np.flatnonzero(split == "train")
    folds = split_folds(dataset.select(pool), num_folds=max(2, round(1 / share)), seed=seed)
    split[pool[folds == 0]] = name
