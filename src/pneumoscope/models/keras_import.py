"""Import Keras without the messages that TensorFlow writes to standard error while it loads.

No log level suppresses these messages, see https://github.com/tensorflow/tensorflow/issues/100442.
"""

import faulthandler
import importlib.util
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType


class _QuietKerasFinder(MetaPathFinder):
    """Find Keras on its first import and let it load quietly."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the specification of Keras; None for other modules and if Keras is not installed."""
        if fullname != "keras":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is not None and spec.loader is not None:
            load = spec.loader.exec_module

            def load_quietly(module: ModuleType) -> None:
                with drop_native_stderr():
                    load(module)

            spec.loader.exec_module = load_quietly  # type: ignore[method-assign]
        return spec


def quiet_keras_import() -> None:
    """Let the first `import keras` of this process load quietly."""
    if "keras" not in sys.modules and not any(isinstance(finder, _QuietKerasFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _QuietKerasFinder())


@contextmanager
def drop_native_stderr() -> Iterator[None]:
    """Drop what native code writes to file descriptor 2. Python's own standard error stays visible."""
    python_stderr = sys.stderr
    try:
        original = os.dup(2)
    except OSError:  # closed by the calling process
        yield
        return
    if python_stderr is sys.__stderr__:
        # Not closed afterwards: a log handler created in the meantime may hold this stream.
        sys.stderr = open(original, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115
        if not faulthandler.is_enabled():
            faulthandler.enable(sys.stderr)  # still reports a crash of native code
    with Path(os.devnull).open("w") as null:
        os.dup2(null.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(original, 2)
        sys.stderr = python_stderr
