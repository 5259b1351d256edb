"""What a collection holds and what is wrong with it: counts, shifts, duplicates, leaks, sizes and exposures."""

import warnings
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

import numpy as np
import pandas as pd
from PIL import Image

from pneumoscope.data.collection import parse_name
from pneumoscope.data.dataset import Dataset
from pneumoscope.io.results import Audit
from pneumoscope.progress import track

SPLITS = ("train", "val", "test", "")
SUBTYPES = ("normal", "bacterial", "viral", "unknown")
UNSPLIT = "unsplit"
MAX_DISTANCE = 8
MIN_CORRELATION = 0.975
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)

_LISTED_SIZES = 10
_MIN_VAL_IMAGES = 100
_SHIFT_WORTH_NOTING = 0.05
_PAIRS_AT_ONCE = 1 << 22
_CORRELATIONS_AT_ONCE = 256


@dataclass(frozen=True)
class NearDuplicate:
    """Two images that show the same film though their files differ.

    Attributes:
        first, second: index into the images, `first < second`.
        correlation: of their pixels, in [-1, 1].
    """

    first: int
    second: int
    correlation: float


def audit_dataset(dataset: Dataset, *, max_distance: int = MAX_DISTANCE) -> Audit:
    """Audit a dataset, as loaded or already split.

    Args:
        dataset: with the files it left out; sizes are read from the headers of the files it names, if any.
        max_distance: see `find_near_duplicates`.

    Returns:
        Counts by `split/subtype` (`unsplit` where there is no split); duplicates that cross from train or
        val to test first; exposures as quantiles (5, 25, 50, 75, 95 %) of the mean gray level of an image, 0 to 255.
    """
    table = dataset.table
    exact = _group_exact_duplicates(table)
    near = find_near_duplicates(dataset.images, table["sha256"].to_numpy(), max_distance=max_distance)
    names, splits = table["name"].tolist(), table["split"].tolist()
    near.sort(key=lambda pair: (_rank_splits({splits[pair.first], splits[pair.second]}), -pair.correlation))
    sizes = _read_sizes(table)
    audit = Audit(
        counts=_count_images(table),
        patients={_name_split(split): len(set(part["patient"])) for split, part in _iterate_splits(table)},
        normal_share={
            _name_split(split): float((part["label"] == "normal").mean()) for split, part in _iterate_splits(table)
        },
        unreadable=[{"name": str(name), "reason": str(reason)} for name, reason in _iterate_skipped(dataset)],
        exact_duplicates=[[names[index] for index in group] for group in exact],
        near_duplicates=[[names[pair.first], names[pair.second]] for pair in near],
        shared_patients=_find_shared_patients(table),
        shared_numbers=_find_shared_numbers(table),
        sizes=[
            {"width": width, "height": height, "count": count}
            for (width, height), count in sizes.most_common(_LISTED_SIZES)
        ],
        exposure=_measure_exposure(dataset),
        notes=[],
    )
    notes = (*_note_splits(audit), *_note_files(audit, table), *_note_patients(audit), *_note_pictures(audit, sizes))
    return replace(audit, notes=list(notes))


