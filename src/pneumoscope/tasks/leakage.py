"""What a random split by image does: the same child trains and validates, and figures flatter.

High figures of the literature on this collection come from such splits. The labelling here learns nothing, it
only looks up the most similar known image: what it gains under the random split is memory, not skill.
"""

import numpy as np
from PIL import Image

from pneumoscope.evaluation.metrics import evaluate
from pneumoscope.radiographs.dataset import Dataset
from pneumoscope.radiographs.splits import split_dataset, split_random
from pneumoscope.results import BINARY_CLASSES, Estimate, Leakage

SIDE = 32
METRICS = ("accuracy", "balanced_accuracy")


def measure_leakage(dataset: Dataset, *, seed: int, val_share: float = 0.15) -> Leakage:
    """Compare a random split by image with one by patient, on all that is not test.

    Under each split every validation image, shrunk to 32 x 32, gets the label of its nearest training image
    (Euclidean distance of grey levels, normal or pneumonia).

    Args:
        dataset: as loaded or as split.
        seed: of both splits and of the resampling of patients.
        val_share: share of the images that validates, in (0, 0.5].

    Raises:
        CollectionError: if there are too few patients.
    """
    grouped = split_dataset(dataset, seed=seed, val_share=val_share)
    pool = np.flatnonzero(grouped.table["split"].to_numpy() != "test")
    grouped = grouped.select(pool)
    random = split_random(dataset.select(pool), seed=seed, val_share=val_share)
    pixels = _shrink(grouped.images)
    patients = random.table["patient"].to_numpy()
    leaked = np.isin(patients[random.rows("val")], patients[random.rows("train")])
    return Leakage(
        shared_patients=len(np.intersect1d(patients[random.rows("val")], patients[random.rows("train")])),
        leaked_share=float(leaked.mean()),
        random_split=_label_by_nearest(random, pixels, seed),
        grouped_split=_label_by_nearest(grouped, pixels, seed),
    )


def _shrink(images: np.ndarray) -> np.ndarray:
    small = [np.asarray(Image.fromarray(image).resize((SIDE, SIDE), Image.Resampling.BOX)) for image in images]
    return np.stack(small).reshape(len(images), -1).astype(np.float32)


def _label_by_nearest(dataset: Dataset, pixels: np.ndarray, seed: int) -> dict[str, Estimate]:
    from sklearn.neighbors import KNeighborsClassifier

    train, val = dataset.rows("train"), dataset.rows("val")
    labels = dataset.labels(BINARY_CLASSES)
    nearest = KNeighborsClassifier(n_neighbors=1, algorithm="brute").fit(pixels[train], labels[train])
    evaluation = evaluate(
        labels[val],
        np.eye(len(BINARY_CLASSES))[nearest.predict(pixels[val])],
        classes=BINARY_CLASSES,
        split="val",
        patients=dataset.table["patient"].to_numpy()[val],
        names=dataset.table["name"].to_numpy()[val],
        seed=seed,
    )
    return {name: evaluation.metrics[name] for name in METRICS}
