"""Atomic writes of files and folders."""

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any


@contextmanager
def atomic_write(path: Path, *, private: bool = False) -> Iterator[Path]:
    """Yield a temporary path to write to. It replaces `path` when the block ends without an error.

    Missing parent folders are created. After an error, the temporary file is deleted and `path` stays unchanged.

    Args:
        path: the file.
        private: whether only the user may read the file (mode 0600) and enter the folders created (0700), because they
            hold data of patients.
    """
    for folder in reversed([folder for folder in path.parents if not folder.exists()]):
        folder.mkdir(mode=0o700 if private else 0o777, exist_ok=True)
    # Threads that read copies of one radiograph write the same file.
    writer = f"{threading.get_native_id()}." if private else ""
    partial = path.with_name(f".partial.{writer}{path.name}")
    try:
        if private:
            partial.unlink(missing_ok=True)
            partial.touch(mode=0o600, exist_ok=False)
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
