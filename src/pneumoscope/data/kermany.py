"""Naming scheme of "Chest X-Ray Images (Pneumonia)" (Kermany, Zhang and Goldbaum 2018), both releases."""

import re
from collections.abc import Iterable
from typing import NamedTuple

from pneumoscope.labels import LabelSet

KERMANY_LABELS = LabelSet(("normal", "bacterial", "viral"), "normal", {"pneumonia": ("bacterial", "viral")})

KERMANY_WORDS = {name: name for name in ("normal", "pneumonia", "bacterial", "viral")} | {
    "bacteria": "bacterial",
    "virus": "viral",
}

_SERIES = re.compile(r"((?:[A-Za-z]+\d*-)?[A-Za-z]+)")
_KAGGLE_PNEUMONIA = re.compile(r"person(\d+)_(bacteria|virus)_\d+", re.IGNORECASE)
_KAGGLE_NORMAL = re.compile(r"(?:NORMAL2-)?IM-(\d+)-\d+", re.IGNORECASE)
_MENDELEY = re.compile(r"(BACTERIA|VIRUS|NORMAL)-(\d+)-\d+", re.IGNORECASE)


class ParsedName(NamedTuple):
    """Patient and class of a file name; `renumbered` if the test folder reuses patient numbers for other patients."""

    patient: str
    label: str
    renumbered: bool


def parse_name(file_name: str) -> ParsedName | None:
    """Return the patient and class of a file name of either release, or None for other names.

    Example:
        >>> parse_name("person1_virus_6.jpeg")
        ParsedName(patient='person1', label='viral', renumbered=True)
    """
    if match := _KAGGLE_PNEUMONIA.match(file_name):
        return ParsedName(f"person{int(match[1])}", KERMANY_WORDS[match[2].lower()], True)
    if match := _MENDELEY.match(file_name):
        return ParsedName(match[2], KERMANY_WORDS[match[1].lower()], False)
    if match := _KAGGLE_NORMAL.match(file_name):
        return ParsedName(f"IM-{int(match[1]):04d}", "normal", True)
    return None


def find_series(file_name: str) -> str:
    """Return the leading letters of a file name, such as `IM`, `NORMAL2-IM` or `person`."""
    match = _SERIES.match(file_name)
    return match[1] if match else ""


def find_reused_numbers(names: Iterable[str], splits: Iterable[str]) -> list[str]:
    """Return the `person` numbers that occur both in the test split and in another split.

    The Kaggle release seems to restart its numbering in the test folder. A shared number does not prove a leak.

    Args:
        names: `(n,)` file names, with `/` between folders.
        splits: `(n,)`, `train`, `val`, `test` or empty; files without a split are ignored.
    """
    numbers: dict[bool, set[str]] = {True: set(), False: set()}
    for name, split in zip(names, splits, strict=True):
        parsed = parse_name(name.rpartition("/")[2])
        if parsed is not None and parsed.patient.startswith("person") and split:
            numbers[split == "test"].add(parsed.patient)
    return sorted(numbers[True] & numbers[False], key=lambda number: (len(number), number))
