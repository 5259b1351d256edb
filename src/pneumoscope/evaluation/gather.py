"""Which images of a collection are assessed, and what the reader makes of each."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from pneumoscope.data.source import printable_name
from pneumoscope.errors import CollectionError
from pneumoscope.inference.batch import decode_file, map_batches
from pneumoscope.inference.reader import Reader
from pneumoscope.io.results import EvaluatedImages
from pneumoscope.labels import BINARY_CLASSES, THREE_CLASSES
from pneumoscope.progress import log, track

ALL_SPLITS = "all"
TRAITS = ("age", "sex", "view")


@dataclass(frozen=True)
class Read:
    """What came of one file that could be read.

    Attributes:
        decision: see `Reading`.
        reason: for a refusal or a doubt, and whether the image looks unlike the training images.
        in_domain: see `Reading`.
        probabilities: `(3,)` float64, calibrated.
        exposure: mean gray level, 0 to 255.
    """

    decision: str
    reason: str
    in_domain: bool
    probabilities: np.ndarray
    exposure: float


@dataclass(frozen=True)
class Gathered:
    """The readable images of a collection.

    Attributes:
        images: what the reader made of them.
        exposures: `(n,)` float64, mean gray level, 0 to 255.
        table: `n` rows, columns as in `Collection.table`.
        unreadable: `{name, reason}` of each other file.
    """

    images: EvaluatedImages
    exposures: np.ndarray
    table: pd.DataFrame
    unreadable: list[dict[str, str]]


def choose_split(table: pd.DataFrame, asked: str | None) -> tuple[pd.DataFrame, str]:
    """Return the rows of a split, and its name; unless one is asked for, `test` where there is one, else all.

    Raises:
        CollectionError: if there is no image of that split.
    """
    present = sorted({split for split in table["split"] if split})
    split = asked or ("test" if "test" in present else ALL_SPLITS)
    if asked is None:
        log.info("no split was asked for: taking %s", split)
    rows = table if split == ALL_SPLITS else table[table["split"] == split]
    if rows.empty:
        found = ", ".join(present) or "none"
        raise CollectionError(f"there is no image of the split {split}; the collection has {found}; or take `all`")
    return rows.reset_index(drop=True), split


def gather_readings(reader: Reader, table: pd.DataFrame, *, operating_point: str) -> Gathered:
    """Read every file.

    Args:
        reader: with graphs of one thread each: there is a worker for each core.
        table: columns as in `Collection.table`.
        operating_point: see `Reader.threshold`.

    Raises:
        CollectionError: if no file can be read.
    """
    work = partial(_read_some, reader, operating_point)
    outcomes = list(track(map_batches(work, table["path"]), "Reading", total=len(table)))
    names = table["name"].tolist()
    failed = [
        {"name": name, "reason": outcome}
        for name, outcome in zip(names, outcomes, strict=True)
        if isinstance(outcome, str)
    ]
    found = [outcome for outcome in outcomes if isinstance(outcome, Read)]
    if not found:
        listed = "".join(f"\n    {entry['name']}: {entry['reason']}" for entry in failed[:5])
        raise CollectionError(f"none of the {len(failed)} files can be read{listed}")
    kept = table[[isinstance(outcome, Read) for outcome in outcomes]].reset_index(drop=True)
    images = EvaluatedImages(
        names=kept["name"].to_numpy().astype(str),
        patients=kept["patient"].to_numpy().astype(str),
        labels=np.array([BINARY_CLASSES.index(label) for label in kept["label"]]),
        subtypes=np.array([THREE_CLASSES.index(kind) if kind in THREE_CLASSES else -1 for kind in kept["subtype"]]),
        probabilities=np.stack([read.probabilities for read in found]),
        decisions=np.array([read.decision for read in found]),
        reasons=np.array([read.reason for read in found]),
        in_domain=np.array([read.in_domain for read in found]),
    )
    return Gathered(images, np.array([read.exposure for read in found]), kept, failed)


def load_traits(source: str | os.PathLike[str], names: np.ndarray) -> dict[str, np.ndarray]:
    """Return what a manifest tells of each image: of `age`, `sex` and `view` the columns that it has, `(n,)` str."""
    path = Path(source)
    if path.suffix.lower() != ".csv" or not path.is_file():
        return {}
    listed = pd.read_csv(path, dtype=str, keep_default_na=False)
    listed.columns = [str(column).strip().lower() for column in listed.columns]
    listed.index = pd.Index([printable_name(name) for name in listed["path"]])
    rows = listed[~listed.index.duplicated()].reindex(names, fill_value="")
    return {trait: rows[trait].to_numpy().astype(str) for trait in TRAITS if trait in rows}


def _read_some(reader: Reader, operating_point: str, paths: list[str]) -> list[Read | str]:
    decoded = [decode_file(path, reader.models.image_size) for path in paths]
    good = [(path, *found) for path, found in zip(paths, decoded, strict=True) if not isinstance(found, str)]
    told = iter(_read_decoded(reader, operating_point, good)) if good else iter(())
    return [found if isinstance(found, str) else next(told) for found in decoded]


def _read_decoded(
    reader: Reader, operating_point: str, good: list[tuple[str, np.ndarray, list[str]]]
) -> Iterator[Read]:
    paths, images, objections = zip(*good, strict=True)
    stack = np.stack(images)
    readings = reader.read(stack, paths, operating_point=operating_point, objections=objections)
    for reading, scores, image in zip(readings, reader.score(stack), images, strict=True):
        yield Read(str(reading.decision), reading.reason, bool(reading.in_domain), scores, float(image.mean()))
