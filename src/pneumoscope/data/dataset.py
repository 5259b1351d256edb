"""A collection as arrays: decoded once, kept as bytes, aligned with its table."""

import os
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import pandas as pd
from PIL import Image

from pneumoscope.data.collection import scan_collection
from pneumoscope.data.image import load_image
from pneumoscope.errors import CollectionError, ImageError
from pneumoscope.io.write import atomic_write
from pneumoscope.labels import BINARY_CLASSES
from pneumoscope.progress import log, track

DECODER_VERSION = 1


@dataclass(frozen=True)
class Dataset:
    """Radiographs ready for a net.

    Attributes:
        images: `(n, size, size)` uint8, 0 = black.
        table: `n` rows in the order of `images`, columns as in `Collection.table`.
        skipped: `name` and `reason` of each file left out.
        masks: `(n, size, size)` bool, the lesion's true mask, where it is known (phantoms); else None.
    """

    images: np.ndarray
    table: pd.DataFrame
    skipped: pd.DataFrame
    masks: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.images.ndim != 3 or self.images.dtype != np.uint8:
            raise ValueError(f"images are {self.images.shape} {self.images.dtype}, expected (n, size, size) uint8")
        if len(self.images) != len(self.table):
            raise ValueError(f"{len(self.images)} images and {len(self.table)} rows differ in number")
        if self.masks is not None and self.masks.shape != self.images.shape:
            raise ValueError(f"masks are {self.masks.shape}, expected {self.images.shape}")

    def __len__(self) -> int:
        return len(self.images)

    def select(self, rows: np.ndarray) -> "Dataset":
        """Return the part that a boolean mask or an array of indices names."""
        masks = None if self.masks is None else self.masks[rows]
        table = self.table.iloc[np.arange(len(self))[rows]].reset_index(drop=True)
        return Dataset(self.images[rows], table, self.skipped, masks)

    def rows(self, split: str) -> np.ndarray:
        """Return `(m,)` int, the indices of the images of a split."""
        return np.flatnonzero(self.table["split"].to_numpy() == split)

    def split(self, name: str) -> "Dataset":
        """Return the images of a split."""
        return self.select(self.rows(name))

    def as_split(self, name: str) -> "Dataset":
        """Return the dataset with all its images in one split."""
        return Dataset(self.images, self.table.assign(split=name), self.skipped, self.masks)

    def labels(self, classes: Sequence[str]) -> np.ndarray:
        """Return `(n,)` int64, index into `classes`; -1 where the class of an image is not known."""
        column = "label" if tuple(classes) == BINARY_CLASSES else "subtype"
        index = {name: number for number, name in enumerate(classes)}
        return np.array([index.get(value, -1) for value in self.table[column]], dtype=np.int64)


def load_dataset(
    source: str | os.PathLike[str], *, size: int = 128, cache_dir: str | os.PathLike[str] | None = None
) -> Dataset:
    """Load a folder or manifest of radiographs.

    Args:
        source: see `scan_collection`.
        size: side in pixels that every image is resized to.
        cache_dir: where decoded images are kept by the hash of their file, so that only new or changed
            files are decoded the next time; None decodes all.

    Raises:
        CollectionError: if no radiograph can be read.
    """
    collection = scan_collection(source)
    table = collection.table
    known = _read_cache(cache_dir, size)
    to_decode = [number for number, digest in enumerate(table["sha256"]) if digest not in known]
    with warnings.catch_warnings(), ThreadPoolExecutor() as pool:
        warnings.simplefilter("ignore", UserWarning)  # Pillow on damaged EXIF, whose pixels are sound
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        paths = [table["path"][number] for number in to_decode]
        decoded = pool.map(lambda path: _decode(path, size), paths)
        fresh = dict(zip(to_decode, track(decoded, "Decoding radiographs", total=len(paths)), strict=True))
    skipped = [
        {"name": table["name"][number], "reason": outcome}
        for number, outcome in fresh.items()
        if isinstance(outcome, str)
    ]
    known |= {table["sha256"][number]: outcome for number, outcome in fresh.items() if not isinstance(outcome, str)}
    kept = table["sha256"].isin(known)
    all_skipped = pd.concat([collection.skipped, pd.DataFrame(skipped, columns=["name", "reason"])], ignore_index=True)
    if not kept.any():
        listed = "".join(
            f"\n    {entry['name']}: {entry['reason']}" for entry in all_skipped.head(5).to_dict("records")
        )
        raise CollectionError(f"none of the {len(table)} files in {source} can be read as a radiograph:{listed}")
    images = np.stack([known[digest] for digest in table["sha256"][kept]])
    if len(all_skipped):
        log.warning("%d files were left out; the audit names each with its reason", len(all_skipped))
    dataset = Dataset(images, table[kept].reset_index(drop=True), all_skipped)
    if cache_dir is not None and to_decode:
        _write_cache(cache_dir, size, dataset)
    return dataset


def _decode(path: str, size: int) -> np.ndarray | str:
    try:
        return np.rint(load_image(path, size=size) * 255).astype(np.uint8)
    except ImageError as error:
        return str(error)


def _cache_path(cache_dir: str | os.PathLike[str], size: int) -> Path:
    return Path(cache_dir) / f"images-{size}-v{DECODER_VERSION}.npz"


def _read_cache(cache_dir: str | os.PathLike[str] | None, size: int) -> dict[str, np.ndarray]:
    if cache_dir is None or not _cache_path(cache_dir, size).exists():
        return {}
    try:
        with _cache_path(cache_dir, size).open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            return dict(zip(archive["sha256"].tolist(), archive["images"], strict=True))
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        log.warning("the image cache could not be read (%s) and is made anew", error)
        return {}


def _write_cache(cache_dir: str | os.PathLike[str], size: int, dataset: Dataset) -> None:
    path = _cache_path(cache_dir, size)
    with atomic_write(path) as partial, partial.open("wb") as stream:
        np.savez(stream, sha256=dataset.table["sha256"].to_numpy().astype(str), images=dataset.images)
