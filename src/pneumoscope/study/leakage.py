"""Leakage of a random split by image, where training and validation share patients.

Every validation image gets the label of its nearest training image. This needs no trained model. If the accuracy is
higher than under a split by patient, the gain comes from images of the same patient. A trained model can gain more.
"""

from collections.abc import Sequence

import numpy as np

from pneumoscope.data.dataset import Dataset
from pneumoscope.data.splits import split_dataset, split_random
from pneumoscope.evaluation.pixel_baselines import shrink_images
from pneumoscope.io.results import Leakage, Metrics
from pneumoscope.labels import BINARY_CLASSES, THREE_CLASSES
from pneumoscope.metrics.classification import evaluate

SIDE = 32


def measure_leakage(dataset: Dataset, *, seed: int, val_share: float = 0.15) -> Leakage:
    """Compare a random split by image with a split by patient, on all images outside test.

    The nearest image has the smallest Euclidean distance of gray levels at 32 x 32 pixels. Each split has the metrics
    `accuracy` and `balanced_accuracy` of normal against pneumonia, and `three_class_accuracy` if all subtypes occur.
    The two splits validate on different images. The random split therefore also has each metric as
    `NAME_without_own_patient`, for the same images and the nearest images of other patients.

    Args:
        dataset: before or after the split.
        seed: of both splits and of the resampling of patients.
        val_share: share of the images for validation, in (0, 0.5].

    Raises:
        CollectionError: if there are too few patients.
    """
    grouped = split_dataset(dataset, seed=seed, val_share=val_share)
    pool = np.flatnonzero(grouped.table["split"].to_numpy() != "test")
    grouped = grouped.select(pool)
    random = split_random(dataset.select(pool), seed=seed, val_share=val_share)
    patients = random.patients
    train, val = patients[random.rows("train")], patients[random.rows("val")]
    pixels = shrink_images(grouped.images, SIDE).reshape(len(grouped), -1).astype(np.float32)
    other_patients = _score_nearest(random, pixels, seed=seed, own_patient=False)
    return Leakage(
        shared_patients=len(np.intersect1d(train, val)),
        leaked_share=float(np.isin(val, train).mean()),
        random_split=_score_nearest(random, pixels, seed=seed)
        | {f"{name}_without_own_patient": estimate for name, estimate in other_patients.items()},
        grouped_split=_score_nearest(grouped, pixels, seed=seed),
    )


def _score_nearest(dataset: Dataset, pixels: np.ndarray, *, seed: int, own_patient: bool = True) -> Metrics:
    from sklearn.metrics.pairwise import euclidean_distances

    patients = dataset.patients
    train, val = dataset.rows("train"), dataset.rows("val")
    distances = euclidean_distances(pixels[val], pixels[train])
    if not own_patient:
        distances[patients[val][:, None] == patients[train]] = np.inf
    binary = _evaluate_nearest(dataset, distances, BINARY_CLASSES, seed)
    metrics = {name: binary[name] for name in ("accuracy", "balanced_accuracy")}
    if set(THREE_CLASSES) <= set(dataset.table["subtype"]):
        metrics["three_class_accuracy"] = _evaluate_nearest(dataset, distances, THREE_CLASSES, seed)["accuracy"]
    return metrics


def _evaluate_nearest(dataset: Dataset, distances: np.ndarray, classes: Sequence[str], seed: int) -> Metrics:
    labels = dataset.labels(classes)
    train, val = labels[dataset.rows("train")], labels[dataset.rows("val")]
    labeled = val >= 0
    nearest = np.where(train >= 0, distances, np.inf)[labeled].argmin(axis=1)
    table = dataset.split("val").table[labeled]
    return evaluate(
        val[labeled],
        np.eye(len(classes))[train[nearest]],
        classes=classes,
        split="val",
        patients=table["patient"].to_numpy(),
        names=table["name"].to_numpy(),
        seed=seed,
    ).metrics
