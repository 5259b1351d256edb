"""Dataclasses as JSON files. Reading validates every field."""

import json
import math
import os
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import partial
from pathlib import Path
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np

from pneumoscope.io.read import decode_json
from pneumoscope.io.write import write_text

T = TypeVar("T")

_PLAIN_TYPES = {
    bool: ((bool,), "a boolean"),
    int: ((int,), "a valid integer"),
    float: ((float, int), "a valid number"),
    str: ((str,), "a valid string"),
}


def parse_json(data_type: type[T], text: str) -> T:
    """Parse a JSON text as a dataclass. Unknown fields are ignored.

    Args:
        data_type: a dataclass whose fields are plain values, tuples, dictionaries with string keys, or dataclasses.
        text: text written by `write_json`; null bounds of an `Estimate` become NaN.

    Raises:
        ValueError: if the text is not JSON, a field is missing, or a value has the wrong type or is not finite.
    """
    try:
        return _parse(data_type, decode_json(text, object_hook=_restore_estimate), "")  # type: ignore[no-any-return]
    except (OverflowError, RecursionError) as error:
        raise ValueError(f"a number is too large, or the text is nested too deeply ({error})") from None


def _parse(data_type: Any, value: Any, place: str) -> Any:
    """Return a JSON value as `data_type`; errors name its `place` in the document."""
    arguments = get_args(data_type)
    if get_origin(data_type) in (Union, UnionType):
        return None if value is None else _parse(arguments[0], value, place)
    if get_origin(data_type) is Literal:
        return _check(value in arguments, value, place, " or ".join(map(repr, arguments)))
    if is_dataclass(data_type):
        return _parse_dataclass(data_type, _check(isinstance(value, dict), value, place, "an object"), place)
    origin = get_origin(data_type) or data_type
    if origin is dict:
        _check(isinstance(value, dict), value, place, "an object")
        return {key: _parse(arguments[1], item, _join(place, key)) for key, item in value.items()}
    if origin is tuple:
        types = arguments[:1] * len(value) if arguments[-1] is ... and isinstance(value, list) else arguments
        _check(isinstance(value, list) and len(value) == len(types), value, place, "an array of the right length")
        return tuple(_parse(*pair, _join(place, index)) for index, pair in enumerate(zip(types, value, strict=True)))
    accepted, name = _PLAIN_TYPES[origin]
    return origin(_check(type(value) in accepted, value, place, name))


def _parse_dataclass(data_type: Any, values: dict[str, Any], place: str) -> Any:
    types, parsed = get_type_hints(data_type), {}
    for field in fields(data_type):
        if field.name in values:
            parsed[field.name] = _parse(types[field.name], values[field.name], _join(place, field.name))
        elif field.default is MISSING and field.default_factory is MISSING:
            raise ValueError(f"{_join(place, field.name)}: Field required")
    return data_type(**parsed)


def _check(condition: bool, value: Any, place: str, expected: str) -> Any:
    """Return the value if the condition is true."""
    if not condition:
        raise ValueError(f"{place}: Input should be {expected}, not {str(value)[:60]}")
    return value


def _join(place: str, name: object) -> str:
    return f"{place}.{name}" if place else str(name)


def to_plain(value: Any, *, skip_none: bool = False) -> Any:
    """Convert a value to plain JSON types. NaN and infinities become None.

    Args:
        value: nested dataclasses, dictionaries, sequences, arrays and plain values.
        skip_none: whether to omit dataclass fields that are None.

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
    """Write a dataclass or plain values as strict JSON in one atomic step. Fields that are None are omitted."""
    text = json.dumps(to_plain(value, skip_none=True), indent=2, allow_nan=False)
    write_text(Path(path), text + "\n")


def _restore_estimate(values: dict[str, Any]) -> dict[str, Any]:
    if values.keys() != {"value", "low", "high", "n"}:
        return values
    return {name: math.nan if value is None else value for name, value in values.items()}
