"""Metrics of a model on a labeled collection."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pandas as pd

from pneumoscope.data.dataset import Dataset
from pneumoscope.data.duplicates import find_known
from pneumoscope.data.label_options import LabelOptions
from pneumoscope.errors import PneumoscopeError
from pneumoscope.evaluation.confounders import measure_confounders
from pneumoscope.evaluation.gather import (
    ALL_SPLITS,
    TRAITS,
    Gathered,
    LabeledCollection,
    Source,
    choose_split,
    drop_training_images,
    gather_readings,
    load_images,
    open_collection,
)
from pneumoscope.evaluation.ood import check_ood_detector, measure_rejections
from pneumoscope.evaluation.predictor import DEFAULT_POINT, ImageClassifier, Predictor, describe_model, find_correct
from pneumoscope.evaluation.subgroups import list_classes, measure_scopes, measure_subgroups
from pneumoscope.inference.reader import Reader
from pneumoscope.io.results import (
    CollectionEvaluation,
    Conformal,
    Confounders,
    EvaluatedImages,
    LabelShift,
    OODCheck,
    Reliability,
    Roc,
    SelectiveCurve,
)
from pneumoscope.labels import LabelSet
from pneumoscope.metrics.conformal import evaluate_sets
from pneumoscope.metrics.label_shift import MIN_IMAGES, estimate_label_shift
from pneumoscope.metrics.reliability import measure_reliability
from pneumoscope.metrics.selective import measure_selective
from pneumoscope.progress import log, track

MIN_PER_CLASS = 10
# Decoded images are kept in memory: 16 KB per image of 128 x 128 pixels.
MAX_CHECKED = 1000
MAX_TRAINING = 6000
BATCH_SIZE = 32


def evaluate_models(
    model: Reader | ImageClassifier,
    source: Source,
    *,
    options: LabelOptions | None = None,
    split: str | None = None,
    operating_point: str | float = DEFAULT_POINT,
    correct_label_shift: bool = False,
    confounders: bool | None = None,
    seed: int = 0,
) -> CollectionEvaluation:
    """Predict every image of a collection and compute metrics.

    Rejected images count in the metrics on all images. For this purpose, their probabilities are computed as well.

    Args:
        model: a reader or another classifier. Open a reader with one thread per graph, because one worker runs on each
            core.
        source: folder or table (CSV, TSV, Parquet), see `scan_collection`, or a dataset.
        options: how to read the labels of a folder or table.
        split: `train`, `val`, `test` or `all`; by default `test` if the collection has it, else `all`.
        operating_point: operating point of the decisions, see `describe_model`.
        correct_label_shift: whether to correct the probabilities for label shift before computing metrics. Rejections,
            uncertain images and conformal sets use the uncorrected probabilities.
        confounders: whether to measure confounders and the OOD detector on modified images. By default, the OOD
            detector is always measured, and confounders if the negative and the positive class have ten images or more.
        seed: seed of all bootstraps.

    Raises:
        CollectionError: if the collection or split does not exist, or none of its files can be read.
        LabelError: if the classes of the collection do not match those of the model.
        PneumoscopeError: if label shift correction or confounders are requested and not possible.
    """
    predictor = describe_model(model, operating_point)
    collection = open_collection(source, predictor.label_set, size=predictor.image_size, options=options)
    table, chosen = choose_split(collection.table, split)
    table, training = (table, []) if split else drop_training_images(predictor, table)
    split = chosen
    hide = should_hide(table, predictor.label_set, confounders)
    log.info("reading %d images; %d files are left out", len(table), len(collection.left_out))
    gathered = gather_readings(predictor, table, collection.decode)
    evaluation = measure_images(predictor, gathered, split, correct=correct_label_shift, seed=seed)
    evaluation = replace(evaluation, source=collection.name, left_out=[*collection.left_out, *training])
    if confounders is False:
        skipped = "This part was switched off by the option --no-confounders."
        return replace(evaluation, notes={"confounders": skipped, "ood": skipped, **evaluation.notes})
    hidden, ood_check = _check_images(predictor, gathered.table, collection, split, hide, seed)
    return replace(evaluation, confounders=hidden, ood_check=ood_check)


def should_hide(table: pd.DataFrame, label_set: LabelSet, choice: bool | None) -> bool:
    """Return whether to measure confounders; by default if the negative and positive class have ten images or more.

    Raises:
        PneumoscopeError: if `choice` is True and a class has fewer images or the set has no negative class.
    """
    if label_set.positive is None:
        if choice:
            raise PneumoscopeError("confounders need a model with a negative class; use --no-confounders")
        return False
    binary = label_set.binary()
    labels = binary.encode(table["label"], label_set)
    fewest = min(int((labels == number).sum()) for number in (0, 1))
    if choice and fewest < MIN_PER_CLASS:
        raise PneumoscopeError(
            f"the smaller class has {fewest} images; expected {MIN_PER_CLASS} or more of "
            f"{' and '.join(binary.classes)} to measure confounders. Add images or use --no-confounders."
        )
    return fewest >= MIN_PER_CLASS if choice is None else choice


def measure_images(
    model: Predictor, gathered: Gathered, split: str, *, correct: bool = False, seed: int = 0
) -> CollectionEvaluation:
    """Return the metrics of predictions, without confounders and the check of the OOD detector.

    Args:
        model: the model that made the predictions.
        gathered: the images with their predictions.
        split: name of the split, stored in the result.
        correct: see `evaluate_models`.
        seed: seed of all bootstraps.

    Raises:
        PneumoscopeError: if there are too few images for a label shift correction, or if it is not defined.
    """
    log.info("computing metrics with 95 % confidence intervals")
    thresholds, images = model.thresholds.get(model.operating_point, {}), gathered.images
    shift = _estimate_shift(model, images, correct, seed)
    if correct and shift is not None:
        images = replace(images, probabilities=shift.probabilities)
    traits = {name: gathered.table[name].to_numpy().astype(str) for name in TRAITS if name in gathered.table}
    seen = find_seen_in_training(model, gathered)
    if seen:
        log.warning("%d of %d images were in the training data of the model", len(seen), len(images))
    return CollectionEvaluation(
        source="",
        split=split,
        model=model.id,
        operating_point=model.operating_point,
        thresholds=model.thresholds,
        images=images,
        unreadable=gathered.unreadable,
        left_out=[],
        scopes=measure_scopes(images, model.thresholds, model.operating_point, split=split, seed=seed),
        roc=trace_roc(images),
        reliability=_measure_reliability(images, seed),
        conformal=_measure_conformal(model.reader, gathered.images, seed),
        selective=_measure_selective(images, thresholds, seed),
        rejections=measure_rejections(gathered.images, thresholds, seed=seed) if model.reader else None,
        subgroups=measure_subgroups(images, gathered.exposures, traits, thresholds, seed=seed),
        confounders=None,
        ood_check=None,
        label_shift=shift,
        true_shares=_count_shares(images),
        corrected=correct,
        seen_in_training=seen,
        notes=explain_missing(model) | ({"constant": gathered.constant} if gathered.constant else {}),
    )


def explain_missing(model: Predictor) -> dict[str, str]:
    """Return for each part that cannot be measured for a model the reason in one sentence."""
    label_set = model.label_set
    notes: dict[str, str] = {}
    if label_set.multi_label:
        undefined = "is defined for models that choose one class, not for findings that occur together."
        notes |= {"label-shift": f"Label shift {undefined}", "selective": f"Selective prediction {undefined}"}
        notes["conformal"] = f"Conformal prediction {undefined}"
    if label_set.positive is None:
        notes["confounders"] = "Confounders are measured by the AUROC of a positive class, and the model has none."
    if model.predict is None:
        notes["confounders"] = "Confounders cannot be measured, because the predictions come from a table."
    if model.reader is None:
        return {
            "label-shift": "Label shift is estimated for exported readers, because it needs calibrated probabilities.",
            "conformal": "Conformal sets are part of exported readers.",
            "rejections": "Rejected and uncertain images are decisions of exported readers.",
            "ood": "The OOD detector is part of exported readers.",
            **notes,
        }
    if "calibration" in model.reader.missing:
        notes["label-shift"] = "Label shift needs calibrated probabilities, and this reader has no calibration."
    if model.reader.models.ood_detector is None:
        notes["ood"] = "The reader has no OOD detector."
    return notes


def find_seen_in_training(model: Predictor, gathered: Gathered) -> list[str] | None:
    """Return the names of images that were in a model's training data: of the same bytes, or copies by their look.

    None if the model does not list its training images.
    """
    sha256, hashes = model.training_images
    if sha256 is None and hashes is None:
        return None
    seen = np.isin(gathered.table["sha256"].to_numpy().astype(str), [] if sha256 is None else sha256)
    if hashes is not None and gathered.hashes is not None:
        seen |= find_known(gathered.hashes, hashes)
    return [str(name) for name in gathered.table["name"][seen]]


def _estimate_shift(model: Predictor, images: EvaluatedImages, correct: bool, seed: int) -> LabelShift | None:
    note = explain_missing(model).get("label-shift")
    if note is None and len(images) < MIN_IMAGES:
        note = f"The collection has {len(images)} images; expected {MIN_IMAGES} or more."
    if correct and note:
        raise PneumoscopeError(f"the probabilities cannot be corrected for label shift. {note}")
    if note:
        return None
    prior = model.reader.models.cards.classifier.calibration.frequencies if model.reader else ()
    classes = model.label_set.classes
    return estimate_label_shift(images.probabilities, images.patients, classes=classes, prior=prior, seed=seed)


def trace_roc(images: EvaluatedImages) -> Roc | None:
    """Return the ROC curve of the positive class, or None if there is none or a class has no image."""
    from sklearn.metrics import roc_curve

    if set(images.positive.tolist()) != {0, 1}:
        return None
    false_positive_rate, sensitivity, _ = roc_curve(images.positive, images.scores)
    return Roc(false_positive_rate, sensitivity)


def _check_images(
    model: Predictor, table: pd.DataFrame, collection: LabeledCollection, split: str, hide: bool, seed: int
) -> tuple[Confounders | None, OODCheck | None]:
    """Return the confounders and the check of the OOD detector.

    Pixel baselines are fitted on the collection's training images. They are omitted if `train` lacks a class or
    overlaps with the evaluated images.
    """
    models = model.reader.models if model.reader and model.reader.models.ood_detector else None
    if not models and not hide:
        return None, None
    log.info("measuring %s", " and ".join(["the OOD detector"] * bool(models) + ["confounders"] * hide))
    images = load_images(collection, table, MAX_CHECKED, f"Decoding {split}").as_split(split)
    ood_check = check_ood_detector(models, images, split=split, seed=seed) if models else None
    if not hide or model.predict is None or model.label_set.positive is None:
        return None, ood_check
    training, predict = collection.table[collection.table["split"] == "train"], model.predict
    binary = model.label_set.binary()
    if split not in ("train", ALL_SPLITS) and {0, 1} <= set(binary.encode(training["label"], model.label_set).tolist()):
        train = load_images(collection, training, MAX_TRAINING, "Decoding train")
        both = pd.concat([images.table, train.table], ignore_index=True)
        images = Dataset(np.concatenate([images.images, train.images]), both, images.skipped, model.label_set)

    def predict_all(inputs: np.ndarray) -> np.ndarray:
        parts = np.array_split(inputs, max(1, len(inputs) // BATCH_SIZE))
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            return np.concatenate(list(track(pool.map(predict, parts), "Predicting", total=len(parts))))

    threshold = model.thresholds[model.operating_point][model.label_set.positive]
    return measure_confounders(predict_all, images, threshold=threshold, split=split, seed=seed), ood_check


def _count_shares(images: EvaluatedImages) -> dict[str, float]:
    if images.label_set.multi_label or (images.labels < 0).any():
        return {}
    return {name: float((images.labels == number).mean()) for number, name in enumerate(images.label_set.classes)}


def _measure_reliability(images: EvaluatedImages, seed: int) -> dict[str, Reliability]:
    curves = {}
    if images.label_set.multi_label:
        for name, labels, scores in zip(images.label_set.classes, images.labels.T, images.probabilities.T, strict=True):
            if (known := labels >= 0).any():
                patients = images.patients[known]
                curves[name] = measure_reliability(labels[known] == 1, scores[known], patients, seed=seed)
        return curves
    if images.label_set.positive:
        curves["positive"] = measure_reliability(images.positive == 1, images.scores, images.patients, seed=seed)
    if (known_images := images.with_classes) is not None:
        correct = known_images.probabilities.argmax(axis=1) == known_images.labels
        highest = known_images.probabilities.max(axis=1)
        curves["classes"] = measure_reliability(correct, highest, known_images.patients, seed=seed)
    return curves


def _measure_selective(images: EvaluatedImages, thresholds: dict[str, float], seed: int) -> dict[str, SelectiveCurve]:
    curves: dict[str, SelectiveCurve] = {}
    if images.label_set.multi_label:
        return curves
    if images.label_set.positive:
        scores, threshold = np.clip(images.scores, 1e-12, 1 - 1e-12), thresholds[images.label_set.positive]
        # Distances in log odds are symmetric around the threshold.
        distances = np.abs(np.log(scores / (1 - scores)) - np.log(threshold / (1 - threshold)))
        correct = find_correct(images, thresholds)
        curves["positive"] = measure_selective(correct, distances, images.patients, seed=seed)
    if (known := images.with_classes) is not None:
        correct = known.probabilities.argmax(axis=1) == known.labels
        curves["classes"] = measure_selective(correct, known.probabilities.max(axis=1), known.patients, seed=seed)
    return curves


def _measure_conformal(reader: Reader | None, images: EvaluatedImages, seed: int) -> Conformal | None:
    if reader is None or reader.coverage is None:
        return None
    sets, label_set = reader.choose_sets(images.probabilities), images.label_set
    classes = np.arange(len(label_set.classes))
    # An image of unknown class may have any positive class.
    possible = classes != (label_set.classes.index(label_set.negative) if label_set.negative else -1)
    truths = (images.labels[:, None] == classes) | ((images.labels < 0)[:, None] & possible)
    groups = {"all": np.ones(len(images), dtype=bool), **list_classes(images)}
    metrics = {
        name: evaluate_sets(sets[rows], truths[rows], images.patients[rows], seed=seed)
        for name, rows in groups.items()
        if rows.any()
    }
    return Conformal(reader.coverage, metrics)
