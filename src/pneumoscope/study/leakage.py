"""Leakage of a random split by image, where training and validation share patients.

Every validation image gets the label of its nearest training image. This needs no trained model. If the accuracy is
higher than under a split by patient, the gain comes from images of the same patient. A trained model can gain more.
"""

import numpy as np

from pneumoscope.data.dataset import Dataset
from pneumoscope.data.examples import is_labeled
from pneumoscope.data.splits import split_dataset
from pneumoscope.evaluation.pixel_baselines import shrink_images
from pneumoscope.io.results import Leakage, Metrics
from pneumoscope.labels import LabelSet
from pneumoscope.metrics.classification import evaluate

SIDE = 32


def measure_leakage(dataset: Dataset, *, seed: int, val_share: float = 0.15) -> Leakage:
    """Compare a random split by image with a split by patient, on all images outside test.

    The nearest image has the smallest Euclidean distance of gray levels at 32 x 32 pixels. Each split has the metrics
    `accuracy` and `balanced_accuracy` of the coarsest task (`LabelSet.tasks`), and `multiclass_accuracy` if there is a
    finer one and all its classes occur; if multi-label, `subset_accuracy` and `macro_f1`. The two splits validate on
    different images. The random split therefore also has each metric as `NAME_without_own_patient`, for the same images
    and the nearest images of other patients.

    Args:
        dataset: before or after the split.
        seed: of both splits and of the resampling of patients.
        val_share: share of the images for validation, in (0, 0.5].

    Raises:
        CollectionError: if there are too few patients.
    """
    grouped = split_dataset(dataset, seed=seed, val_share=val_share)
    random = split_dataset(grouped, by="image", seed=seed, val_share=val_share)
    grouped, random = (part.select(part.table["split"].to_numpy() != "test") for part in (grouped, random))
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
    coarse, *finer = dataset.label_set.tasks().values()
    metrics = _evaluate_nearest(dataset, distances, coarse, seed)
    names = ("subset_accuracy", "macro_f1") if coarse.multi_label else ("accuracy", "balanced_accuracy")
    kept = {name: metrics[name] for name in names}
    for label_set in finer:
        if len(np.unique(dataset.labels(label_set)[dataset.labels(label_set) >= 0])) == len(label_set.classes):
            kept["multiclass_accuracy"] = _evaluate_nearest(dataset, distances, label_set, seed)["accuracy"]
    return kept


def _evaluate_nearest(dataset: Dataset, distances: np.ndarray, label_set: LabelSet, seed: int) -> Metrics:
    labels = dataset.labels(label_set)
    train, val = labels[dataset.rows("train")], labels[dataset.rows("val")]
    labeled = is_labeled(val)
    nearest = np.where(is_labeled(train), distances, np.inf)[labeled].argmin(axis=1)
    found = (train == 1).astype(float) if label_set.multi_label else np.eye(len(label_set.classes))[train]
    table = dataset.split("val").table[labeled]
    return evaluate(
        val[labeled],
        found[nearest],
        label_set=label_set,
        split="val",
        patients=table["patient"].to_numpy(),
        names=table["name"].to_numpy(),
        seed=seed,
    ).metrics
