"""Dataclasses as JSON files, checked field by field when they are read."""

import json
import math
import os
from collections.abc import Mapping
from dataclasses import is_dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from pneumoscope.io.write import write_text

Kind = TypeVar("Kind")


def parse_json(kind: type[Kind], text: str) -> Kind:
    """Return the dataclass that a JSON text holds; fields that the class does not have are ignored.

    Args:
        kind: a dataclass of plain values, tuples, dictionaries by name and other dataclasses.
        text: as `write_json` writes it; null bounds of an `Estimate` become NaN.

    Raises:
        ValueError: if the text is no JSON, a field is missing, or a value has another type.
    """
    from pydantic import TypeAdapter, ValidationError

    values = json.loads(text, object_hook=_restore_estimate)
    try:
        # Strict JSON takes lists as tuples and integers as floats, but no text as a number.
        return TypeAdapter(kind).validate_json(json.dumps(values), strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or kind.__name__
        raise ValueError(f"{place}: {first['msg']}, not {str(first['input'])[:60]}") from None


def to_plain(value: Any, *, skip_none: bool = False) -> Any:
    """Return a value as JSON holds it: dataclasses and arrays taken apart, NaN and infinities as None.

    Args:
        value: of dataclasses, dictionaries, sequences, arrays and plain values.
        skip_none: leave out fields of dataclasses that are None.

    Example:
        >>> from pneumoscope.io.results import Estimate
        >>> to_plain({"accuracy": Estimate(0.5, float("nan"), 0.75, 4)})
        {'accuracy': {'value': 0.5, 'low': None, 'high': 0.75, 'n': 4}}
    """
    convert = partial(to_plain, skip_none=skip_none)
    if is_dataclass(value):
        return convert({name: item for name, item in vars(value).items() if not (skip_none and item is None)})
    if isinstance(value, Mapping):
        return {str(key): convert(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return convert(value.tolist())
    if isinstance(value, list | tuple | set | frozenset):
        return [convert(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else str(value)


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write a dataclass or plain values as strict JSON, whole or not at all; fields that are None are left out."""
    text = json.dumps(to_plain(value, skip_none=True), indent=2, allow_nan=False)
    write_text(Path(path), text + "\n")


def _restore_estimate(values: dict[str, Any]) -> dict[str, Any]:
    if values.keys() != {"value", "low", "high", "n"}:
        return values
    return {name: math.nan if value is None else value for name, value in values.items()}
