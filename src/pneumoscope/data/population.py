"""The population of a data set: measured from its table, or else stated by the description of a known set."""

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING

import numpy as np

from pneumoscope.data.known_sets import KNOWN_SETS
from pneumoscope.progress import log

if TYPE_CHECKING:
    import pandas as pd

UNKNOWN = "unknown"
MAX_AGE = 120  # ages above are errors of the table


@dataclass(frozen=True)
class Statement:
    """One property of a population.

    Attributes:
        text: the property in words; `unknown` if nothing states it.
        source: the images that it was measured on, or the description that states it; empty if unknown.
        values: the measured numbers: `minimum`, `median` and `maximum` of the age in years; images by value of others.
    """

    text: str = UNKNOWN
    source: str = ""
    values: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Population:
    """The patients and radiographs of a data set; what is not known is `unknown`.

    Attributes:
        age: in years.
        sex, view, modality, body_part: as the table or the DICOM header writes them.
        institution: where the radiographs were made.
    """

    age: Statement = Statement()
    sex: Statement = Statement()
    view: Statement = Statement()
    modality: Statement = Statement()
    body_part: Statement = Statement()
    institution: Statement = Statement()

    def __str__(self) -> str:
        """Return all properties in one line."""
        return "; ".join(f"{name.replace('_', ' ')} {statement.text}" for name, statement in vars(self).items())


def describe_population(table: "pd.DataFrame", known_set: str = "") -> Population:
    """Return the population of the images of a table.

    Args:
        table: one row per image, columns as in `Collection.table`; `age`, `sex`, `view`, `modality` and `body_part` may
            be missing.
        known_set: name of the known set, see `KNOWN_SETS`; empty if it is another one.

    Example:
        >>> import pandas as pd
        >>> table = pd.DataFrame({"age": ["3", "60", ""], "sex": ["F", "M", "F"]})
        >>> population = describe_population(table)
        >>> population.age.text, population.sex.text, population.view.text
        ('3 to 60, median 31.5', 'F 2, M 1', 'unknown')
        >>> population.age.source
        'table or DICOM headers, 2 of 3 images'
    """
    known = next((entry for entry in KNOWN_SETS if entry.name == known_set and known_set), None)
    statements = {}
    for name in (item.name for item in fields(Population)):
        statement = _measure(name, table[name]) if name in table else Statement()
        if statement.text == UNKNOWN and known is not None and name in known.population:
            statement = Statement(known.population[name], f"{known.title} ({known.source})")
        statements[name] = statement
    return Population(**statements)


def _measure(name: str, column: "pd.Series[str]") -> Statement:
    texts = column[column != ""]
    if name != "age":
        counts = {str(text): int(count) for text, count in texts.value_counts().sort_index().items()}
        text = ", ".join(f"{value} {count:,}" for value, count in counts.items())
        return _state(text, counts, len(texts), len(column))
    years = texts.astype(float)
    if excluded := int((years > MAX_AGE).sum()):
        log.warning("the age of %d images is above %d years and not counted", excluded, MAX_AGE)
        years = years[years <= MAX_AGE]
    if not len(years):
        return Statement()
    low, median, high = np.quantile(years, [0, 0.5, 1]).tolist()
    values = {"minimum": low, "median": median, "maximum": high}
    return _state(f"{low:g} to {high:g}, median {median:g}", values, len(years), len(column))


def _state(text: str, values: dict[str, float] | dict[str, int], count: int, total: int) -> Statement:
    if not count:
        return Statement()
    return Statement(text, f"table or DICOM headers, {count:,} of {total:,} images", {**values})
