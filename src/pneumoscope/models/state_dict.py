"""Read a PyTorch state dictionary without PyTorch, and without running code from the file.

A `.pth` file in the format of PyTorch 1.5 and earlier is a sequence of pickles, then the numbers of each storage. The
unpickler knows tensors of plain numbers and refuses anything else.
"""

import os
import pickle
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

from pneumoscope.errors import TrainingError
from pneumoscope.io.read import open_regular

MAGIC = 0x1950A86A20F9469CFC6C
DTYPES = {
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
}
DAMAGED = (ValueError, TypeError, KeyError, IndexError, AttributeError)


def read_state_dict(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Return the tensors of a state dictionary by name, in the order of the file.

    Raises:
        TrainingError: if the file is missing or damaged, or holds anything but named tensors.

    Example:
        >>> read_state_dict("missing.pth")
        Traceback (most recent call last):
        pneumoscope.errors.TrainingError: missing.pth is no PyTorch state dictionary: No such file or directory
    """
    try:
        with open_regular(path) as stream:
            return _read(stream)
    except (OSError, EOFError, pickle.UnpicklingError, *DAMAGED) as error:
        reason = getattr(error, "strerror", None) or error
        raise TrainingError(f"{path} is no PyTorch state dictionary: {reason}") from None


@dataclass
class _Storage:
    dtype: str
    numbers: np.ndarray | None = None


@dataclass(frozen=True)
class _Tensor:
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def to_array(self) -> np.ndarray:
        numbers = self.storage.numbers
        assert numbers is not None
        last = self.offset + sum((side - 1) * step for side, step in zip(self.shape, self.strides, strict=True))
        if min((self.offset, *self.strides, *self.shape)) < 0 or last >= max(1, len(numbers)):
            raise ValueError(f"a tensor of shape {self.shape} exceeds its storage of {len(numbers)} numbers")
        strides = tuple(step * numbers.itemsize for step in self.strides)
        return np.lib.stride_tricks.as_strided(numbers[self.offset :], self.shape, strides, writeable=False).copy()


class _TensorUnpickler(pickle.Unpickler):
    """Unpickler of tensors and plain values."""

    def __init__(self, stream: BinaryIO, storages: dict[str, _Storage]) -> None:
        super().__init__(stream)
        self.storages = storages

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda storage, offset, shape, strides, *_: _Tensor(storage, offset, tuple(shape), tuple(strides))
        if module == "torch" and name in DTYPES:
            return DTYPES[name]
        raise pickle.UnpicklingError(f"it refers to {module}.{name}; expected tensors only")

    def persistent_load(self, pid: Any) -> _Storage:
        _, dtype, key, *_ = pid
        return self.storages.setdefault(key, _Storage(dtype))


def _read(stream: BinaryIO) -> dict[str, np.ndarray]:
    storages: dict[str, _Storage] = {}
    magic, _, _, state, keys = (_TensorUnpickler(stream, storages).load() for _ in range(5))
    if magic != MAGIC or not all(isinstance(value, _Tensor) for value in state.values()):
        raise ValueError("it holds no named tensors in the format of PyTorch 1.5 and earlier")
    for key in keys:
        storage = storages[key]
        count = int.from_bytes(stream.read(8), "little")
        content = stream.read(count * np.dtype(storage.dtype).itemsize)
        storage.numbers = np.frombuffer(content, storage.dtype, count)
    return {str(name): tensor.to_array() for name, tensor in state.items()}
