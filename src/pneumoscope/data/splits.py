"""Train, validation and test splits and cross-validation folds, grouped by patient."""

from dataclasses import replace

import numpy as np
import pandas as pd
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from pneumoscope.data.dataset import Dataset
from pneumoscope.errors import CollectionError, LeakError


def split_dataset(dataset: Dataset, *, seed: int, val_share: float = 0.15, keep_val: bool = False) -> Dataset:
    """Return the dataset with `split` set to `train`, `val` or `test` by patient.

    An official test split is kept. Without one, a test split is sampled first. Validation is sampled from the
    remaining images. Sampling is grouped by patient and stratified by class; byte-identical images stay together.

    Args:
        dataset: with the official splits of the collection, if any.
        seed: random seed.
        val_share: share of validation images among the images outside test, in (0, 0.5].
        keep_val: keep the official `val` split; by default it is merged into train.

    Raises:
        CollectionError: if there are too few patients.
        LeakError: if a patient is in more than one split.
    """
    split = dataset.table["split"].to_numpy().astype(object)
    split[split == ""] = "train"
    if not keep_val:
        split[split == "val"] = "train"
    for name in ("test", "val"):
        if not (split == name).any():
            _sample_split(dataset, split, name, val_share, seed)
    table = dataset.table.assign(split=split.astype(str))
    check_patients(table)
    return replace(dataset, table=table)


def split_random(dataset: Dataset, *, seed: int, val_share: float = 0.15) -> Dataset:
    """Return the dataset with validation sampled by image instead of by patient.

    Images of one patient can be in train and validation. Use it only to measure the effect of this leak.

    Args:
        dataset: with a test split.
        seed: random seed.
        val_share: share of validation images among the images outside test, in (0, 0.5].
    """
    split = dataset.table["split"].to_numpy().astype(object)
    pool = np.flatnonzero(split != "test")
    split[pool] = "train"
    split[np.random.default_rng(seed).permutation(pool)[: round(val_share * len(pool))]] = "val"
    return replace(dataset, table=dataset.table.assign(split=split.astype(str)))


def split_folds(dataset: Dataset, *, num_folds: int, seed: int) -> np.ndarray:
    """Return `(n,)` int, the fold of each image, grouped by patient and stratified by class.

    Args:
        dataset: images to split.
        num_folds: number of folds, 2 or more.
        seed: random seed.

    Raises:
        CollectionError: if a class has fewer patients than `num_folds`.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    classes = dataset.table["subtype"].to_numpy()
    groups = group_patients(dataset.table)
    fewest = min(len(set(groups[classes == name])) for name in set(classes))
    if fewest < num_folds:
        raise CollectionError(
            f"a class has only {fewest} patients; expected {num_folds} or more to split by patient. Add radiographs."
        )
    folds = np.empty(len(dataset), dtype=np.int64)
    splitter = StratifiedGroupKFold(num_folds, shuffle=True, random_state=seed)
    for number, (_, held_out) in enumerate(splitter.split(classes, classes, groups)):
        folds[held_out] = number
    return folds


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
            "with the columns path, label, patient and split."
        )


def group_patients(table: pd.DataFrame) -> np.ndarray:
    """Return `(n,)` int, the group of each image: images of one patient and byte-identical images share a group."""
    patients, files = (pd.factorize(table[column])[0] for column in ("patient", "sha256"))
    num_nodes = 2 * len(table)
    edges = coo_matrix((np.ones(len(table)), (patients, len(table) + files)), shape=(num_nodes, num_nodes))
    groups: np.ndarray = connected_components(edges, directed=False)[1][patients]
    return groups


def _sample_split(dataset: Dataset, split: np.ndarray, name: str, share: float, seed: int) -> None:
    if not 0 < share <= 0.5:
        raise ValueError(f"share is {share}, expected more than 0 and at most 0.5")
    pool = np.flatnonzero(split == "train")
    folds = split_folds(dataset.select(pool), num_folds=max(2, round(1 / share)), seed=seed)
    split[pool[folds == 0]] = name
