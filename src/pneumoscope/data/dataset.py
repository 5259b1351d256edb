"""Dataset: images as one array, and a table with one row per image."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from pneumoscope.data.cache import decode_images, take_images
from pneumoscope.data.collection import format_skipped, scan_collection, warn_skipped
from pneumoscope.data.label_options import LabelOptions
from pneumoscope.errors import CollectionError
from pneumoscope.labels import UNKNOWN, LabelSet, fold_name
from pneumoscope.progress import log

if TYPE_CHECKING:
    import tensorflow as tf
    import torch


@dataclass(frozen=True)
class Dataset:
    """Decoded radiographs and their table; `dataset[10:20]` and `dataset[mask]` are parts of it.

    Attributes:
        images: `(n, size, size)` uint8, 0 = black. More than 2 GiB are mapped from a file and not held in memory.
        table: `n` rows in the order of `images`, columns as in `Collection.table`.
        skipped: `name` and `reason` of each skipped file.
        label_set: the classes.
        masks: `(n, size, size)` bool, lesion masks of phantoms; None for radiographs.
        known_set: name of the known data set, see `KNOWN_SETS`; empty for another one.
    """

    images: np.ndarray
    table: pd.DataFrame
    skipped: pd.DataFrame
    label_set: LabelSet
    masks: np.ndarray | None = None
    known_set: str = ""

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

    def select(self, rows: int | slice | np.ndarray) -> "Dataset":
        """Return the subset given by a boolean mask, indices or a slice; one index gives a set of one image."""
        indices = np.atleast_1d(np.arange(len(self))[rows])
        masks = None if self.masks is None else self.masks[indices]
        table = self.table.iloc[indices].reset_index(drop=True)
        return replace(self, images=take_images(self.images, indices), table=table, masks=masks)

    __getitem__ = select

    def rows(self, split: str) -> np.ndarray:
        """Return `(m,)` int, indices of the images of a split."""
        return np.flatnonzero(self.table["split"].to_numpy() == split)

    def split(self, name: str) -> "Dataset":
        """Return the images of a split."""
        return self.select(self.rows(name))

    @property
    def train(self) -> "Dataset":
        """The images of the split `train`."""
        return self.split("train")

    @property
    def val(self) -> "Dataset":
        """The images of the split `val`."""
        return self.split("val")

    @property
    def test(self) -> "Dataset":
        """The images of the split `test`."""
        return self.split("test")

    def at_size(self, size: int) -> "Dataset":
        """Return a copy with images of another size, from their files.

        Raises:
            CollectionError: if a file is missing or damaged, or the images are no files.
        """
        if self.images.shape[1] == size:
            return self
        digests = self.table["sha256"]
        images, rows, _ = decode_images(dict(zip(digests, self.table["path"], strict=True)), size)
        if len(rows) < digests.nunique():
            side = self.images.shape[1]
            raise CollectionError(f"the images have {side} pixels and cannot be read again; expected size {size}")
        return replace(self, images=take_images(images, digests.map(rows).to_numpy()), masks=None)

    def as_split(self, name: str) -> "Dataset":
        """Return a copy whose images all belong to the split `name`."""
        return replace(self, table=self.table.assign(split=name))

    def labels(self, label_set: LabelSet | None = None) -> np.ndarray:
        """Return the label of each image.

        Args:
            label_set: the classes to use; by default those of the dataset. See `LabelSet.encode`.

        Returns:
            `(n,)` int64, index of the class; -1 for images of no class. Multi-label: `(n, classes)` int64, 1 = present,
            0 = absent, -1 = unknown, also for findings that the dataset does not list.
        """
        label_set = label_set or self.label_set
        if label_set.multi_label:
            labels = label_set.encode_findings(self.table["label"], self.table["uncertain"])
            known = {fold_name(name) for name in self.label_set.classes}
            labels[:, [fold_name(name) not in known for name in label_set.classes]] = UNKNOWN
            return labels
        return label_set.encode(self.table["label"], self.label_set)

    @property
    def targets(self) -> np.ndarray:
        """`(n, classes)` float32, 1 for each class of an image, else 0; -1 where a class or a finding is unknown."""
        labels = self.labels()
        if not self.label_set.multi_label:
            classes = np.arange(len(self.label_set.classes))
            labels = np.where(labels[:, None] == UNKNOWN, UNKNOWN, labels[:, None] == classes)
        return labels.astype(np.float32)

    def to_tf(self) -> "tf.data.Dataset":
        """Return the labeled images for TensorFlow: `(size, size, 1)` uint8 and int64 labels as of `labels`.

        Images are read one by one, in the order of the table; shuffle and batch them with the methods of `tf.data`.
        """
        import tensorflow as tf

        labels, rows = self._find_labeled()

        def read() -> Iterator[tuple[np.ndarray, np.ndarray]]:
            for row in rows:
                yield self.images[row][..., None], labels[row]

        specs = (tf.TensorSpec((*self.images.shape[1:], 1), tf.uint8), tf.TensorSpec(labels.shape[1:], tf.int64))
        return tf.data.Dataset.from_generator(read, output_signature=specs).apply(
            tf.data.experimental.assert_cardinality(len(rows))
        )

    def to_torch(self) -> "torch.utils.data.Dataset":
        """Return the labeled images for PyTorch: `(1, size, size)` float32 in [0, 1], int64 labels as of `labels`."""
        import torch

        labels, rows = self._find_labeled()
        images = self.images

        class Radiographs(torch.utils.data.Dataset):  # type: ignore[misc]  # torch is not installed
            def __len__(self) -> int:
                return len(rows)

            def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
                row = rows[index]
                return torch.from_numpy(np.asarray(images[row], np.float32)[None] / 255), torch.as_tensor(labels[row])

        return Radiographs()

    def _find_labeled(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the labels, and the rows of images with a class."""
        labels = self.labels()
        rows = np.flatnonzero((labels != UNKNOWN).reshape(len(self), -1).any(axis=1))
        if len(rows) < len(self):
            log.warning("%d images without a known class are left out", len(self) - len(rows))
        return labels, rows


