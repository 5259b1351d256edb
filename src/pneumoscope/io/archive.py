"""Results as `.npz` files: arrays, and a JSON text that refers to them. Loading executes no code (no pickle)."""

import json
import os
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import numpy as np

from pneumoscope.errors import LabelError, PneumoscopeError
from pneumoscope.io import results
from pneumoscope.io.read import decode_json, read_arrays
from pneumoscope.io.write import atomic_write

_TYPES: dict[str, type[Any]] = {kind.__name__: kind for kind in vars(results).values() if isinstance(kind, type)}


def save_result(result: Any, path: str | os.PathLike[str]) -> None:
    """Write a result as one `.npz` file in one atomic step.

    Args:
        result: an instance of a class of `pneumoscope.io.results`.
        path: path of the file; an existing file is replaced.
    """
    arrays: dict[str, np.ndarray] = {}

    def encode(value: Any) -> Any:
        if is_dataclass(value) and not isinstance(value, type):
            inner = {field.name: encode(getattr(value, field.name)) for field in fields(value)}
            return {"kind": type(value).__name__, "fields": inner}
        if isinstance(value, np.ndarray):
            key = f"array_{len(arrays)}"
            arrays[key] = value.astype(str) if value.dtype == object else value
            return {"array": key}
        if isinstance(value, tuple):
            return {"tuple": [encode(item) for item in value]}
        if isinstance(value, dict):
            return {"dict": {str(key): encode(item) for key, item in value.items()}}
        if isinstance(value, list):
            return [encode(item) for item in value]
        return value.item() if isinstance(value, np.generic) else value

    text = json.dumps(encode(result))
    with atomic_write(Path(path)) as partial, partial.open("wb") as stream:
        np.savez_compressed(stream, result=np.array(text), **arrays)  # type: ignore[arg-type]


def load_result(path: str | os.PathLike[str]) -> Any:
    """Load a result that `save_result` wrote.

    Args:
        path: the `.npz` file.

    Raises:
        PneumoscopeError: if the file is missing, damaged, or not such a result.
    """
    try:
        arrays = read_arrays(path)
        if "result" not in arrays:
            raise ValueError("without the entry `result`")

        def decode(value: Any) -> Any:
            if isinstance(value, list):
                return [decode(item) for item in value]
            if not isinstance(value, dict):
                return value
            if "kind" in value:
                return _build(_TYPES[value["kind"]], {key: decode(item) for key, item in value["fields"].items()})
            if "array" in value:
                return arrays[value["array"]]
            if "tuple" in value:
                return tuple(decode(item) for item in value["tuple"])
            return {key: decode(item) for key, item in value["dict"].items()}

        return decode(decode_json(str(arrays["result"]), finite=False))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, LabelError) as error:
        raise PneumoscopeError(f"{path} cannot be read ({error}); expected a file that save_result wrote") from None


def _build(kind: type[Any], values: dict[str, Any]) -> Any:
    hints = get_type_hints(kind)
    for name, value in values.items():
        if name not in hints or not _matches(value, hints[name]):
            raise TypeError(f"{kind.__name__}.{name:.40} is a {type(value).__name__}")
    return kind(**values)


def _matches(value: Any, hint: Any) -> bool:
    """Return whether a value has the type of a hint, with all its items."""
    origin, arguments = get_origin(hint) or hint, get_args(hint)
    if origin in (Union, UnionType):
        return any(_matches(value, one) for one in arguments)
    if origin is Any:
        return True
    if origin is float:
        return isinstance(value, int | float)
    if not isinstance(value, origin):
        return False
    if origin is dict and arguments:
        return all(_matches(item, arguments[1]) for item in value.values())
    if origin is tuple and arguments[-1] is not ...:
        return len(value) == len(arguments) and all(map(_matches, value, arguments))
    return origin not in (list, tuple) or all(_matches(item, arguments[0]) for item in value)
