"""What a folder or a table says about each image, before names become classes."""

from dataclasses import dataclass
from pathlib import Path

Skipped = list[dict[str, str]]


@dataclass(frozen=True)
class Entry:
    """One image as its source describes it.

    Attributes:
        path: file.
        name: printable path relative to the source, with `/`.
        present: its label, or all findings that are present, as the source writes them.
        uncertain: findings whose label is unknown.
        patient, split, age, sex, view: empty if unknown.
        folder: folder below the class, a patient or a series; empty if there is none.
    """

    path: Path
    name: str
    present: tuple[str, ...]
    uncertain: tuple[str, ...] = ()
    patient: str = ""
    split: str = ""
    age: str = ""
    sex: str = ""
    view: str = ""
    folder: str = ""


@dataclass(frozen=True)
class Listing:
    """All images of a source.

    Attributes:
        entries: the images with a label.
        skipped: `name` and `reason` of the others.
        multi_label: whether an image can have several labels.
        findings: names of the columns, in a table with one column for each finding.
        left_out: labels of images that are not to be used.
    """

    entries: list[Entry]
    skipped: Skipped
    multi_label: bool = False
    findings: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
