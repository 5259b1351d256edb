"""TensorFlow without what its libraries print while they load, which no log level holds back.

See https://github.com/tensorflow/tensorflow/issues/100442.
"""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from tempfile import TemporaryFile
from types import ModuleType

STANDARD_ERROR = 2


def quieten_tensorflow() -> None:
    """Let the import of TensorFlow, by whoever it is, print nothing unless it fails."""
    sys.meta_path.insert(0, _Finder())


class _Finder(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != "tensorflow":
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _QuietLoader(spec.loader)
        return spec


class _QuietLoader(Loader):
    def __init__(self, loader: Loader) -> None:
        self.loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        with _held_back():
            self.loader.exec_module(module)


@contextmanager
def _held_back() -> Iterator[None]:
    """Keep back what is written to standard error, also by libraries in C++; it is told where the block fails."""
    try:
        kept = os.dup(STANDARD_ERROR)
    except OSError:  # closed by whoever started us
        yield
        return
    with TemporaryFile() as said:
        os.dup2(said.fileno(), STANDARD_ERROR)
        try:
            yield
        except BaseException:
            said.seek(0)
            os.write(kept, said.read())
            raise
        finally:
            os.dup2(kept, STANDARD_ERROR)
            os.close(kept)
