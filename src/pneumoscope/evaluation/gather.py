"""The images of a labeled collection and their predictions."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from pneumoscope.data.collection import Collection, format_skipped, scan_collection
from pneumoscope.data.dataset import Dataset
from pneumoscope.data.decode import DecodedImage, decode_file
from pneumoscope.data.duplicates import hash_image
from pneumoscope.data.identity import Identity
from pneumoscope.data.label_options import LabelOptions
from pneumoscope.data.source import printable_name
from pneumoscope.errors import CollectionError
from pneumoscope.evaluation.predictor import Predictor, check_probabilities
from pneumoscope.inference.batch import map_batches
from pneumoscope.inference.reading import Reading
from pneumoscope.io.results import EvaluatedImages
from pneumoscope.labels import SEPARATOR, LabelSet, fold_name, match_labels
from pneumoscope.models.prediction import describe_constant_output
from pneumoscope.progress import log, track

ALL_SPLITS = "all"
TRAITS = ("age", "sex", "view")

# A decoded image, or the reason why it cannot be read.
Decoded = DecodedImage | str
# Of an image: probabilities `(classes,)`, decision, reason, whether in distribution, gray levels (mean, minimum and
# maximum), and perceptual hash.
Outcome = tuple[np.ndarray, str, str, bool, list[float], np.ndarray | None] | str
Source = str | os.PathLike[str] | Dataset


@dataclass(frozen=True)
class LabeledCollection:
    """A collection whose labels are those of a model.

    Attributes:
        name: folder or table of the collection.
        table: rows of the files that have a class of the model; `label` is a class or the positive name of the model.
        label_set: the classes of the model.
        left_out: `{name, reason}` of each other file.
        decode: function from a name of the table to its image.
    """

    name: str
    table: pd.DataFrame
    label_set: LabelSet
    left_out: list[dict[str, str]]
    decode: Callable[[str], Decoded]


@dataclass(frozen=True)
class Gathered:
    """The images of a collection that have predictions.

    Attributes:
        table: `n` rows with the columns of `Collection.table`.
        images: the predictions of these images.
        exposures: `(n,)` float64, mean gray level of each image, 0 to 255; None if images were not read.
        hashes: `(n, 4)` uint64, perceptual hashes; None if the model lists none of its training images.
        unreadable: `{name, reason}` of each file without a prediction.
        constant: a sentence if the model gives nearly the same output for all images.
    """

    table: pd.DataFrame
    images: EvaluatedImages
    exposures: np.ndarray | None
    unreadable: list[dict[str, str]]
    hashes: np.ndarray | None = None
    constant: str | None = None


def scan_source(source: Source, options: LabelOptions | None) -> Collection | Dataset:
    """Return a dataset as it is, and the files of a folder or table; see `scan_collection`."""
    return source if isinstance(source, Dataset) else scan_collection(source, options=options or LabelOptions())


def open_collection(
    source: Source, label_set: LabelSet, *, size: int, options: LabelOptions | None = None
) -> LabeledCollection:
    """List a labeled collection in the classes of a model.

    Args:
        source: folder, table, or dataset. The images of a dataset are used if they have the size of the model's input,
            else its files are decoded again.
        label_set: the classes of the model.
        size: side of the model's square input images, in pixels.
        options: how to read the labels of a folder or table.

    Raises:
        CollectionError: if the source does not exist or has no image with a class of the model.
        LabelError: if the classes do not match those of the model.
    """
    collection = scan_source(source, options)
    paths = dict(zip(collection.table["name"], collection.table.get("path", ()), strict=False))
    decode: Callable[[str], Decoded] = lambda name: decode_file(paths[name], size=size)  # noqa: E731
    identities = _list_identities(collection.table)
    if isinstance(collection, Dataset):
        rows = {name: row for row, name in enumerate(collection.table["name"])}
        if collection.images.shape[1:] == (size, size):
            images = collection.images
            decode = lambda name: DecodedImage(images[rows[name]])  # noqa: E731
        elif not paths or not Path(next(iter(paths.values()))).is_file():
            side = collection.images.shape[1]
            raise CollectionError(f"the images of the dataset have {side} pixels; expected {size}, as the model takes")
    table, left_out = relabel(collection, label_set)

    def decode_named(name: str) -> Decoded:
        image = decode(name)
        return image if isinstance(image, str) else replace(image, identity=identities[name])

    return LabeledCollection(name_source(source), table, label_set, left_out, decode_named)


def _list_identities(table: pd.DataFrame) -> dict[str, Identity]:
    """Return age, sex and view of each image by name; they come from the table or the DICOM header."""
    columns = [table[name] if name in table else [""] * len(table) for name in TRAITS]
    return {
        name: Identity(age_years=float(age) if age.isdigit() else None, sex=sex or None, view=view or None)
        for name, age, sex, view in zip(table["name"], *columns, strict=True)
    }


def name_source(source: Source) -> str:
    """Return the folder or table of a source for the report."""
    return f"dataset of {len(source)} images" if isinstance(source, Dataset) else printable_name(os.fspath(source))


def relabel(collection: Collection | Dataset, label_set: LabelSet) -> tuple[pd.DataFrame, list[dict[str, str]]]:
    """Return the table with the labels of another set, and name and reason of each file that is left out.

    Raises:
        CollectionError: if no image has such a label.
        LabelError: if the classes do not match.
    """
    table, source = collection.table, collection.label_set
    left_out = [{"name": name, "reason": reason} for name, reason in collection.skipped.itertuples(index=False)]
    match_labels(source, label_set)
    if label_set.multi_label:
        known = {fold_name(name) for name in source.classes}
        missing = [name for name in label_set.classes if fold_name(name) not in known]
        if missing:
            log.warning("the data set has no labels of %s; these findings are not evaluated", ", ".join(missing))
        ignored = sorted(known - {fold_name(name) for name in label_set.classes})
        if ignored:
            log.warning("the model does not predict %s; these findings are not evaluated", ", ".join(ignored))
        uncertain = [SEPARATOR.join(filter(None, (text, *missing))) for text in table["uncertain"]]
        return table.assign(uncertain=uncertain), left_out
    names = {label: _translate(label, source, label_set) for label in table["label"].unique()}
    kept = table["label"].map(names) != ""
    others = zip(table["name"][~kept], table["label"][~kept], strict=True)
    left_out += [{"name": name, "reason": f"the label {label!r} leaves the class open"} for name, label in others]
    if not kept.any():
        raise CollectionError(f"no image has a class of the model; expected {', '.join(label_set.scored)}")
    return table.assign(label=table["label"].map(names))[kept].reset_index(drop=True), left_out


def _translate(label: str, source: LabelSet, label_set: LabelSet) -> str:
    """Return a label of `source` as a class of another set, or as its positive name; empty if neither is known."""
    (number,) = label_set.encode([label], source)
    if number >= 0:
        return str(label_set.classes[number])
    if label_set.positive is None:
        return ""
    binary = label_set.binary()
    members = source.members(label) if label in source.scored else ()
    known = {int(binary.encode([label], label_set)[0])}
    if known == {-1}:
        known = set(binary.encode(members, label_set).tolist())
    return label_set.positive if known == {1} else ""


def choose_split(table: pd.DataFrame, split: str | None) -> tuple[pd.DataFrame, str]:
    """Return the rows of a split and its name; by default `test` if it exists, else all rows.

    Raises:
        CollectionError: if the split contains no image.
    """
    present = sorted({name for name in table["split"] if name})
    if split is None:
        split = "test" if "test" in present else ALL_SPLITS
        log.info("no split given, using %s", split)
    rows = table if split == ALL_SPLITS else table[table["split"] == split]
    if rows.empty:
        splits = ", ".join(present) or "none"
        raise CollectionError(f"the split {split} contains no image; expected one of: {splits}, or all")
    return rows.reset_index(drop=True), split


def drop_training_images(
    model: Predictor, table: pd.DataFrame, *, remedy: str = "; --split all evaluates them, too"
) -> tuple[pd.DataFrame, list[dict[str, str]]]:
    """Return the rows that are not of training images, and `{name, reason}` of the others; all rows if none is left."""
    seen = np.isin(table["sha256"].to_numpy().astype(str), [] if (known := model.training_images[0]) is None else known)
    if not seen.any() or seen.all():
        return table, []
    log.warning("%d images are left out: the model was trained on them%s", seen.sum(), remedy)
    reason = f"in the training data of the model{remedy}"
    return table[~seen].reset_index(drop=True), [{"name": str(name), "reason": reason} for name in table["name"][seen]]


def gather_readings(model: Predictor, table: pd.DataFrame, decode: Callable[[str], Decoded]) -> Gathered:
    """Predict every image of a table with the columns of `Collection.table`.

    One worker runs on each core: open a reader with one thread per graph.

    Raises:
        CollectionError: if no image can be read.
    """

    def work(names: list[str]) -> list[Outcome]:
        decoded = [decode(name) for name in names]
        readable = [(name, image) for name, image in zip(names, decoded, strict=True) if not isinstance(image, str)]
        results = iter(_read(model, readable) if readable else ())
        return [image if isinstance(image, str) else next(results) for image in decoded]

    outcomes = list(track(map_batches(work, table["name"]), "Reading", total=len(table)))
    kept, failed = split_failures(table, [outcome if isinstance(outcome, str) else "" for outcome in outcomes])
    if not len(kept):
        raise CollectionError(f"none of the {len(failed)} files can be read{format_skipped(failed)}")
    columns = list(zip(*(outcome for outcome in outcomes if not isinstance(outcome, str)), strict=True))
    probabilities, decisions, reasons, accepted, levels, hashes = (np.array(column) for column in columns)
    images = collect_images(kept, model, probabilities)
    if model.reader:
        images = replace(images, decisions=decisions, reasons=reasons, in_distribution=accepted)
    constant = describe_constant_output(probabilities, levels)
    return Gathered(kept, images, levels[:, 0], failed, None if hashes.ndim == 1 else hashes, constant)


def collect_images(table: pd.DataFrame, model: Predictor, probabilities: np.ndarray) -> EvaluatedImages:
    """Return labels and decisions of the images of a table, none of them rejected or uncertain."""
    label_set = model.label_set
    labels = label_set.encode_findings(table["label"], table["uncertain"]) if label_set.multi_label else None
    positive = label_set.binary().encode(table["label"], label_set) if label_set.positive else None
    return EvaluatedImages(
        label_set=label_set,
        names=table["name"].to_numpy().astype(str),
        patients=table["patient"].to_numpy().astype(str),
        labels=label_set.encode(table["label"]) if labels is None else labels,
        positive=np.full(len(table), -1) if positive is None else positive,
        probabilities=probabilities,
        decisions=label_set.decide(probabilities, model.thresholds.get(model.operating_point, {})),
        reasons=np.full(len(table), ""),
        in_distribution=np.ones(len(table), dtype=bool),
    )


def load_images(collection: LabeledCollection, table: pd.DataFrame, limit: int, description: str) -> Dataset:
    """Decode at most `limit` evenly spaced files of a table; unreadable files are omitted."""
    rows = table.iloc[spread_evenly(len(table), limit)]
    work = map_batches(lambda names: [collection.decode(name) for name in names], rows["name"])
    outcomes = list(track(work, description, total=len(rows)))
    images = [outcome.pixels for outcome in outcomes if not isinstance(outcome, str)]
    kept, _ = split_failures(rows, [outcome if isinstance(outcome, str) else "" for outcome in outcomes])
    stack = np.stack(images) if images else np.empty((0, 1, 1), np.uint8)
    return Dataset(stack, kept, pd.DataFrame(columns=["name", "reason"]), collection.label_set)


def spread_evenly(count: int, limit: int) -> np.ndarray:
    """Return at most `limit` evenly spaced indices below `count`, `(m,)` int."""
    return np.unique(np.linspace(0, count - 1, min(limit, count)).round().astype(int))


def _read(model: Predictor, decoded: list[tuple[str, DecodedImage]]) -> list[Outcome]:
    if model.predict is None:
        raise ValueError(f"{model.id} predicts no images; expected a model with `predict`")
    names, images = zip(*decoded, strict=True)
    stack = np.stack([image.pixels for image in images])
    readings: list[Reading] = []
    if model.reader is None:
        probabilities = model.predict(stack)
    else:
        readings, probabilities = model.reader.predict_with_probabilities(images, names, model.operating_point)
    probabilities = check_probabilities(probabilities, model.label_set, len(stack))
    levels = np.stack([measure(stack, axis=(1, 2)) for measure in (np.mean, np.min, np.max)], axis=1).tolist()
    hashes = [None if model.training_images[1] is None else hash_image(image) for image in stack]
    decided = [(str(one.decision), one.reason, one.in_distribution is not False) for one in readings]
    rows = zip(probabilities, decided or [("", "", True)] * len(stack), levels, hashes, strict=True)
    return [(row, *decision, gray, digest) for row, decision, gray, digest in rows]


def split_failures(table: pd.DataFrame, reasons: list[str]) -> tuple[pd.DataFrame, list[dict[str, str]]]:
    """Return the rows of readable files, and name and reason of each unreadable file."""
    failed = np.array([bool(reason) for reason in reasons], dtype=bool)
    rows = zip(table["name"][failed], filter(None, reasons), strict=True)
    return table[~failed].reset_index(drop=True), [{"name": name, "reason": reason} for name, reason in rows]
