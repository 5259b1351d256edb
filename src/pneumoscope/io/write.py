"""Atomic writes of files and folders."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path to write to. It replaces `path` when the block ends without an error.

    A missing parent folder is created. After an error, the temporary file is deleted and `path` stays unchanged.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".partial.{path.name}")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """Yield an empty temporary folder. It replaces `target` when the block ends without an error.

    After an error, the temporary folder is deleted and `target` stays unchanged.
    """
    partial = target.with_name(f"{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        if target.exists():
            shutil.rmtree(target)
        partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write a text in UTF-8 in one atomic step."""
    with atomic_write(path) as partial:
        partial.write_text(text, encoding="utf-8")


def lock_file(file: IO[Any], *, wait: bool) -> bool:
    """Lock an open file until it is closed, and return whether the lock was taken.

    Args:
        file: an open file.
        wait: whether to wait while another process holds the lock.

    Raises:
        OSError: if the file system has no locks.
        ImportError: on Windows, which has no `fcntl`.
    """
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True
