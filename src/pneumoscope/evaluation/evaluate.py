"""From a collection to the metrics of a model set on it."""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pandas as pd

from pneumoscope.data.collection import Collection, scan_collection
from pneumoscope.data.dataset import Dataset
from pneumoscope.data.source import printable_name
from pneumoscope.errors import PneumoscopeError
from pneumoscope.evaluation.confounders import measure_confounders
from pneumoscope.evaluation.error_runs import find_error_runs
from pneumoscope.evaluation.gather import (
    ALL_SPLITS,
    Gathered,
    choose_split,
    gather_readings,
    load_images,
    load_traits,
)
from pneumoscope.evaluation.ood import check_ood_detector, measure_rejections
from pneumoscope.evaluation.subgroups import list_classes, measure_scopes, measure_subgroups
from pneumoscope.inference.reader import OPERATING_POINTS, Reader
from pneumoscope.io.results import (
    CollectionEvaluation,
    Conformal,
    Confounders,
    EvaluatedImages,
    OODCheck,
    Reliability,
    Roc,
    SelectiveCurve,
)
from pneumoscope.labels import BINARY_CLASSES, THREE_CLASSES
from pneumoscope.metrics.conformal import evaluate_sets
from pneumoscope.metrics.label_shift import MIN_IMAGES, estimate_label_shift
from pneumoscope.metrics.reliability import measure_reliability, measure_top_label_reliability
from pneumoscope.metrics.selective import measure_selective
from pneumoscope.progress import log, track

MIN_OF_CLASS = 10
# Decoded images are kept in memory: 16 KB an image of 128 x 128.
MAX_CHECKED = 1000
MAX_TRAINING = 6000
BATCH_SIZE = 32


def evaluate_models(
    reader: Reader,
    source: str | os.PathLike[str],
    *,
    split: str | None = None,
    operating_point: str = "balanced",
    correct_label_shift: bool = False,
    confounders: bool | None = None,
    seed: int = 0,
) -> CollectionEvaluation:
    """Read every image of a collection and measure the predictions.

    Rejected images count in the metrics on all images, with the probabilities that they would have.

    Args:
        reader: the models, with graphs of one thread each: there is a worker for each core.
        source: folder or manifest, see `scan_collection`.
        split: `train`, `val`, `test` or `all`; by default `test` where the collection has one, else all.
        operating_point: of the decisions and the subgroups.
        correct_label_shift: whether metrics are those of probabilities corrected for label shift; rejections,
            uncertain images and conformal sets stay the reader's own.
        confounders: whether to hide parts of the images and to make invalid inputs of them. By default both are done,
            the former only where both classes have ten images or more.
        seed: of the resampling.

    Raises:
        CollectionError: if there is no such collection or split, or no file of it can be read.
        PneumoscopeError: if there are too few images to correct for label shift, or to hide parts of.
    """
    threshold = reader.threshold(operating_point)
    collection = scan_collection(source)
    table, split = choose_split(collection.table, split)
    hide = should_hide(table, confounders)
    log.info("reading %d images; %d files left out", len(table), len(collection.skipped))
    gathered = gather_readings(reader, table, operating_point=operating_point)
    log.info("measuring, each metric with its interval")
    evaluation = _measure_images(reader, gathered, split, operating_point, correct_label_shift, seed)
    hidden, ood_check = None, None
    if confounders is not False:
        hidden, ood_check = _check_images(reader, gathered.table, collection, split, hide, threshold, seed)
    traits = load_traits(source, evaluation.images.names)
    return replace(
        evaluation,
        source=printable_name(os.fspath(source)),
        left_out=[{"name": name, "reason": reason} for name, reason in collection.skipped.itertuples(index=False)],
        subgroups=measure_subgroups(evaluation.images, gathered.exposures, traits, threshold, seed=seed),
        confounders=hidden,
        ood_check=ood_check,
    )


def should_hide(table: pd.DataFrame, choice: bool | None) -> bool:
    """Return whether to hide parts of the images of a table; by default where both classes have ten images or more.

    Raises:
        PneumoscopeError: if `choice` is True and there are fewer.
    """
    fewest = min(int((table["label"] == name).sum()) for name in BINARY_CLASSES)
    if choice and fewest < MIN_OF_CLASS:
        raise PneumoscopeError(
            f"a class has {fewest} images; expected {MIN_OF_CLASS} or more normals and pneumonias to measure "
            "confounders on"
        )
    return fewest >= MIN_OF_CLASS if choice is None else choice