def find_near_duplicates(
    images: np.ndarray,
    sha256: np.ndarray,
    *,
    max_distance: int = MAX_DISTANCE,
    min_correlation: float = MIN_CORRELATION,
) -> list[NearDuplicate]:
    """Find images that show the same film in another file: re-encoded, re-sized, or of another brightness.

    Two 64-bit perceptual hashes (DCT and gradient, as in the ImageHash package) propose pairs; pixels decide. On
    the public data set the hashes of such copies differ in at most 8 bits and their pixels correlate above
    0.98; among all pairs of different films the highest correlation is 0.968. Copies that were cropped, shifted or
    rotated by more than a degree are not found.

    Args:
        images: `(n, H, W)` uint8.
        sha256: `(n,)` str, hash of each file: of exact duplicates only the first takes part.
        max_distance: bits that may differ in either hash, 0 to 64.
        min_correlation: of the pixels, in (0, 1].
    """
    rows = np.sort(np.unique(sha256, return_index=True)[1])
    perceptual, gradient = _hash_images(images[rows])
    pixels = images[rows].reshape(len(rows), -1)
    found = []
    step = max(1, _PAIRS_AT_ONCE // max(1, len(rows)))
    for start in track(range(0, len(rows), step), "Comparing images"):
        near = np.bitwise_count(perceptual[start : start + step, None] ^ perceptual) <= max_distance
        near &= np.bitwise_count(gradient[start : start + step, None] ^ gradient) <= max_distance
        first, second = np.nonzero(near)
        first, second = first[first + start < second] + start, second[first + start < second]
        for part in range(0, len(first), _CORRELATIONS_AT_ONCE):
            chosen = slice(part, part + _CORRELATIONS_AT_ONCE)
            correlation = _correlate(pixels[first[chosen]], pixels[second[chosen]])
            for index in np.flatnonzero(correlation >= min_correlation):
                pair = int(rows[first[part + index]]), int(rows[second[part + index]])
                found.append(NearDuplicate(*pair, float(correlation[index])))
    return found


def _hash_images(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return two hashes of each image, `(n,)` uint64 each."""
    import imagehash

    bits: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    for pixels in track(images, "Hashing images", total=len(images)):
        image = Image.fromarray(pixels)
        bits[0].append(imagehash.phash(image).hash.ravel())
        bits[1].append(imagehash.dhash(image).hash.ravel())
    perceptual, gradient = (np.packbits(np.array(kind, dtype=bool).reshape(-1, 64), axis=1) for kind in bits)
    return perceptual.view(np.uint64).ravel(), gradient.view(np.uint64).ravel()


def _correlate(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    sides = [side.astype(np.float32) for side in (first, second)]
    for side in sides:
        side -= side.mean(axis=1, keepdims=True)
    norms = np.linalg.norm(sides[0], axis=1) * np.linalg.norm(sides[1], axis=1)
    products = (sides[0] * sides[1]).sum(axis=1)
    return np.divide(products, norms, out=np.zeros_like(products), where=norms > 0)


def _iterate_splits(table: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    for split in (*SPLITS, *sorted(set(table["split"]) - set(SPLITS))):
        part = table[table["split"] == split]
        if len(part):
            yield split, part


def _name_split(split: str) -> str:
    return split or UNSPLIT


def _iterate_skipped(dataset: Dataset) -> Iterator[tuple[str, str]]:
    return zip(dataset.skipped["name"], dataset.skipped["reason"], strict=True)


def _count_images(table: pd.DataFrame) -> dict[str, int]:
    counts: dict[str, int] = {}
    for split, part in _iterate_splits(table):
        number = part["subtype"].value_counts()
        counts |= {f"{_name_split(split)}/{name}": int(number[name]) for name in SUBTYPES if name in number}
    return counts


def _rank_splits(splits: set[str]) -> int:
    """Return 0 for what crosses to test, 1 for what crosses otherwise, 2 for what stays in one split."""
    if len(splits) == 1:
        return 2
    return 0 if "test" in splits else 1


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


def _find_shared_numbers(table: pd.DataFrame) -> list[str]:
    """Return the `person` numbers that train and test both use, though test numbers its patients anew."""
    numbers: dict[bool, set[str]] = {True: set(), False: set()}
    for name, split in zip(table["name"], table["split"], strict=True):
        parsed = parse_name(PurePosixPath(name).name)
        if parsed is not None and parsed.patient.startswith("person") and split:
            numbers[split == "test"].add(parsed.patient)
    return sorted(numbers[True] & numbers[False], key=lambda number: (len(number), number))


def _read_sizes(table: pd.DataFrame) -> Counter[tuple[int, int]]:
    sizes: Counter[tuple[int, int]] = Counter()
    paths = [path for path in table["path"] if path]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # Pillow on damaged EXIF, which tells no size
        for path in track(paths, "Reading sizes"):
            try:
                with Image.open(path) as image:
                    sizes[image.size] += 1
            except OSError:
                continue  # the file went away after it was decoded; its pixels are still in the dataset
    return sizes


def _measure_exposure(dataset: Dataset) -> dict[str, list[float]]:
    levels, subtypes = dataset.images.mean(axis=(1, 2)), dataset.table["subtype"].to_numpy()
    return {
        name: [float(level) for level in np.quantile(levels[subtypes == name], QUANTILES)]
        for name in SUBTYPES
        if (subtypes == name).any()
    }


def _note_splits(audit: Audit) -> Iterator[str]:
    share = audit.normal_share
    if "train" in share and "test" in share and abs(share["train"] - share["test"]) >= _SHIFT_WORTH_NOTING:
        yield (
            f"Prior shift: {share['train']:.1%} of train but {share['test']:.1%} of test are normal. A net that has "
            "learned the share of train calls the wrong class too often in test."
        )
    in_val = sum(number for name, number in audit.counts.items() if name.startswith("val/"))
    if 0 < in_val < _MIN_VAL_IMAGES:
        yield f"val holds {in_val} images: too few to choose anything by. Join them to train and split anew by patient."
    if "test" not in share:
        yield "There is no test split: figures on these images need one that is set aside by patient."


def _note_files(audit: Audit, table: pd.DataFrame) -> Iterator[str]:
    if audit.unreadable:
        yield f"Files left out: {len(audit.unreadable)}, each listed with its reason."
    split_of = dict(zip(table["name"], table["split"], strict=True))
    patient_of = dict(zip(table["name"], table["patient"], strict=True))
    if audit.exact_duplicates:
        groups = audit.exact_duplicates
        strangers = sum(len({patient_of[name] for name in group}) > 1 for group in groups)
        yield (
            f"Groups of files with the same bytes: {len(groups)}, of {sum(map(len, groups))} files in all; "
            f"{_word_crossing(groups, split_of)}. Groups whose names tell different patients: {strangers}."
        )
    else:
        yield "No two files have the same bytes."
    if audit.near_duplicates:
        pairs = audit.near_duplicates
        yield f"Pairs of different files that show the same film: {len(pairs)}; {_word_crossing(pairs, split_of)}."
    else:
        yield "No two different files show the same film."


def _word_crossing(groups: list[list[str]], split_of: dict[str, str]) -> str:
    number = sum(len({split_of[name] for name in group}) > 1 for group in groups)
    return f"{number} across splits, which leaks" if number else "none across splits"


def _note_patients(audit: Audit) -> Iterator[str]:
    if audit.shared_patients:
        yield (
            f"Patients in more than one split: {len(audit.shared_patients)}. What is learned from one side helps on "
            "the other."
        )
    elif len(audit.patients) > 1:
        yield "No patient stands in more than one split."
    if audit.shared_numbers:
        yield (
            f"Person numbers both in train and in test: {len(audit.shared_numbers)}. The older release seems to number "
            "the patients of test anew, so these count as different children; the names cannot prove it."
        )


def _note_pictures(audit: Audit, sizes: Counter[tuple[int, int]]) -> Iterator[str]:
    if len(sizes) > 1:
        widths, heights = zip(*sizes, strict=True)
        yield (
            f"Sizes: {len(sizes)} different ones, {min(widths)} to {max(widths)} pixels wide and {min(heights)} to "
            f"{max(heights)} high."
        )
    medians = {name: levels[len(QUANTILES) // 2] for name, levels in audit.exposure.items()}
    if len(medians) > 1:
        darkest, brightest = min(medians, key=lambda name: medians[name]), max(medians, key=lambda name: medians[name])
        yield (
            f"Exposure: the median {brightest} image is {medians[brightest] - medians[darkest]:.0f} gray levels (of "
            f"255) brighter than the median {darkest} one; a net can use that instead of the lungs."
        )
