"""From a collection to what the models are worth on it."""

import os
from dataclasses import replace

import numpy as np

from pneumoscope.data.collection import scan_collection
from pneumoscope.data.source import printable_name
from pneumoscope.errors import PneumoscopeError
from pneumoscope.evaluation.error_runs import find_error_stretches
from pneumoscope.evaluation.gather import choose_split, gather_readings, load_traits
from pneumoscope.evaluation.rejection import measure_rejections
from pneumoscope.evaluation.robustness import check_films, choose_shortcuts
from pneumoscope.evaluation.scopes import measure_scopes, select_images, trace_roc
from pneumoscope.evaluation.subgroups import measure_subgroups
from pneumoscope.inference.reader import OPERATING_POINTS, Reader
from pneumoscope.io.results import (
    CollectionEvaluation,
    Conformal,
    EvaluatedImages,
    LabelShift,
    Reliability,
    SelectiveCurve,
)
from pneumoscope.labels import THREE_CLASSES
from pneumoscope.metrics.conformal import evaluate_sets
from pneumoscope.metrics.label_shift import MIN_IMAGES, estimate_label_shift
from pneumoscope.metrics.reliability import measure_reliability, measure_top_label_reliability
from pneumoscope.metrics.selective import measure_selective
from pneumoscope.progress import log


def evaluate_models(
    reader: Reader,
    source: str | os.PathLike[str],
    *,
    split: str | None = None,
    operating_point: str = "balanced",
    correct_label_shift: bool = False,
    shortcuts: bool | None = None,
    seed: int = 0,
) -> CollectionEvaluation:
    """Read every image of a collection and measure what came of it.

    Images that the reader refuses are named, and count in the figures on all images with the probabilities that it
    would have given.

    Args:
        reader: the models, with graphs of one thread each: there is a worker for each core.
        source: folder or manifest, see `scan_collection`.
        split: `train`, `val`, `test` or `all`; by default `test` where the collection has one, else all.
        operating_point: at which the reader decides and subgroups are measured.
        correct_label_shift: whether figures are those of probabilities that take the estimated shares of the
            classes into account; refusals, doubts and sets stay the reader's own.
        shortcuts: whether to hide parts of the films, and to make wrong inputs of them, to see what the models make
            of that. By default both are done, the former only where both classes have ten images or more.
        seed: of the resampling.

    Raises:
        CollectionError: if there is no such collection or split, or no file of it can be read.
        PneumoscopeError: if there are too few images to correct a prior shift by, or to hide parts of.
    """
    threshold = reader.threshold(operating_point)
    collection = scan_collection(source)
    table, split = choose_split(collection.table, split)
    hides = choose_shortcuts(table, shortcuts)
    log.info("reading %d images; %d files left out", len(table), len(collection.skipped))
    gathered = gather_readings(reader, table, operating_point=operating_point)
    log.info("measuring, each figure with its interval")
    shift = _estimate_shift(gathered.images, seed)
    images = _correct(gathered.images, shift) if correct_label_shift else gathered.images
    thresholds = {name: reader.threshold(name) for name in OPERATING_POINTS} | {operating_point: threshold}
    hidden, wrong = None, None
    if shortcuts is not False:
        hidden, wrong = check_films(
            reader, gathered.table, collection.table, split=split, hide=hides, threshold=threshold, seed=seed
        )
    return CollectionEvaluation(
        source=printable_name(os.fspath(source)),
        split=split,
        model=reader.models.id,
        operating_point=operating_point,
        thresholds=thresholds,
        images=images,
        unreadable=gathered.unreadable,
        left_out=[{"name": name, "reason": reason} for name, reason in collection.skipped.itertuples(index=False)],
        scopes=measure_scopes(images, thresholds, split=split, seed=seed),
        roc=trace_roc(images),
        reliability=_measure_reliability(images, seed),
        conformal=_measure_conformal(reader, gathered.images, seed),
        selective=_measure_selective(images, threshold, seed),
        gate=measure_rejections(gathered.images, threshold, seed=seed),
        subgroups=measure_subgroups(
            images, gathered.exposures, load_traits(source, images.names), threshold, seed=seed
        ),
        error_runs=find_error_stretches(images, threshold, seed=seed),
        shortcuts=hidden,
        ood_check=wrong,
        label_shift=shift,
        true_shares=_count_shares(images),
        corrected=correct_label_shift,
    )


def _estimate_shift(images: EvaluatedImages, seed: int) -> LabelShift | None:
    if len(images.names) < MIN_IMAGES:
        return None
    return estimate_label_shift(images.probabilities, images.patients, classes=THREE_CLASSES, seed=seed)


def _correct(images: EvaluatedImages, shift: LabelShift | None) -> EvaluatedImages:
    if shift is None:
        raise PneumoscopeError(
            f"there are {len(images.names)} images; expected {MIN_IMAGES} or more to correct a prior shift by"
        )
    return replace(images, probabilities=shift.probabilities)


def _count_shares(images: EvaluatedImages) -> dict[str, float]:
    if (images.subtypes < 0).any():
        return {}
    return {name: float((images.subtypes == number).mean()) for number, name in enumerate(THREE_CLASSES)}


def _measure_reliability(images: EvaluatedImages, seed: int) -> dict[str, Reliability]:
    sick = np.clip(1 - images.probabilities[:, 0], 0, 1)
    found = {"pneumonia": measure_reliability(images.labels == 1, sick, images.patients, seed=seed)}
    if (images.subtypes > 0).any():
        known = select_images(images, images.subtypes >= 0)
        found["three_class"] = measure_top_label_reliability(
            known.subtypes, known.probabilities, known.patients, seed=seed
        )
    return found


def _measure_selective(images: EvaluatedImages, threshold: float, seed: int) -> dict[str, SelectiveCurve]:
    sick = np.clip(1 - images.probabilities[:, 0], 1e-12, 1 - 1e-12)
    # On the scale of log odds, where both sides of the threshold reach equally far.
    distances = np.abs(np.log(sick / (1 - sick)) - np.log(threshold / (1 - threshold)))
    right = (sick >= threshold) == (images.labels == 1)
    found = {"pneumonia": measure_selective(right, distances, images.patients, seed=seed)}
    if (images.subtypes > 0).any():
        known = select_images(images, images.subtypes >= 0)
        right = known.probabilities.argmax(axis=1) == known.subtypes
        found["three_class"] = measure_selective(right, known.probabilities.max(axis=1), known.patients, seed=seed)
    return found


def _measure_conformal(reader: Reader, images: EvaluatedImages, seed: int) -> Conformal | None:
    if reader.coverage is None:
        return None
    sets = reader.choose_sets(images.probabilities)
    kinds = np.arange(len(THREE_CLASSES))
    unknown = (images.subtypes < 0)[:, None] & (kinds > 0)
    truths = (images.subtypes[:, None] == kinds) | unknown
    rows = {"all": np.ones(len(sets), dtype=bool)}
    rows |= {name: images.subtypes == number for number, name in enumerate(THREE_CLASSES)}
    rows["pneumonia, sub-type unknown"] = images.subtypes < 0
    figures = {
        name: evaluate_sets(sets[some], truths[some], images.patients[some], seed=seed)
        for name, some in rows.items()
        if some.any()
    }
    return Conformal(reader.coverage, figures)