def _measure_images(
    reader: Reader, gathered: Gathered, split: str, operating_point: str, correct: bool, seed: int
) -> CollectionEvaluation:
    """Return the metrics of the predictions; the rest of the evaluation stays empty."""
    thresholds = {name: reader.threshold(name) for name in (*OPERATING_POINTS, operating_point)}
    threshold, images, shift = thresholds[operating_point], gathered.images, None
    if len(images) >= MIN_IMAGES:
        shift = estimate_label_shift(images.probabilities, images.patients, classes=THREE_CLASSES, seed=seed)
    if correct and shift is None:
        raise PneumoscopeError(
            f"there are {len(images)} images; expected {MIN_IMAGES} or more to correct for label shift"
        )
    if correct and shift is not None:
        images = replace(images, probabilities=shift.probabilities)
    return CollectionEvaluation(
        source="",
        split=split,
        model=reader.models.id,
        operating_point=operating_point,
        thresholds=thresholds,
        images=images,
        unreadable=gathered.unreadable,
        left_out=[],
        scopes=measure_scopes(images, thresholds, split=split, seed=seed),
        roc=trace_roc(images),
        reliability=_measure_reliability(images, seed),
        conformal=_measure_conformal(reader, gathered.images, seed),
        selective=_measure_selective(images, threshold, seed),
        rejections=measure_rejections(gathered.images, threshold, seed=seed),
        subgroups=[],
        error_runs=find_error_runs(images, threshold, seed=seed),
        confounders=None,
        ood_check=None,
        label_shift=shift,
        true_shares=_count_shares(images),
        corrected=correct,
    )


def trace_roc(images: EvaluatedImages) -> Roc | None:
    """Return the ROC curve of pneumonia, or None where a class is missing."""
    from sklearn.metrics import roc_curve

    if len(set(images.labels.tolist())) < 2:
        return None
    false_alarms, sensitivity, _ = roc_curve(images.labels, images.scores)
    return Roc(false_alarms, sensitivity)


def _check_images(
    reader: Reader, table: pd.DataFrame, collection: Collection, split: str, hide: bool, threshold: float, seed: int
) -> tuple[Confounders | None, OODCheck]:
    """Return the metrics with parts of the images hidden, and the check of the OOD detector.

    Pixel baselines are fitted on training images of the collection, and left out where there are none of both classes
    or the images themselves may be among them.
    """
    log.info("making invalid inputs%s", " and hiding parts of the images" if hide else "")
    images = load_images(reader, table, MAX_CHECKED, f"Decoding {split}").as_split(split)
    ood_check = check_ood_detector(reader.models.ood_detector, images, split=split, seed=seed)
    if not hide:
        return None, ood_check
    training = collection.table[collection.table["split"] == "train"]
    if split not in ("train", ALL_SPLITS) and set(training["label"]) >= set(BINARY_CLASSES):
        train = load_images(reader, training, MAX_TRAINING, "Decoding train")
        both = pd.concat([images.table, train.table], ignore_index=True)
        images = Dataset(np.concatenate([images.images, train.images]), both, images.skipped)

    def predict(some: np.ndarray) -> np.ndarray:
        parts = np.array_split(some, max(1, len(some) // BATCH_SIZE))
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            return np.concatenate(
                list(track(pool.map(reader.compute_probabilities, parts), "Predicting", total=len(parts)))
            )

    return measure_confounders(predict, images, threshold=threshold, split=split, seed=seed), ood_check


def _count_shares(images: EvaluatedImages) -> dict[str, float]:
    if (images.subtypes < 0).any():
        return {}
    return {name: float((images.subtypes == number).mean()) for number, name in enumerate(THREE_CLASSES)}


def _measure_reliability(images: EvaluatedImages, seed: int) -> dict[str, Reliability]:
    curves = {"pneumonia": measure_reliability(images.labels == 1, images.scores, images.patients, seed=seed)}
    if (labeled := images.with_subtypes) is not None:
        curves["three_class"] = measure_top_label_reliability(
            labeled.subtypes, labeled.probabilities, labeled.patients, seed=seed
        )
    return curves


def _measure_selective(images: EvaluatedImages, threshold: float, seed: int) -> dict[str, SelectiveCurve]:
    scores = np.clip(images.scores, 1e-12, 1 - 1e-12)
    # In log odds, both sides of the threshold extend equally far.
    distances = np.abs(np.log(scores / (1 - scores)) - np.log(threshold / (1 - threshold)))
    correct = (scores >= threshold) == (images.labels == 1)
    curves = {"pneumonia": measure_selective(correct, distances, images.patients, seed=seed)}
    if (labeled := images.with_subtypes) is not None:
        correct = labeled.probabilities.argmax(axis=1) == labeled.subtypes
        curves["three_class"] = measure_selective(
            correct, labeled.probabilities.max(axis=1), labeled.patients, seed=seed
        )
    return curves


def _measure_conformal(reader: Reader, images: EvaluatedImages, seed: int) -> Conformal | None:
    if reader.coverage is None:
        return None
    sets = reader.choose_sets(images.probabilities)
    classes = np.arange(len(THREE_CLASSES))
    # A pneumonia of unknown subtype may be either.
    truths = (images.subtypes[:, None] == classes) | ((images.subtypes < 0)[:, None] & (classes > 0))
    groups = {"all": np.ones(len(images), dtype=bool), **list_classes(images)}
    metrics = {
        name: evaluate_sets(sets[rows], truths[rows], images.patients[rows], seed=seed)
        for name, rows in groups.items()
        if rows.any()
    }
    return Conformal(reader.coverage, metrics)
