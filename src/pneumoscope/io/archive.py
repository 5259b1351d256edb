"""Results as `.npz` files: arrays, and a JSON text that refers to them. Loading executes no code (no pickle)."""

import json
import os
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from pneumoscope.errors import PneumoscopeError
from pneumoscope.io import results
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

    Raises:
        PneumoscopeError: if the file is missing, damaged, or not such a result.
    """
    try:
        with Path(path).open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            arrays = dict(archive)
        if "result" not in arrays:
            raise ValueError("without the entry `result`")

        def decode(value: Any) -> Any:
            if isinstance(value, list):
                return [decode(item) for item in value]
            if not isinstance(value, dict):
                return value
            if "kind" in value:
                return _TYPES[value["kind"]](**{key: decode(item) for key, item in value["fields"].items()})
            if "array" in value:
                return arrays[value["array"]]
            if "tuple" in value:
                return tuple(decode(item) for item in value["tuple"])
            return {key: decode(item) for key, item in value["dict"].items()}

        return decode(json.loads(str(arrays["result"])))
    except (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile) as error:
        raise PneumoscopeError(f"{path} cannot be read ({error}); expected a file that save_result wrote") from None
