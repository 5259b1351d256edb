"""The images of a collection and their readings."""

import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from pneumoscope.data.collection import format_skipped
from pneumoscope.data.dataset import Dataset
from pneumoscope.data.source import printable_name
from pneumoscope.errors import CollectionError
from pneumoscope.inference.batch import map_batches
from pneumoscope.inference.decode import decode_file
from pneumoscope.inference.reader import Reader
from pneumoscope.inference.reading import Reading
from pneumoscope.io.results import EvaluatedImages
from pneumoscope.labels import BINARY_CLASSES, THREE_CLASSES
from pneumoscope.progress import log, track

ALL_SPLITS = "all"
TRAITS = ("age", "sex", "view")

# A reading, its `(3,)` calibrated probabilities and the mean gray level of the image; or the reason of a failure.
Outcome = tuple[Reading, np.ndarray, float] | str


@dataclass(frozen=True)
class Gathered:
    """The readable images of a collection.

    Attributes:
        table: `n` rows with the columns of `Collection.table`.
        images: the readings of these images.
        exposures: `(n,)` float64, mean gray level of each image, 0 to 255.
        unreadable: `{name, reason}` of each file that cannot be read.
    """

    table: pd.DataFrame
    images: EvaluatedImages
    exposures: np.ndarray
    unreadable: list[dict[str, str]]


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


def gather_readings(reader: Reader, table: pd.DataFrame, *, operating_point: str) -> Gathered:
    """Predict every file of a table with the columns of `Collection.table`.

    One worker runs on each core: open the reader with one thread per graph.

    Raises:
        CollectionError: if no file can be read.
    """
    work = map_batches(partial(_read_batch, reader, operating_point), table["path"])
    outcomes = list(track(work, "Reading", total=len(table)))
    kept, failed = _split_failures(table, outcomes)
    if not len(kept):
        raise CollectionError(f"none of the {len(failed)} files can be read{format_skipped(failed)}")
    readings, probabilities, exposures = zip(*(item for item in outcomes if not isinstance(item, str)), strict=True)
    images = EvaluatedImages(
        names=kept["name"].to_numpy().astype(str),
        patients=kept["patient"].to_numpy().astype(str),
        labels=np.array([BINARY_CLASSES.index(label) for label in kept["label"]]),
        subtypes=np.array([THREE_CLASSES.index(name) if name in THREE_CLASSES else -1 for name in kept["subtype"]]),
        probabilities=np.stack(probabilities),
        decisions=np.array([str(reading.decision) for reading in readings]),
        reasons=np.array([reading.reason for reading in readings]),
        in_distribution=np.array([bool(reading.in_distribution) for reading in readings]),
    )
    return Gathered(kept, images, np.array(exposures), failed)


def load_images(reader: Reader, table: pd.DataFrame, limit: int, description: str) -> Dataset:
    """Decode at most `limit` evenly spaced files of a table at the models' input size; unreadable files are omitted."""
    size = reader.models.image_size
    rows = table.iloc[spread_evenly(len(table), limit)]
    work = map_batches(lambda paths: [decode_file(path, size=size) for path in paths], rows["path"])
    outcomes = list(track(work, description, total=len(rows)))
    images = [outcome[0] for outcome in outcomes if not isinstance(outcome, str)]
    stack = np.stack(images) if images else np.empty((0, size, size), np.uint8)
    return Dataset(stack, _split_failures(rows, outcomes)[0], pd.DataFrame(columns=["name", "reason"]))


def spread_evenly(count: int, limit: int) -> np.ndarray:
    """Return at most `limit` evenly spaced indices below `count`, `(m,)` int."""
    return np.unique(np.linspace(0, count - 1, min(limit, count)).round().astype(int))


def load_traits(source: str | os.PathLike[str], names: np.ndarray) -> dict[str, np.ndarray]:
    """Return the columns `age`, `sex` and `view` that a manifest contains, each `(n,)` str; empty for a folder."""
    path = Path(source)
    if path.suffix.lower() != ".csv" or not path.is_file():
        return {}
    listed = pd.read_csv(path, dtype=str, keep_default_na=False)
    listed.columns = [str(column).strip().lower() for column in listed.columns]
    listed.index = pd.Index([printable_name(name) for name in listed["path"]])
    rows = listed[~listed.index.duplicated()].reindex(names, fill_value="")
    return {trait: rows[trait].to_numpy().astype(str) for trait in TRAITS if trait in rows}


def _read_batch(reader: Reader, operating_point: str, paths: list[str]) -> list[Outcome]:
    decoded = [decode_file(path, size=reader.models.image_size) for path in paths]
    readable = [(path, *outcome) for path, outcome in zip(paths, decoded, strict=True) if not isinstance(outcome, str)]
    if not readable:
        return [outcome for outcome in decoded if isinstance(outcome, str)]
    names, images, objections = zip(*readable, strict=True)
    stack = np.stack(images)
    readings = reader.predict_images(stack, names, operating_point=operating_point, objections=objections)
    results = zip(readings, reader.compute_probabilities(stack), stack.mean(axis=(1, 2)).tolist(), strict=True)
    return [outcome if isinstance(outcome, str) else next(results) for outcome in decoded]


def _split_failures(
    table: pd.DataFrame, outcomes: list[Outcome] | list[tuple[np.ndarray, list[str]] | str]
) -> tuple[pd.DataFrame, list[dict[str, str]]]:
    """Return the rows of readable files, and name and reason of each unreadable file."""
    failed = np.array([isinstance(outcome, str) for outcome in outcomes])
    reasons = [outcome for outcome in outcomes if isinstance(outcome, str)]
    rows = zip(table["name"][failed], reasons, strict=True)
    return table[~failed].reset_index(drop=True), [{"name": name, "reason": reason} for name, reason in rows]
