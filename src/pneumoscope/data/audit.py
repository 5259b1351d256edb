"""Audit of a dataset: class counts, label shift, duplicates, leaks, image sizes and exposure."""

import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np
import pandas as pd
from PIL import Image

from pneumoscope.data.dataset import Dataset
from pneumoscope.data.kermany import find_reused_numbers
from pneumoscope.io.results import Audit
from pneumoscope.labels import THREE_CLASSES
from pneumoscope.progress import track

UNSPLIT = "unsplit"
SPLITS = ("train", "val", "test", UNSPLIT)
SUBTYPES = (*THREE_CLASSES, "unknown")
MAX_DISTANCE = 8
MIN_CORRELATION = 0.975
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)

_LISTED_SIZES = 10
_MIN_VAL_IMAGES = 100
_MIN_SHIFT = 0.05
_PAIRS_AT_ONCE = 1 << 22
_CORRELATIONS_AT_ONCE = 256


def audit_dataset(dataset: Dataset) -> Audit:
    """Audit a dataset, before or after splitting.

    Returns:
        Counts by `split/subtype` (`unsplit` if an image has no split). Duplicates, those between test and another split
        first. Exposure by subtype: quantiles (5, 25, 50, 75, 95 %) of the mean gray level per image, 0 to 255.
    """
    table = dataset.table
    names, splits = table["name"].tolist(), table["split"].tolist()
    near = find_near_duplicates(dataset.images, table["sha256"].to_numpy())
    near.sort(key=lambda pair: (_rank_splits({splits[pair[0]], splits[pair[1]]}), -pair[2]))
    named_splits = table["split"].replace("", UNSPLIT)
    parts = {split: table[named_splits == split] for split in _order(named_splits, SPLITS)}
    sizes = _read_sizes(table["path"])
    audit = Audit(
        counts={
            f"{split}/{subtype}": int((part["subtype"] == subtype).sum())
            for split, part in parts.items()
            for subtype in _order(part["subtype"], SUBTYPES)
        },
        patients={split: part["patient"].nunique() for split, part in parts.items()},
        normal_share={split: float((part["label"] == "normal").mean()) for split, part in parts.items()},
        unreadable=[
            {"name": str(name), "reason": str(reason)}
            for name, reason in zip(dataset.skipped["name"], dataset.skipped["reason"], strict=True)
        ],
        exact_duplicates=[[names[index] for index in group] for group in _group_exact_duplicates(table)],
        near_duplicates=[[names[first], names[second]] for first, second, _ in near],
        shared_patients=_find_shared_patients(table),
        shared_numbers=find_reused_numbers(names, splits),
        sizes=[
            {"width": width, "height": height, "count": count}
            for (width, height), count in sizes.most_common(_LISTED_SIZES)
        ],
        exposure=_measure_exposure(dataset),
        notes=[],
    )
    notes = [*_note_splits(audit), *_note_files(audit, table), *_note_patients(audit), *_note_images(audit, sizes)]
    return replace(audit, notes=notes)


