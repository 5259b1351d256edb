"""Dataclasses as JSON files: written whole or not at all, and checked field by field when they are read."""

import json
import math
import os
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, TypeVar

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


def to_plain(value: Any) -> Any:
    """Return a dataclass as `json.loads` would: optional fields that are None are left out, NaN becomes None."""
    from pydantic import TypeAdapter

    return json.loads(TypeAdapter(type(value)).dump_json(value, exclude_none=True))


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write a dataclass or plain values as strict JSON, whole or not at all."""
    plain = to_plain(value) if is_dataclass(value) else value
    target = Path(path)
    partial = target.with_name(target.name + ".partial")
    partial.write_text(json.dumps(plain, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    partial.replace(target)


def _restore_estimate(values: dict[str, Any]) -> dict[str, Any]:
    if values.keys() != {"value", "low", "high", "n"}:
        return values
    return {name: math.nan if value is None else value for name, value in values.items()}
