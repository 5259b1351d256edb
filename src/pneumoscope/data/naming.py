"""How a known data set names its files and class folders."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class ParsedName:
    """Patient and class by a file name; `renumbered` where the test folder numbers its patients anew."""

    patient: str
    subtype: str
    renumbered: bool


@dataclass(frozen=True)
class NamingScheme:
    """The names of one data set.

    Attributes:
        classes: label and subtype by the name of a class folder, in lower case.
        layout: an example of the folders, for error messages.
        parse_name: reads a file name, None where it is of another scheme.
        find_series: the series of files that a file name belongs to, empty where it states none.
    """

    classes: Mapping[str, tuple[str, str]]
    layout: str
    parse_name: Callable[[str], ParsedName | None]
    find_series: Callable[[str], str]
