"""Dataset: images as one array, and a table with one row per image."""

import os
import warnings
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import pandas as pd
from PIL import Image

from pneumoscope.data.collection import format_skipped, scan_collection
from pneumoscope.data.image import load_image
from pneumoscope.errors import CollectionError, ImageError
from pneumoscope.io.write import atomic_write
from pneumoscope.labels import LabelSet
from pneumoscope.progress import log, track

DECODER_VERSION = 1


@dataclass(frozen=True)
class Dataset:
    """Decoded radiographs and their table.

    Attributes:
        images: `(n, size, size)` uint8, 0 = black.
        table: `n` rows in the order of `images`, columns as in `Collection.table`.
        skipped: `name` and `reason` of each skipped file.
        label_set: the classes.
        masks: `(n, size, size)` bool, lesion masks of phantoms; None for radiographs.
    """

    images: np.ndarray
    table: pd.DataFrame
    skipped: pd.DataFrame
    label_set: LabelSet
    masks: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.images.ndim != 3 or self.images.dtype != np.uint8:
            raise ValueError(f"images are {self.images.shape} {self.images.dtype}, expected (n, size, size) uint8")
        if len(self.images) != len(self.table):
            raise ValueError(f"table has {len(self.table)} rows, expected one per image ({len(self.images)})")
        if self.masks is not None and self.masks.shape != self.images.shape:
            raise ValueError(f"masks are {self.masks.shape}, expected {self.images.shape}")

    def __len__(self) -> int:
        return len(self.images)

    @property
    def names(self) -> np.ndarray:
        """`(n,)` str, path of each file relative to the collection's root."""
        return self.table["name"].to_numpy().astype(str)

    @property
    def patients(self) -> np.ndarray:
        """`(n,)` str, patient identifier of each image."""
        return self.table["patient"].to_numpy().astype(str)

    def select(self, rows: np.ndarray) -> "Dataset":
        """Return the subset given by a boolean mask or an array of indices."""
        masks = None if self.masks is None else self.masks[rows]
        table = self.table.iloc[np.arange(len(self))[rows]].reset_index(drop=True)
        return replace(self, images=self.images[rows], table=table, masks=masks)

    def rows(self, split: str) -> np.ndarray:
        """Return `(m,)` int, indices of the images of a split."""
        return np.flatnonzero(self.table["split"].to_numpy() == split)

    def split(self, name: str) -> "Dataset":
        """Return the images of a split."""
        return self.select(self.rows(name))

    def as_split(self, name: str) -> "Dataset":
        """Return a copy whose images all belong to the split `name`."""
        return replace(self, table=self.table.assign(split=name))

    def labels(self, label_set: LabelSet | None = None) -> np.ndarray:
        """Return the label of each image.

        Args:
            label_set: the classes to use; by default those of the dataset. See `LabelSet.encode`.

        Returns:
            `(n,)` int64, index of the class; -1 for images of no class. Multi-label: `(n, classes)` int64, 1 = present,
            0 = absent, -1 = unknown.
        """
        label_set = label_set or self.label_set
        if label_set.multi_label:
            return label_set.encode_findings(self.table["label"], self.table["uncertain"])
        return label_set.encode(self.table["label"], self.label_set)


def load_dataset(
    source: str | os.PathLike[str], *, size: int = 128, cache_dir: str | os.PathLike[str] | None = None
) -> Dataset:
    """Load the radiographs of a folder or of a manifest.

    Unreadable files are skipped and listed in `Dataset.skipped`.

    Args:
        source: folder or table (CSV, TSV, Parquet), see `scan_collection`.
        size: side length in pixels; every image is resized to `(size, size)`.
        cache_dir: folder for a cache of decoded images, keyed by the SHA-256 of each file; None disables the cache.

    Raises:
        CollectionError: if the source does not exist, or if no radiograph can be decoded.
    """
    collection = scan_collection(source)
    table = collection.table
    images = _read_cache(cache_dir, size)
    missing = {
        digest: path for digest, path in zip(table["sha256"], table["path"], strict=True) if digest not in images
    }
    decoded = _decode_all(missing, size)
    images |= {digest: pixels for digest, pixels in decoded.items() if not isinstance(pixels, str)}
    unreadable = [
        {"name": name, "reason": decoded[digest]}
        for name, digest in zip(table["name"], table["sha256"], strict=True)
        if digest not in images
    ]
    skipped = pd.DataFrame([*collection.skipped.to_dict("records"), *unreadable], columns=["name", "reason"])
    if len(unreadable) == len(table):
        reasons = format_skipped(skipped.to_dict("records"))
        raise CollectionError(f"none of the {len(table)} files in {source} can be decoded:{reasons}")
    if len(skipped):
        log.warning("%d files were skipped; the audit lists each with its reason", len(skipped))
    kept = table[table["sha256"].isin(images)].reset_index(drop=True)
    dataset = Dataset(np.stack([images[digest] for digest in kept["sha256"]]), kept, skipped)
    if cache_dir is not None and missing:
        _write_cache(cache_dir, size, dataset)
    return dataset


def _decode_all(paths: Mapping[str, str], size: int) -> dict[str, np.ndarray | str]:
    """Return for each key of `paths` a `(size, size)` uint8 image, or the reason why decoding failed."""
    with warnings.catch_warnings(), ThreadPoolExecutor() as pool:
        warnings.simplefilter("ignore", UserWarning)  # Pillow warns about damaged EXIF data; the pixels are intact
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        decoded = pool.map(lambda path: _decode(path, size), paths.values())
        return dict(zip(paths, track(decoded, "Decoding radiographs", total=len(paths)), strict=True))


def _decode(path: str, size: int) -> np.ndarray | str:
    try:
        return load_image(path, size=size)
    except ImageError as error:
        return str(error)


def _cache_path(cache_dir: str | os.PathLike[str], size: int) -> Path:
    return Path(cache_dir) / f"images-{size}-v{DECODER_VERSION}.npz"


def _read_cache(cache_dir: str | os.PathLike[str] | None, size: int) -> dict[str, np.ndarray]:
    if cache_dir is None:
        return {}
    try:
        with _cache_path(cache_dir, size).open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            return dict(zip(archive["sha256"].tolist(), archive["images"], strict=True))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        log.warning("the image cache cannot be read (%s) and is rebuilt", error)
        return {}


def _write_cache(cache_dir: str | os.PathLike[str], size: int, dataset: Dataset) -> None:
    with atomic_write(_cache_path(cache_dir, size)) as partial, partial.open("wb") as stream:
        np.savez(stream, sha256=dataset.table["sha256"].to_numpy().astype(str), images=dataset.images)
