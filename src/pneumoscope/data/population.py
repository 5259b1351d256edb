"""The population of a data set: measured from its table, or else stated by the description of a known set."""

import re
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

    def find_conflicts(self, *, age: float | None = None, view: str | None = None) -> list[str]:
        """Return why a patient or a radiograph is outside of the population, in sentences without the given values.

        Args:
            age: in years; whole years are compared.
            view: as a DICOM header or a table writes it; views other than AP and PA are not compared.

        Example:
            >>> stated = Population(age=Statement("1 to 5 years", "", {"minimum": 1, "maximum": 5}))
            >>> stated.find_conflicts(age=62.4)
            ['The age is outside of the population of the training images (1 to 5 years).']
            >>> stated.find_conflicts(age=5.9), stated.find_conflicts(view="PA")
            ([], [])
        """
        conflicts = []
        low, high = (self.age.values.get(name) for name in ("minimum", "maximum"))
        if age is not None and low is not None and high is not None and not int(low) <= int(age) <= high:
            conflicts.append(f"The age is outside of the population of the training images ({self.age.text}).")
        trained = {name_projection(name) for name in self.view.values or [self.view.text]} - {""}
        if trained and (projection := name_projection(view or "")) and projection not in trained:
            conflicts.append(f"The view is outside of the population of the training images ({self.view.text}).")
        return conflicts


def name_projection(view: str) -> str:
    """Return `AP` or `PA` if a text names one of them, else an empty text.

    Example:
        >>> name_projection("antero-posterior"), name_projection("CHEST PA erect"), name_projection("LL")
        ('AP', 'PA', '')
    """
    text = re.sub(r"antero-?\s?posterior", "AP", re.sub(r"postero-?\s?anterior", "PA", view.lower()))
    named = {word for word in re.findall(r"[A-Za-z]+", text.upper()) if word in ("AP", "PA")}
    return named.pop() if len(named) == 1 else ""


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
            limits = re.fullmatch(r"(\d+) to (\d+) years", known.population[name])
            values = {"minimum": float(limits[1]), "maximum": float(limits[2])} if limits else {}
            statement = Statement(known.population[name], f"{known.title} ({known.source})", values)
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
