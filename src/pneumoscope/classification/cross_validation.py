"""Cross-validation within train: each image is predicted by models that have not seen its patient.

Three protocols:

    patients    five folds by patient
    series      normals of one series of file names at a time, with a share of the pneumonias: normals of another
                origin. On this data set, test normals carry earlier numbers than any of train
    images      five folds by image: patients occur on both sides, so that this is optimistic. For comparison only
"""

import os
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from pneumoscope.classification.classifier import evaluate_dataset, fit_classifier, predict_probabilities
from pneumoscope.data.collection import name_series
from pneumoscope.data.dataset import Dataset
from pneumoscope.data.splits import group_patients, split_folds
from pneumoscope.errors import CollectionError, LeakError
from pneumoscope.io.results import Evaluation
from pneumoscope.labels import THREE_CLASSES
from pneumoscope.models.settings import TrainingSettings
from pneumoscope.progress import log

Protocol = Literal["patients", "series", "images"]
PROTOCOLS: tuple[Protocol, ...] = ("patients", "series", "images")
NUM_FOLDS = 5
MIN_SERIES_SHARE = 0.1


def cross_validate(
    dataset: Dataset,
    out_dir: str | os.PathLike[str],
    *,
    settings: TrainingSettings,
    protocol: Protocol = "patients",
    seed: int = 0,
) -> Evaluation:
    """Train one model for each fold, and evaluate all of them together on their held-out images.

    The last epoch of each model is taken, so that no choice depends on held-out images.

    Args:
        dataset: split; its test images and those of unknown subtype are left out.
        out_dir: folder of the checkpoints of each model; an interrupted run continues from there.
        settings: of the training.
        protocol: see the top of this file.
        seed: of the folds and of the models.

    Returns:
        The metrics of three classes on all images that were held out once; its `split` is `held out by PROTOCOL`.

    Raises:
        CollectionError: if there are too few patients, or a single series of normals.
    """
    pool = select_pool(dataset)
    folds = assign_folds(pool, protocol, seed=seed)
    probabilities = np.full((len(pool), len(THREE_CLASSES)), np.nan, dtype=np.float32)
    for fold in range(folds.max() + 1):
        held_out = folds == fold
        train = ~held_out if protocol == "images" else _without_patients(pool, held_out)
        log.info("%s %d of %d: %d images held out", protocol, fold + 1, folds.max() + 1, held_out.sum())
        bundle, _ = fit_classifier(
            pool.select(train),
            pool.select(held_out),
            Path(out_dir) / f"{protocol}-{fold + 1}",
            classes=THREE_CLASSES,
            settings=replace(settings, keep_best=False),
            seed=seed,
        )
        probabilities[held_out] = predict_probabilities(bundle.model, pool.images[held_out])
    rows, split = folds >= 0, f"held out by {protocol}"
    return evaluate_dataset(pool.select(rows), probabilities[rows], classes=THREE_CLASSES, split=split, seed=seed)


def select_pool(dataset: Dataset) -> Dataset:
    """Return the images that cross-validation uses: of known subtype, outside test."""
    return dataset.select((dataset.table["split"].to_numpy() != "test") & (dataset.labels(THREE_CLASSES) >= 0))


def assign_folds(dataset: Dataset, protocol: Protocol, *, seed: int) -> np.ndarray:
    """Return `(n,)` int, the fold in which each image is held out; -1 where it never is.

    Raises:
        CollectionError: if there are too few patients, or a single series of normals.
    """
    if protocol == "patients":
        return split_folds(dataset, num_folds=NUM_FOLDS, seed=seed)
    if protocol == "images":
        return np.random.default_rng(seed).permutation(np.arange(len(dataset)) % NUM_FOLDS)
    large = list_series(dataset)
    if len(large) < 2:
        raise CollectionError(
            f"the normals' file names are of the series {', '.join(large)} alone; expected two or more with a tenth of "
            "the normals each. Hold out by patients instead."
        )
    # As many parts of the pneumonias as there are series, and more that are never held out.
    parts = split_folds(dataset, num_folds=max(len(large) + 1, NUM_FOLDS), seed=seed)
    folds = np.where(parts < len(large), parts, -1)
    place = {name: number for number, name in enumerate(large)}
    normal = dataset.labels(THREE_CLASSES) == 0
    folds[normal] = [place.get(name, -1) for name in name_series(dataset.table["name"])[normal]]
    return folds


def list_series(dataset: Dataset) -> list[str]:
    """Return the series of file names that hold a tenth or more of the normals outside test."""
    normals = (dataset.labels(THREE_CLASSES) == 0) & (dataset.table["split"].to_numpy() != "test")
    names, counts = np.unique(name_series(dataset.table["name"])[normals], return_counts=True)
    return [str(name) for name in names[counts >= MIN_SERIES_SHARE * normals.sum()]]


def _without_patients(dataset: Dataset, held_out: np.ndarray) -> np.ndarray:
    """Return `(n,)` bool, the images whose patient has none among those held out."""
    groups = group_patients(dataset.table)
    rest = ~np.isin(groups, groups[held_out])
    if not rest.any():
        raise LeakError("every patient has a held-out image; expected some patients to train on")
    return rest
