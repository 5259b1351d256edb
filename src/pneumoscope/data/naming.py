"""Naming schemes: class, patient and series from the names of files and folders."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class ParsedName:
    """Patient and subtype parsed from a file name.

    Attributes:
        patient: patient identifier, such as `person1`.
        subtype: such as `normal` or `viral`.
        renumbered: whether the test folder reuses patient numbers for other patients.
    """

    patient: str
    subtype: str
    renumbered: bool


@dataclass(frozen=True)
class NamingScheme:
    """Naming scheme of one data set.

    Attributes:
        classes: lower-case name of a class folder to `(label, subtype)`.
        layout: example of the folder layout, for error messages.
        parse_name: parses a file name; returns None if the name does not follow the scheme.
        find_series: returns the series of a file name; empty if the name has none.
    """

    classes: Mapping[str, tuple[str, str]]
    layout: str
    parse_name: Callable[[str], ParsedName | None]
    find_series: Callable[[str], str]
