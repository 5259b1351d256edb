"""Command classes: plain error messages, and Keras without the messages of TensorFlow."""

import faulthandler
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand


class Command(TyperCommand):
    """A command whose error messages lack the prefix that Pydantic adds."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments of the command line."""
        try:
            return super().parse_args(ctx, args)
        except typer.BadParameter as error:
            error.message = error.message.removeprefix("Value error, ")
            raise


class KerasCommand(Command):
    """A command that needs Keras. Keras is imported after the command line has been parsed."""

    def invoke(self, ctx: Any) -> Any:
        """Import Keras and run the command."""
        import_keras()
        return super().invoke(ctx)


def import_keras() -> None:
    """Import Keras without the messages that TensorFlow writes while it loads.

    No log level suppresses them, see https://github.com/tensorflow/tensorflow/issues/100442.
    """
    if "keras" not in sys.modules:
        with drop_native_stderr():
            import pneumoscope.models.saved_model  # noqa: F401 sets the environment and imports Keras


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
