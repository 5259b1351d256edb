"""A collection as arrays, aligned with its table."""

import os
import warnings
from collections.abc import Mapping, Sequence
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
from pneumoscope.labels import BINARY_CLASSES
from pneumoscope.progress import log, track

DECODER_VERSION = 1


@dataclass(frozen=True)
class Dataset:
    """Radiographs ready for a model.

    Attributes:
        images: `(n, size, size)` uint8, 0 = black.
        table: `n` rows in the order of `images`, columns as in `Collection.table`.
        skipped: `name` and `reason` of each file left out.
        masks: `(n, size, size)` bool, the true lesions of phantoms; else None.
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

    @property
    def names(self) -> np.ndarray:
        """`(n,)` str, path of each file below the collection's root."""
        return self.table["name"].to_numpy().astype(str)

    @property
    def patients(self) -> np.ndarray:
        """`(n,)` str, the patient of each image."""
        return self.table["patient"].to_numpy().astype(str)

    def select(self, rows: np.ndarray) -> "Dataset":
        """Return the images at a boolean mask or an array of indices."""
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
        return replace(self, table=self.table.assign(split=name))

    def labels(self, classes: Sequence[str]) -> np.ndarray:
        """Return `(n,)` int64, index into `classes`; -1 where the image is of no such class."""
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
        raise CollectionError(f"none of the {len(table)} files in {source} can be read as a radiograph:{reasons}")
    if len(skipped):
        log.warning("%d files were left out; the audit names each with its reason", len(skipped))
    kept = table[table["sha256"].isin(images)].reset_index(drop=True)
    dataset = Dataset(np.stack([images[digest] for digest in kept["sha256"]]), kept, skipped)
    if cache_dir is not None and missing:
        _write_cache(cache_dir, size, dataset)
    return dataset


def _decode_all(paths: Mapping[str, str], size: int) -> dict[str, np.ndarray | str]:
    """Return `(size, size)` uint8, or the reason why there is none, by the key of each path."""
    with warnings.catch_warnings(), ThreadPoolExecutor() as pool:
        warnings.simplefilter("ignore", UserWarning)  # Pillow on damaged EXIF, whose pixels are sound
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
        log.warning("the image cache could not be read (%s) and is made anew", error)
        return {}


def _write_cache(cache_dir: str | os.PathLike[str], size: int, dataset: Dataset) -> None:
    with atomic_write(_cache_path(cache_dir, size)) as partial, partial.open("wb") as stream:
        np.savez(stream, sha256=dataset.table["sha256"].to_numpy().astype(str), images=dataset.images)
