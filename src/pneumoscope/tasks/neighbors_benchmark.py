"""Task 2, measured from all sides: what neighbors find, tell and doubt, for each net and each kind of index."""

import time
from pathlib import Path

import numpy as np

from pneumoscope.comparison import MethodTable
from pneumoscope.errors import MissingExtraError
from pneumoscope.models.bundle import load_bundle
from pneumoscope.progress import log, track
from pneumoscope.radiographs.dataset import Dataset
from pneumoscope.results import BINARY_CLASSES, THREE_CLASSES, Estimate, Neighbors
from pneumoscope.tasks.classify import predict_probabilities
from pneumoscope.tasks.index import FEWEST_TO_LEARN_CODES, Kind
from pneumoscope.tasks.neighbor_doubt import (
    choose_distance,
    measure_disagreement,
    measure_distances,
    measure_rejection,
    measure_vote_calibration,
)
from pneumoscope.tasks.neighbors import embed_images, find_neighbors
from pneumoscope.tasks.retrieval import Labelled, measure_retrieval

CLASSES = {"three_class": THREE_CLASSES, "binary": BINARY_CLASSES}
TITLES = {"three_class": "three classes", "binary": "two classes"}
APPROXIMATE: tuple[Kind, ...] = ("flat", "hnsw", "ivfpq")
PIXELS_ACROSS = 32
_NUM_TIMED = 100


def benchmark_neighbors(models_dir: Path, profile: str, dataset: Dataset, *, seed: int = 0) -> MethodTable:
    """Measure the embeddings of a study's nets as an archive that is searched.

    Thresholds, numbers of neighbors and calibrations come from validation; all figures are of the test images.

    Args:
        models_dir: folder of the models that the study left.
        profile: their recipe.
        dataset: the study's, split.
        seed: of the resampling.

    Returns:
        A row for each net and number of classes; one for raw pixels, which any embedding should beat; and one for each
        other kind of index. `ivfpq` is left out where there are too few images to learn its codes from, and all kinds
        by FAISS where it is not installed.
    """
    figures: dict[str, dict[str, Estimate]] = {}
    for task in CLASSES:
        known, found, parts, net = _measure_net(models_dir, profile, task, dataset, seed)
        figures[TITLES[task]] = _measure_all(parts, found, net, CLASSES[task], seed)
        if task == "three_class":
            figures["raw pixels"] = _measure_pixels(known, CLASSES[task], net, seed)
            figures |= _compare_kinds(parts, CLASSES[task], seed)
    return MethodTable(figures, _list_remarks(figures))


def _measure_net(
    models_dir: Path, profile: str, task: str, dataset: Dataset, seed: int
) -> tuple[Dataset, Neighbors, dict[str, Labelled], np.ndarray]:
    flagship = profile == "flagship"
    known = dataset.select(dataset.labels(THREE_CLASSES if flagship else CLASSES[task]) >= 0)
    model = load_bundle(models_dir / f"{profile}-{'three_class' if flagship else task}").model
    net = predict_probabilities(model, known.split("test").images)
    if net.shape[1] > len(CLASSES[task]):
        net = np.stack([net[:, 0], 1 - net[:, 0]], axis=1)
    embeddings = embed_images(model, known.images)
    found = find_neighbors(embeddings, known, classes=CLASSES[task], net_probabilities=net, seed=seed)
    return known, found, _part(embeddings, known, CLASSES[task]), net


def _part(embeddings: np.ndarray, dataset: Dataset, classes: tuple[str, ...]) -> dict[str, Labelled]:
    labels, patients = dataset.labels(classes), dataset.table["patient"].to_numpy().astype(str)
    rows = {split: dataset.rows(split) for split in ("train", "val", "test")}
    return {split: Labelled(embeddings[at], labels[at], patients[at]) for split, at in rows.items()}


def _measure_all(
    parts: dict[str, Labelled], found: Neighbors, net: np.ndarray, classes: tuple[str, ...], seed: int
) -> dict[str, Estimate]:
    told = found.evaluations["test"]
    threshold = choose_distance(measure_distances(parts["train"], parts["val"]))
    distances = measure_distances(parts["train"], parts["test"])
    right = told.decisions == told.labels
    return {
        "accuracy": told.metrics["accuracy"],
        "balanced_accuracy": told.metrics["balanced_accuracy"],
        **measure_retrieval(parts["train"], parts["test"], classes=classes, seed=seed),
        **measure_rejection(distances, threshold, right, told.patients, seed=seed),
        **measure_vote_calibration(found.evaluations["val"], told, num_votes=found.k),
        **measure_disagreement(told, net, seed=seed),
    }


def _measure_pixels(known: Dataset, classes: tuple[str, ...], net: np.ndarray, seed: int) -> dict[str, Estimate]:
    pixels = shrink_images(known.images)
    parts = _part(pixels, known, classes)
    found = find_neighbors(pixels, known, classes=classes, net_probabilities=net, seed=seed)
    metrics = found.evaluations["test"].metrics
    return {
        "accuracy": metrics["accuracy"],
        "balanced_accuracy": metrics["balanced_accuracy"],
        **measure_retrieval(parts["train"], parts["test"], classes=classes, seed=seed),
    }


def shrink_images(images: np.ndarray) -> np.ndarray:
    """Return `(n, 1024)` float32, images as 32 x 32 gray levels less their mean: an embedding that has learned nothing.

    Args:
        images: `(n, H, W)` uint8, of a side that 32 divides.
    """
    height, width = images.shape[1] // PIXELS_ACROSS, images.shape[2] // PIXELS_ACROSS
    cells = images.reshape(len(images), PIXELS_ACROSS, height, PIXELS_ACROSS, width)
    levels = cells.mean(axis=(2, 4), dtype=np.float32).reshape(len(images), -1)
    return levels - levels.mean(axis=1, keepdims=True)


def _compare_kinds(parts: dict[str, Labelled], classes: tuple[str, ...], seed: int) -> dict[str, dict[str, Estimate]]:
    figures = {}
    for kind in track(APPROXIMATE, "Searching with FAISS"):
        if kind == "ivfpq" and len(parts["train"].labels) < FEWEST_TO_LEARN_CODES:
            continue
        try:
            found = measure_retrieval(parts["train"], parts["test"], classes=classes, kind=kind, seed=seed)
        except MissingExtraError as error:
            log.warning("%s", error)
            break
        figures[f"index {kind}"] = {**found, "milliseconds_a_query": _time_queries(parts, kind)}
    return figures


def _time_queries(parts: dict[str, Labelled], kind: Kind) -> Estimate:
    index, asked = parts["train"].index(kind), parts["test"]
    times = []
    for row in range(min(_NUM_TIMED, len(asked.labels))):
        started = time.perf_counter()
        index.search(asked.embeddings[row : row + 1], 5, exclude=[(asked.patients[row],)])
        times.append(1000 * (time.perf_counter() - started))
    return Estimate(float(np.median(times)), float("nan"), float("nan"), n=len(times))


def _list_remarks(figures: dict[str, dict[str, Estimate]]) -> dict[str, str]:
    remarks = {
        TITLES["three_class"]: (
            "The embedding of the net, scaled to length 1. The number of neighbors, the distance of rejection (5% of "
            "validation lies beyond) and the calibration of the votes were chosen on validation."
        ),
        "raw pixels": "32 x 32 gray levels, nothing learned: what an embedding must beat.",
        "index hnsw": "The same embedding, searched along a graph; recall counts the five nearest that it finds.",
    }
    return {method: remark for method, remark in remarks.items() if method in figures}
