"""How a supported data set names its files and class folders."""

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
    """The names of one data set."""

    classes: Mapping[str, tuple[str, str]]  # label and subtype by the name of a class folder, in lower case
    layout: str  # an example of the folders, for error messages
    parse_name: Callable[[str], ParsedName | None]  # of a file name, None where it is of another scheme
    find_series: Callable[[str], str]  # the series that a file name belongs to, empty where it states none
