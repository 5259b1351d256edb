"""Evaluate the predictions of any tool, read from a table (CSV) without its model."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from pneumoscope.data.collection import format_skipped
from pneumoscope.data.label_options import LabelOptions
from pneumoscope.data.manifest import read_manifest
from pneumoscope.data.source import printable_name
from pneumoscope.errors import CollectionError
from pneumoscope.evaluation.evaluate import measure_images
from pneumoscope.evaluation.gather import (
    Gathered,
    Source,
    choose_split,
    collect_images,
    name_source,
    relabel,
    scan_source,
    split_failures,
)
from pneumoscope.evaluation.predictor import DEFAULT_POINT, Predictor, check_probabilities, set_threshold
from pneumoscope.io.results import CollectionEvaluation
from pneumoscope.labels import LabelSet, fold_name
from pneumoscope.progress import log

NAME_COLUMNS = ("path", "name", "file", "filename", "image", "image index")
ROUNDING = 0.02
SCORE_COLUMNS = ("score", "probability", "p")


def evaluate_predictions(
    source: Source,
    predictions: str | os.PathLike[str],
    *,
    options: LabelOptions | None = None,
    split: str | None = None,
    operating_point: str | float = DEFAULT_POINT,
    seed: int = 0,
) -> CollectionEvaluation:
    """Compute metrics of predictions on a labeled collection. Images are not opened.

    Args:
        source: folder, table or dataset with the labels, see `scan_collection`.
        predictions: CSV with a column `path` or `name`, and a column `p_CLASS` or `CLASS` for each class with its
            probability; a binary set can have one column instead, of the positive class or named `score`. Rows belong
            to images of the same path, the same name in the collection, or the same file name if it occurs once.
        options: how to read the labels of a folder or table.
        split: see `evaluate_models`.
        operating_point: threshold of the decisions, 0.5 by default.
        seed: seed of all bootstraps.

    Raises:
        CollectionError: if the table cannot be read, has no usable columns, or matches no image.
        PneumoscopeError: if values are no probabilities.
    """
    collection = scan_source(source, options)
    rows, path = read_predictions(predictions), Path(predictions)
    label_set, columns = _choose_columns(collection.label_set, list(rows.columns), path)
    table, left_out = relabel(collection, label_set)
    matched = _match_rows(rows, collection.table)
    table, split = choose_split(table, split)
    values = rows[columns].apply(pd.to_numeric, errors="coerce").to_numpy(dtype=np.float64)
    found = [matched.get(name, -1) for name in table["name"]]
    reasons = [_find_fault(values, row, path) for row in found]
    kept, failed = split_failures(table, reasons)
    if not len(kept):
        raise CollectionError(f"{path} has no prediction for any of the {len(failed)} images{format_skipped(failed)}")
    numbers = values[[row for row, reason in zip(found, reasons, strict=True) if not reason]]
    probabilities = _complete(numbers, label_set)
    point, thresholds = set_threshold(label_set, operating_point)
    model = Predictor(
        id=f"predictions of {printable_name(path)}", label_set=label_set, operating_point=point, thresholds=thresholds
    )
    probabilities = check_probabilities(probabilities, label_set, len(kept))
    gathered = Gathered(kept, collect_images(kept, model, probabilities), None, failed)
    extra = _list_unmatched(rows, matched, path)
    if failed or extra:
        log.warning("%d images have no prediction; %d predictions match no image", len(failed), len(extra))
    evaluation = measure_images(model, gathered, split, seed=seed)
    return replace(evaluation, source=name_source(source), left_out=left_out + extra)


def read_predictions(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Return the rows of a table of predictions as text, the column of file names first.

    Raises:
        CollectionError: if the file cannot be read or has no column of file names.
    """
    manifest = read_manifest(Path(path))
    name = manifest.find(*NAME_COLUMNS)
    if name is None:
        raise CollectionError(f"{path} has the columns {', '.join(manifest.columns)}; expected one named path or name")
    return pd.DataFrame(manifest.rows, columns=[*dict.fromkeys((name, *manifest.columns))])


def _choose_columns(source: LabelSet, columns: list[str], path: Path) -> tuple[LabelSet, list[str]]:
    """Return the classes that a table predicts, and the column of each; or the positive class and its only column."""
    by_key = {fold_name(column).removeprefix("p "): column for column in reversed(columns[1:])}

    def find(names: tuple[str, ...]) -> list[str]:
        return [by_key[fold_name(name)] for name in names if fold_name(name) in by_key]

    found = find(source.classes)
    if len(found) == len(source.classes):
        return source, found
    if source.multi_label and found:
        known = tuple(name for name in source.classes if fold_name(name) in by_key)
        log.warning("%s has columns for %s only; other findings are not evaluated", path.name, ", ".join(known))
        return LabelSet(known, source.negative, multi_label=True), found
    if not source.multi_label and (source.positive or len(source.classes) == 2):
        binary = source.binary() if source.positive else source
        if score := find((binary.classes[1],)) or find(SCORE_COLUMNS):
            return binary, score[:1]
    expected = ", ".join(f"p_{name}" for name in source.classes)
    single = f", or one of {source.positive or source.classes[-1]}" if not source.multi_label else ""
    raise CollectionError(f"{path} has the columns {', '.join(columns)}; expected {expected}{single}")


def _complete(values: np.ndarray, label_set: LabelSet) -> np.ndarray:
    """Return `(n, classes)` probabilities from all columns, or from that of the positive class; rounding is undone."""
    if values.shape[1] < 2 <= len(label_set.classes):
        return np.stack([1 - values[:, 0], values[:, 0]], axis=1)
    sums = values.sum(axis=1, keepdims=True)
    rounded = (np.abs(sums - 1) <= ROUNDING) & (sums != 1)
    if label_set.multi_label or not rounded.any():
        return values
    log.info("the probabilities of %d images sum to 1 after rounding only, and are divided by their sum", rounded.sum())
    return np.where(rounded, values / np.where(sums > 0, sums, 1), values)


def _match_rows(rows: pd.DataFrame, table: pd.DataFrame) -> dict[str, int]:
    """Return the row of each image by its name.

    Raises:
        CollectionError: if an image has two rows.
    """
    files = Counter(Path(name).name for name in table["name"])
    images = {Path(name).name: name for name in table["name"] if files[Path(name).name] == 1}
    images |= {**dict(zip(table["path"], table["name"], strict=True)), **{name: name for name in table["name"]}}
    matched: dict[str, int] = {}
    for row, text in enumerate(rows.iloc[:, 0]):
        name = str(text).replace("\\", "/").removeprefix("./")
        image = images.get(name) or images.get(Path(name).name)
        if image in matched:
            raise CollectionError(f"the image {image} has two predictions; expected one row for each image")
        if image is not None:
            matched[image] = row
    return matched


def _list_unmatched(rows: pd.DataFrame, matched: dict[str, int], path: Path) -> list[dict[str, str]]:
    """Return name and reason of each row that belongs to no image."""
    reason = f"row of {path.name} without an image of the collection"
    numbers = sorted(set(range(len(rows))) - set(matched.values()))
    return [{"name": str(rows.iloc[number, 0]), "reason": reason} for number in numbers]


def _find_fault(values: np.ndarray, row: int, path: Path) -> str:
    if row < 0:
        return f"no prediction in {path.name}"
    return "" if np.isfinite(values[row]).all() else f"a value in {path.name} is no number"