def find_near_duplicates(
    images: np.ndarray, sha256: np.ndarray, *, max_distance: int = MAX_DISTANCE
) -> list[tuple[int, int, float]]:
    """Find near-duplicates: copies of a radiograph that were re-encoded, resized or changed in brightness.

    Two 64-bit perceptual hashes (pHash and dHash of ImageHash) select candidate pairs. A pair is a near-duplicate if
    its pixel correlation is at least 0.975. On the Kermany data set, hashes of near-duplicates differ in at most 8 bits
    and their pixels correlate above 0.98; the highest correlation of different radiographs is 0.968. Copies that were
    cropped, shifted, or rotated by more than one degree are not detected.

    Args:
        images: `(n, H, W)` uint8.
        sha256: `(n,)` str, SHA-256 of each file; only the first of several exact duplicates is compared.
        max_distance: maximum Hamming distance of either hash, 0 to 64.

    Returns:
        One `(first, second, correlation)` per pair: indices with `first < second`, and the pixel correlation.
    """
    rows = np.sort(np.unique(sha256, return_index=True)[1])
    perceptual, gradient = _hash_images(images[rows])
    pixels = images[rows].reshape(len(rows), -1)
    duplicates = []
    step = max(1, _PAIRS_AT_ONCE // max(1, len(rows)))
    for start in track(range(0, len(rows), step), "Comparing images"):
        near = np.bitwise_count(perceptual[start : start + step, None] ^ perceptual) <= max_distance
        near &= np.bitwise_count(gradient[start : start + step, None] ^ gradient) <= max_distance
        first, second = np.nonzero(near)
        first, second = first[first + start < second] + start, second[first + start < second]
        for part in range(0, len(first), _CORRELATIONS_AT_ONCE):
            chosen = slice(part, part + _CORRELATIONS_AT_ONCE)
            correlation = _correlate(pixels[first[chosen]], pixels[second[chosen]])
            for index in np.flatnonzero(correlation >= MIN_CORRELATION):
                pair = int(rows[first[part + index]]), int(rows[second[part + index]])
                duplicates.append((*pair, float(correlation[index])))
    return duplicates


def _hash_images(images: np.ndarray) -> list[np.ndarray]:
    """Return the perceptual and the gradient hash of each image, `(n,)` uint64 each."""
    import imagehash

    bits = np.empty((2, len(images), 64), bool)
    for index, pixels in enumerate(track(images, "Hashing images", total=len(images))):
        image = Image.fromarray(pixels)
        bits[:, index] = [hash_image(image).hash.ravel() for hash_image in (imagehash.phash, imagehash.dhash)]
    return list(np.packbits(bits, axis=2).view(np.uint64)[..., 0])


def _correlate(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    sides = [side.astype(np.float32) for side in (first, second)]
    for side in sides:
        side -= side.mean(axis=1, keepdims=True)
    norms = np.linalg.norm(sides[0], axis=1) * np.linalg.norm(sides[1], axis=1)
    products = (sides[0] * sides[1]).sum(axis=1)
    correlations: np.ndarray = np.divide(products, norms, out=np.zeros_like(products), where=norms > 0)
    return correlations


def _order(names: Iterable[str], first: tuple[str, ...]) -> list[str]:
    """Return the distinct names, first those in `first` in its order, then all others sorted."""
    distinct = set(names)
    return [*(name for name in first if name in distinct), *sorted(distinct - set(first))]


def _rank_splits(splits: set[str]) -> int:
    """Return the severity rank: 0 = test and another split, 1 = other splits, 2 = a single split."""
    return 2 if len(splits) == 1 else int("test" not in splits)


def _group_exact_duplicates(table: pd.DataFrame) -> list[list[int]]:
    groups = defaultdict(list)
    for index, digest in enumerate(table["sha256"]):
        groups[digest].append(index)
    splits = table["split"].tolist()
    repeated = [group for digest, group in groups.items() if digest and len(group) > 1]
    return sorted(repeated, key=lambda group: _rank_splits({splits[index] for index in group}))


def _find_shared_patients(table: pd.DataFrame) -> list[str]:
    official = table[table["split"] != ""]
    number = official.groupby("patient")["split"].nunique()
    return sorted(str(patient) for patient in number.index[number > 1])


def _read_sizes(paths: Iterable[str]) -> Counter[tuple[int, int]]:
    sizes: Counter[tuple[int, int]] = Counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # Pillow warns about damaged EXIF data; the size is not affected
        for path in track([path for path in paths if path], "Reading sizes"):
            try:
                with Image.open(path) as image:
                    sizes[image.size] += 1
            except OSError:
                continue  # the file was removed after decoding; its pixels are still in the dataset
    return sizes


def _measure_exposure(dataset: Dataset) -> dict[str, list[float]]:
    levels, subtypes = dataset.images.mean(axis=(1, 2)), dataset.table["subtype"].to_numpy()
    return {
        name: [float(level) for level in np.quantile(levels[subtypes == name], QUANTILES)]
        for name in _order(subtypes, SUBTYPES)
    }


def _note_splits(audit: Audit) -> Iterator[str]:
    share = audit.normal_share
    if "train" in share and "test" in share and abs(share["train"] - share["test"]) >= _MIN_SHIFT:
        yield f"Label shift: {share['train']:.1%} of train and {share['test']:.1%} of test are normal."
    in_val = sum(number for name, number in audit.counts.items() if name.startswith("val/"))
    if 0 < in_val < _MIN_VAL_IMAGES:
        yield f"val has only {in_val} images. Merge it into train and sample a larger validation split by patient."
    if "test" not in share:
        yield "There is no test split. Sample one by patient before you report metrics."


def _note_files(audit: Audit, table: pd.DataFrame) -> Iterator[str]:
    if audit.unreadable:
        yield f"Skipped files: {len(audit.unreadable)}, each listed with its reason."
    split_of = dict(zip(table["name"], table["split"], strict=True))
    patient_of = dict(zip(table["name"], table["patient"], strict=True))
    if groups := audit.exact_duplicates:
        mixed = sum(len({patient_of[name] for name in group}) > 1 for group in groups)
        yield (
            f"Exact duplicates: {len(groups)} groups with {sum(map(len, groups))} files; "
            f"{_describe_leaks(groups, split_of)}. Groups with more than one patient: {mixed}."
        )
    else:
        yield "Exact duplicates: none."
    if pairs := audit.near_duplicates:
        yield (f"Near-duplicates: {len(pairs)} pairs; {_describe_leaks(pairs, split_of)}.")
    else:
        yield "Near-duplicates: none."


def _describe_leaks(groups: list[list[str]], split_of: dict[str, str]) -> str:
    number = sum(len({split_of[name] for name in group}) > 1 for group in groups)
    return f"{number} across splits (leak)" if number else "none across splits"


def _note_patients(audit: Audit) -> Iterator[str]:
    if audit.shared_patients:
        yield f"Patients in more than one split: {len(audit.shared_patients)} (leak)."
    elif len(audit.patients) > 1:
        yield "Patients in more than one split: none."
    if audit.shared_numbers:
        yield (
            f"Person numbers in test and in another split: {len(audit.shared_numbers)}. The Kaggle release seems to "
            "restart its numbering in test. Equal numbers therefore count as different patients."
        )


def _note_images(audit: Audit, sizes: Counter[tuple[int, int]]) -> Iterator[str]:
    if len(sizes) > 1:
        (left, right), (low, high) = [(min(sides), max(sides)) for sides in zip(*sizes, strict=True)]
        yield f"Image sizes: {len(sizes)} different, width {left} to {right} pixels, height {low} to {high} pixels."
    medians = sorted((levels[len(QUANTILES) // 2], name) for name, levels in audit.exposure.items())
    if len(medians) > 1:
        (darkest, dark), (brightest, bright) = medians[0], medians[-1]
        yield (
            f"Exposure: the median {bright} image is {brightest - darkest:.0f} of 255 gray levels brighter than the "
            f"median {dark} image. A model can learn this shortcut."
        )
