"""Cross-validation outside the test split.

Protocols:

    patients    five folds, grouped by patient
    series      each fold holds out the images of the negative class of one file-name series and a share of the others.
                It estimates the performance on negatives of another origin, such as those of an official test split
    images      five folds by image. Patients occur in train and held-out images, so metrics are optimistic. Use it for
                comparison only
"""

import os
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from pneumoscope.classification.classifier import evaluate_dataset, fit_classifier, select_labeled
from pneumoscope.data.collection import name_series
from pneumoscope.data.dataset import Dataset
from pneumoscope.data.splits import group_patients, split_folds
from pneumoscope.errors import CollectionError, LeakError
from pneumoscope.io.archive import save_result
from pneumoscope.io.results import Evaluation
from pneumoscope.labels import LabelSet
from pneumoscope.models.prediction import predict_probabilities
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
    label_set: LabelSet | None = None,
    seed: int = 0,
) -> Evaluation:
    """Train one model per fold and evaluate the pooled predictions for the held-out images.

    Each model is taken after its last epoch, so no choice depends on held-out images.

    Args:
        dataset: with splits; test images and images of no class are excluded.
        out_dir: folder for one model per fold, and for the result as `PROTOCOL.npz`; an interrupted run resumes.
        settings: training settings.
        protocol: see the module docstring.
        label_set: the classes; by default those of the dataset.
        seed: of the folds and of the models.

    Returns:
        Metrics on all held-out images; `split` is `held out by PROTOCOL`.

    Raises:
        CollectionError: if there are too few patients; for `series`, if there is no negative class or only one series
            of it.
    """
    label_set = label_set or dataset.label_set
    pool = select_pool(dataset, label_set)
    folds = assign_folds(pool, protocol, label_set, seed=seed)
    probabilities = np.full((len(pool), len(label_set.classes)), np.nan, dtype=np.float32)
    for fold in range(folds.max() + 1):
        held_out = folds == fold
        train = ~held_out if protocol == "images" else _without_patients(pool, held_out)
        log.info("%s %d of %d: %d images held out", protocol, fold + 1, folds.max() + 1, held_out.sum())
        bundle, _ = fit_classifier(
            pool.select(train),
            pool.select(held_out),
            Path(out_dir) / f"{protocol}-{fold + 1}",
            label_set=label_set,
            settings=replace(settings, keep_best=False),
            seed=seed,
        )
        probabilities[held_out] = predict_probabilities(
            bundle.model, pool.images[held_out], label_set, mirror=settings.mirror
        )
    rows, split = folds >= 0, f"held out by {protocol}"
    result = evaluate_dataset(pool.select(rows), probabilities[rows], label_set=label_set, split=split, seed=seed)
    save_result(result, Path(out_dir) / f"{protocol}.npz")
    return result


def select_pool(dataset: Dataset, label_set: LabelSet | None = None) -> Dataset:
    """Return the images used for cross-validation: outside test and of one of the classes."""
    outside = dataset.select(dataset.table["split"].to_numpy() != "test")
    return select_labeled(outside, label_set or dataset.label_set)


def assign_folds(dataset: Dataset, protocol: Protocol, label_set: LabelSet | None = None, *, seed: int) -> np.ndarray:
    """Return `(n,)` int, the fold that holds out each image; -1 for images that are never held out.

    Raises:
        CollectionError: if there are too few patients; for `series`, if there is no negative class or only one series
            of it.
    """
    if protocol == "patients":
        return split_folds(dataset, num_folds=NUM_FOLDS, seed=seed)
    if protocol == "images":
        return np.random.default_rng(seed).permutation(np.arange(len(dataset)) % NUM_FOLDS)
    negative = _find_negatives(dataset, label_set)
    large = list_series(dataset, label_set)
    if len(large) < 2:
        raise CollectionError(
            f"the negative class has {negative.sum()} images and the file-name series {', '.join(large) or 'none'}; "
            "expected two or more series with a tenth of the images each. Hold out by patients instead."
        )
    # One part of the other classes per series; further parts are never held out.
    parts = split_folds(dataset, num_folds=max(len(large) + 1, NUM_FOLDS), seed=seed)
    folds = np.where(parts < len(large), parts, -1)
    place = {name: number for number, name in enumerate(large)}
    folds[negative] = [place.get(name, -1) for name in name_series(dataset.table["name"])[negative]]
    return folds


def list_series(dataset: Dataset, label_set: LabelSet | None = None) -> list[str]:
    """Return the file-name series with a tenth or more of the negative class outside test."""
    rows = _find_negatives(dataset, label_set) & (dataset.table["split"].to_numpy() != "test")
    names, counts = np.unique(name_series(dataset.table["name"])[rows], return_counts=True)
    return [str(name) for name in names[counts >= MIN_SERIES_SHARE * rows.sum()]]


def _find_negatives(dataset: Dataset, label_set: LabelSet | None) -> np.ndarray:
    """Return `(n,)` bool, whether each image is of the negative class of a single-label set."""
    label_set = label_set or dataset.label_set
    if label_set.multi_label or label_set.negative is None:
        return np.zeros(len(dataset), dtype=bool)
    return np.asarray(dataset.labels(label_set) == label_set.classes.index(label_set.negative))


def _without_patients(dataset: Dataset, held_out: np.ndarray) -> np.ndarray:
    """Return `(n,)` bool, True for images of patients without a held-out image."""
    groups = group_patients(dataset.table)
    rest = ~np.isin(groups, groups[held_out])
    if not rest.any():
        raise LeakError("every patient has a held-out image; expected patients to train on")
    return rest
