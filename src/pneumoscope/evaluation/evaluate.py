"""Metrics of exported models on a labeled collection."""

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

MIN_PER_CLASS = 10
# Decoded images are kept in memory: 16 KB per image of 128 x 128 pixels.
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
    """Predict every image of a collection and compute metrics.

    Rejected images count in the metrics on all images. For this purpose, their probabilities are computed as well.

    Args:
        reader: the models. Open them with one thread per graph, because one worker runs on each core.
        source: folder or table (CSV, TSV, Parquet), see `scan_collection`.
        split: `train`, `val`, `test` or `all`; by default `test` if the collection has it, else `all`.
        operating_point: operating point of the decisions and the subgroups.
        correct_label_shift: whether to correct the probabilities for label shift before computing metrics. Rejections,
            uncertain images and conformal sets use the uncorrected probabilities.
        confounders: whether to measure confounders and the OOD detector on modified images. By default, the OOD
            detector is always measured, and confounders if both classes have ten images or more.
        seed: seed of all bootstraps.

    Raises:
        CollectionError: if the collection or split does not exist, or none of its files can be read.
        PneumoscopeError: if there are too few images for the label shift correction or the confounders.
    """
    threshold = reader.threshold(operating_point)
    collection = scan_collection(source)
    table, split = choose_split(collection.table, split)
    hide = should_hide(table, confounders)
    log.info("reading %d images; %d files are left out", len(table), len(collection.skipped))
    gathered = gather_readings(reader, table, operating_point=operating_point)
    log.info("computing metrics with 95 % confidence intervals")
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
    """Return whether to measure confounders; by default if both classes have ten images or more.

    Raises:
        PneumoscopeError: if `choice` is True and a class has fewer images.
    """
    fewest = min(int((table["label"] == name).sum()) for name in BINARY_CLASSES)
    if choice and fewest < MIN_PER_CLASS:
        raise PneumoscopeError(
            f"the smaller class has {fewest} images; expected {MIN_PER_CLASS} or more normals and pneumonias to "
            "measure confounders. Add images or use --no-confounders."
        )
    return fewest >= MIN_PER_CLASS if choice is None else choice


def _measure_images(
    reader: Reader, gathered: Gathered, split: str, operating_point: str, correct: bool, seed: int
) -> CollectionEvaluation:
    """Return the metrics of the predictions; the other fields of the evaluation stay empty."""
    thresholds = {name: reader.threshold(name) for name in (*OPERATING_POINTS, operating_point)}
    threshold, images, shift = thresholds[operating_point], gathered.images, None
    if len(images) >= MIN_IMAGES:
        shift = estimate_label_shift(images.probabilities, images.patients, classes=THREE_CLASSES, seed=seed)
    if correct and shift is None:
        raise PneumoscopeError(
            f"the collection has {len(images)} images; expected {MIN_IMAGES} or more to correct for label shift"
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
    """Return the ROC curve of pneumonia, or None if a class is missing."""
    from sklearn.metrics import roc_curve

    if len(set(images.labels.tolist())) < 2:
        return None
    false_positive_rate, sensitivity, _ = roc_curve(images.labels, images.scores)
    return Roc(false_positive_rate, sensitivity)


def _check_images(
    reader: Reader, table: pd.DataFrame, collection: Collection, split: str, hide: bool, threshold: float, seed: int
) -> tuple[Confounders | None, OODCheck]:
    """Return the confounders and the check of the OOD detector.

    Pixel baselines are fitted on the collection's training images. They are omitted if `train` lacks a class or
    overlaps with the evaluated images.
    """
    log.info("measuring the OOD detector%s", " and confounders" if hide else "")
    images = load_images(reader, table, MAX_CHECKED, f"Decoding {split}").as_split(split)
    ood_check = check_ood_detector(reader.models.ood_detector, images, split=split, seed=seed)
    if not hide:
        return None, ood_check
    training = collection.table[collection.table["split"] == "train"]
    if split not in ("train", ALL_SPLITS) and set(training["label"]) >= set(BINARY_CLASSES):
        train = load_images(reader, training, MAX_TRAINING, "Decoding train")
        both = pd.concat([images.table, train.table], ignore_index=True)
        images = Dataset(np.concatenate([images.images, train.images]), both, images.skipped)

    def predict(inputs: np.ndarray) -> np.ndarray:
        parts = np.array_split(inputs, max(1, len(inputs) // BATCH_SIZE))
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
    # Distances in log odds are symmetric around the threshold.
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
    # A pneumonia of unknown subtype may be bacterial or viral.
    truths = (images.subtypes[:, None] == classes) | ((images.subtypes < 0)[:, None] & (classes > 0))
    groups = {"all": np.ones(len(images), dtype=bool), **list_classes(images)}
    metrics = {
        name: evaluate_sets(sets[rows], truths[rows], images.patients[rows], seed=seed)
        for name, rows in groups.items()
        if rows.any()
    }
    return Conformal(reader.coverage, metrics)
