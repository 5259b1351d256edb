"""What the models tell without lungs, and what their gate makes of wrong inputs, on films of a collection."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from os import cpu_count

import numpy as np
import pandas as pd

from pneumoscope.data.dataset import Dataset
from pneumoscope.errors import PneumoscopeError
from pneumoscope.evaluation.confounders import measure_confounders
from pneumoscope.evaluation.gather import ALL_SPLITS
from pneumoscope.evaluation.ood_check import measure_ood
from pneumoscope.inference.batch import decode_file, map_batches
from pneumoscope.inference.reader import Reader
from pneumoscope.io.results import Confounders, OODCheck
from pneumoscope.labels import BINARY_CLASSES
from pneumoscope.progress import log, track

MIN_OF_CLASS = 10
# What is decoded is kept: 16 KB a film of 128 x 128.
MOST_FILMS = 1000
MOST_TRAINING_FILMS = 6000

_FILMS_AT_ONCE = 32


def choose_shortcuts(table: pd.DataFrame, asked: bool | None) -> bool:
    """Return whether to measure what is told without lungs; unless told, where both classes have ten images or more.

    Args:
        table: the images to measure on, columns as in `Collection.table`.
        asked: True or False as a user wants it, or None.

    Raises:
        PneumoscopeError: if it is asked for and there are fewer.
    """
    fewest = min(int((table["label"] == name).sum()) for name in BINARY_CLASSES)
    if asked and fewest < MIN_OF_CLASS:
        raise PneumoscopeError(
            f"a class has {fewest} images; expected {MIN_OF_CLASS} or more of normals and of pneumonias to tell what "
            "is told without lungs"
        )
    return fewest >= MIN_OF_CLASS if asked is None else asked


def check_films(
    reader: Reader,
    table: pd.DataFrame,
    collected: pd.DataFrame,
    *,
    split: str,
    hide: bool,
    threshold: float,
    seed: int = 0,
) -> tuple[Confounders | None, OODCheck]:
    """Return what is told of films with parts hidden, and what the gate makes of wrong inputs made of them.

    At most 1,000 films are taken, spread evenly. What is told without any lung is learned from at most 6,000 training
    images of the collection, and left out where there are none of both classes or the films may be among them.

    Args:
        reader: with graphs of one thread each.
        table: the images to take films from, columns as in `Collection.table`; files that can be read.
        collected: the whole collection, likewise.
        split: which images `table` names, for the record.
        hide: whether to hide parts.
        threshold: probability from which a case counts as pneumonia.
        seed: of the wrong inputs and of the resampling.
    """
    log.info("making wrong inputs%s", " and hiding parts of the films" if hide else "")
    films = _load(reader, table, MOST_FILMS, f"Decoding {split}").as_split(split)
    wrong = measure_ood(reader.models.domain, films, split=split, seed=seed)
    if not hide:
        return None, wrong
    training = collected[collected["split"] == "train"]
    if split not in ("train", ALL_SPLITS) and set(training["label"]) >= set(BINARY_CLASSES):
        train = _load(reader, training, MOST_TRAINING_FILMS, "Decoding train")
        both = pd.concat([films.table, train.table], ignore_index=True)
        films = Dataset(np.concatenate([films.images, train.images]), both, films.skipped)
    return measure_confounders(partial(_score, reader), films, threshold=threshold, split=split, seed=seed), wrong


def _load(reader: Reader, table: pd.DataFrame, most: int, description: str) -> Dataset:
    size = reader.models.image_size
    rows = table.iloc[np.unique(np.linspace(0, len(table) - 1, min(most, len(table))).round().astype(int))]
    work = map_batches(lambda paths: [decode_file(path, size) for path in paths], rows["path"])
    outcomes = list(track(work, description, total=len(rows)))
    good = [outcome[0] for outcome in outcomes if not isinstance(outcome, str)]
    kept = rows[[not isinstance(outcome, str) for outcome in outcomes]].reset_index(drop=True)
    images = np.stack(good) if good else np.empty((0, size, size), np.uint8)
    return Dataset(images, kept, pd.DataFrame(columns=["name", "reason"]))


def _score(reader: Reader, images: np.ndarray) -> np.ndarray:
    parts = np.array_split(images, max(1, len(images) // _FILMS_AT_ONCE))
    with ThreadPoolExecutor(cpu_count()) as pool:
        return np.concatenate(list(track(pool.map(reader.score, parts), "Answering", total=len(parts))))