def load_dataset(
    source: str | os.PathLike[str],
    *,
    size: int = 128,
    cache_dir: str | os.PathLike[str] | None = None,
    options: LabelOptions | None = None,
) -> Dataset:
    """Load the radiographs of a folder or of a table: JPEG, PNG and DICOM.

    Files that cannot be read, and DICOM files whose header does not describe a frontal chest radiograph, are skipped
    and listed in `Dataset.skipped`.

    Args:
        source: folder or table (CSV, TSV, Parquet), see `scan_collection`.
        size: side length in pixels; every image is resized to `(size, size)`.
        cache_dir: folder for a cache of decoded images, keyed by the SHA-256 of each file; None disables the cache. An
            interrupted run continues where it stopped.
        options: classes, names of columns, and other choices; see `LabelOptions`.

    Raises:
        CollectionError: if the source does not exist, or if no radiograph can be decoded.
        LabelError: if the labels do not form a label set.

    Example:
        >>> import tempfile
        >>> import pneumoscope as ps
        >>> folder = ps.write_phantoms(tempfile.mkdtemp(), num_train=6, num_test=3, size=64)
        >>> dataset = ps.load_dataset(folder, size=96)
        >>> len(dataset), dataset.label_set.classes, dataset[2:4].images.shape, len(dataset.test)
        (9, ('normal', 'bacterial', 'viral'), (2, 96, 96), 3)
    """
    collection = scan_collection(source, options=options)
    table = collection.table
    images, rows, reasons = decode_images(dict(zip(table["sha256"], table["path"], strict=True)), size, cache_dir)
    unreadable = [
        {"name": name, "reason": reasons[digest]}
        for name, digest in zip(table["name"], table["sha256"], strict=True)
        if digest not in rows
    ]
    skipped = pd.DataFrame([*collection.skipped.to_dict("records"), *unreadable], columns=["name", "reason"])
    if len(unreadable) == len(table):
        reason = format_skipped(skipped.to_dict("records"))
        raise CollectionError(f"none of the {len(table)} files in {source} can be decoded:{reason}")
    warn_skipped(unreadable)
    kept = table[table["sha256"].isin(rows)].reset_index(drop=True)
    taken = take_images(images, kept["sha256"].map(rows).to_numpy())
    return Dataset(taken, kept, skipped, collection.label_set, known_set=collection.known_set)
