"""Audit of a dataset: class counts, label shift, duplicates, leaks, image sizes and exposure."""

import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np
import pandas as pd
from PIL import Image

from pneumoscope.data.dataset import Dataset
from pneumoscope.data.duplicates import find_near_duplicates
from pneumoscope.data.kermany import find_reused_numbers
from pneumoscope.data.splits import find_contradictions
from pneumoscope.io.results import Audit
from pneumoscope.labels import SEPARATOR, LabelSet
from pneumoscope.progress import track

UNSPLIT = "unsplit"
SPLITS = ("train", "val", "test", UNSPLIT)
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)

_LISTED_SIZES = 10
_MIN_VAL_IMAGES = 100
_MIN_SHIFT = 0.05


def audit_dataset(dataset: Dataset) -> Audit:
    """Audit a dataset, before or after splitting.

    Returns:
        Counts by `split/label` (`unsplit` if an image has no split). Duplicates, those between test and another split
        first. Exposure by label: quantiles (5, 25, 50, 75, 95 %) of the mean gray level per image, 0 to 255.
    """
    table, label_set = dataset.table, dataset.label_set
    names, splits = table["name"].tolist(), table["split"].tolist()
    near = find_near_duplicates(dataset.images, table["sha256"].to_numpy())
    near.sort(key=lambda pair: (_rank_splits({splits[pair[0]], splits[pair[1]]}), pair[2]))
    named_splits = table["split"].replace("", UNSPLIT)
    parts = {split: table[named_splits == split] for split in _order(named_splits, SPLITS)}
    shared = table[table["split"] != ""].groupby("patient")["split"].nunique()
    sizes = _read_sizes(table["path"])
    audit = Audit(
        counts={
            f"{split}/{name}": int(rows.sum())
            for split, part in parts.items()
            for name, rows in group_by_label(part, label_set).items()
        },
        patients={split: part["patient"].nunique() for split, part in parts.items()},
        negative_share=_measure_negatives(parts, label_set),
        unreadable=[{str(key): str(text) for key, text in row.items()} for row in dataset.skipped.to_dict("records")],
        exact_duplicates=[[names[index] for index in group] for group in _group_exact_duplicates(table)],
        near_duplicates=[[names[first], names[second]] for first, second, _ in near],
        shared_patients=sorted(shared.index[shared > 1].astype(str)),
        shared_numbers=find_reused_numbers(names, splits),
        sizes=[
            {"width": width, "height": height, "count": count}
            for (width, height), count in sizes.most_common(_LISTED_SIZES)
        ],
        exposure=_measure_exposure(dataset),
        notes=[],
        images={split: len(part) for split, part in parts.items()},
    )
    notes = [
        *_note_splits(parts, label_set),
        *_note_labels(table, label_set),
        *_note_files(audit, table),
        *_note_patients(audit),
        *_note_images(audit, sizes),
    ]
    return replace(audit, notes=notes)


def group_by_label(table: pd.DataFrame, label_set: LabelSet) -> dict[str, np.ndarray]:
    """Return `(n,)` bool for each label that occurs: the images with it.

    The order is that of the classes, then groups. In a multi-label set, images with several findings count for each,
    and those without any for the negative name or `no finding`.
    """
    found = [str(text).split(SEPARATOR) for text in table["label"]]
    if label_set.multi_label:
        found = [[name or label_set.without_finding for name in names] for names in found]
    names = _order((name for row in found for name in row), (*label_set.classes, *label_set.groups))
    return {name: np.array([name in row for row in found]) for name in names}


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
    levels = dataset.images.mean(axis=(1, 2))
    groups = group_by_label(dataset.table, dataset.label_set)
    return {name: [float(level) for level in np.quantile(levels[rows], QUANTILES)] for name, rows in groups.items()}


def _measure_negatives(parts: dict[str, pd.DataFrame], label_set: LabelSet) -> dict[str, float]:
    if label_set.negative is None:
        return {}
    labels = ("", label_set.negative) if label_set.multi_label else (label_set.negative,)
    return {split: float(part["label"].isin(labels).mean()) for split, part in parts.items()}


def _note_labels(table: pd.DataFrame, label_set: LabelSet) -> Iterator[str]:
    if groups := find_contradictions(table, label_set):
        names = " = ".join(str(table["name"][row]) for row in groups[0])
        yield f"Contradictions: files with the same bytes have different labels: {len(groups)} images, such as {names}."


def _note_splits(parts: dict[str, pd.DataFrame], label_set: LabelSet) -> Iterator[str]:
    if "train" in parts and "test" in parts:
        train, test = (group_by_label(parts[split], label_set) for split in ("train", "test"))
        names = [label_set.negative] if label_set.negative is not None else sorted({*train, *test})
        shares = {name: [float(np.mean(part.get(name, 0))) for part in (train, test)] for name in names}
        name, (first, second) = max(shares.items(), key=lambda item: abs(item[1][0] - item[1][1]))
        if abs(first - second) >= _MIN_SHIFT:
            yield f"Label shift: {first:.1%} of train and {second:.1%} of test are {name}."
        for split, part in (("train", train), ("test", test)):
            if missing := [name for name in label_set.classes if name not in part]:
                yield f"No image of {split} is {', '.join(missing)}."
    in_val = len(parts.get("val", ()))
    if 0 < in_val < _MIN_VAL_IMAGES:
        yield f"val has only {in_val} images. Merge it into train and sample a larger validation split by patient."
    if "test" not in parts:
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
