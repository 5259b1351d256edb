"""The queue of `listen` on disk. Its state is the names of files, so it survives a kill and a power failure.

incoming/  images that wait for their prediction
outgoing/  one folder for each image, with the results that wait for the destination
done/      one text file for each finished image: what became of it
bad/       images that cannot be read, and one text file for each: the reason

A name is the time of arrival in nanoseconds and the SOP instance UID, so names sort by arrival.
"""

import hashlib
import os
import re
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from pneumoscope.data.dicom import quiet_pydicom
from pneumoscope.errors import PneumoscopeError
from pneumoscope.io.write import atomic_write, lock_file

if TYPE_CHECKING:
    from pydicom import Dataset

MIN_FREE_BYTES = 1 << 30
PARTIAL = ".partial."
_UID = re.compile(r"[0-9.]{1,64}", re.ASCII)
_FOLDERS = ("incoming", "outgoing", "done", "bad")


class SpoolFullError(PneumoscopeError):
    """The disk of the spool has too little free space."""


@dataclass(frozen=True)
class Entry:
    """One finished image.

    Attributes:
        uid: SOP instance UID, or a hash in place of one that is not valid.
        finished: when it was finished, in local time.
        outcome: what became of it, or why it cannot be read.
    """

    uid: str
    finished: datetime
    outcome: str


@dataclass(frozen=True)
class SpoolStatus:
    """What a spool holds.

    Attributes:
        waiting: number of images that wait for their prediction.
        unsent: number of images whose results wait for the destination.
        done, bad: number of finished images and of images that cannot be read, as far as they are kept.
        last_done, last_bad: the latest of both, latest first.
        problem: why the destination takes no results; empty if it does.
    """

    waiting: int
    unsent: int
    done: int
    bad: int
    last_done: list[Entry]
    last_bad: list[Entry]
    problem: str

    def __str__(self) -> str:
        counts = f"{self.waiting} waiting, {self.unsent} unsent, {self.done} done, {self.bad} bad"
        return f"{counts}. {self.problem}".rstrip(" .")


class Spool:
    """The folders of the queue. One process writes, any number may read `status`."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        """Name the folder; `open` creates it."""
        self.folder = Path(folder)
        self.incoming, self.outgoing, self.done, self.bad = (self.folder / name for name in _FOLDERS)
        self._problem, self._begun = self.folder / "problem.txt", self.folder / "begun.txt"

    @contextmanager
    def open(self) -> Iterator[None]:
        """Lock the spool for this process, and tidy up what a killed process left.

        Raises:
            PneumoscopeError: if another process uses the spool.
        """
        for folder in (self.folder, self.incoming, self.outgoing, self.done, self.bad):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (self.folder / "lock").open("w") as lock:
            if not lock_file(lock, wait=False):
                raise PneumoscopeError(f"another process uses the spool {self.folder}; choose another with --spool")
            for folder in (self.incoming, self.outgoing, self.done, self.bad):
                for partial in folder.glob(f"{PARTIAL}*"):
                    _remove(partial)
            for results in _list(self.outgoing):
                (self.incoming / f"{results.name}.dcm").unlink(missing_ok=True)
                if (self.done / f"{results.name}.txt").exists():
                    _remove(results)
            yield

    def add(self, uid: str, content: bytes) -> None:
        """Add an image. On return, it is on the disk.

        Args:
            uid: SOP instance UID as the sender states it.
            content: the DICOM file.

        Raises:
            SpoolFullError: if less than 1 GiB is free.
            OSError: if it cannot be written.
        """
        if (free := measure_free(self.folder)) < MIN_FREE_BYTES:
            raise SpoolFullError(f"{free >> 20} MiB free in {self.folder}; expected {MIN_FREE_BYTES >> 20} or more")
        _write(self.incoming / f"{time.time_ns()}-{clean_uid(uid)}.dcm", content)

    def find_next(self) -> Path | None:
        """Return the image that has waited longest, or None."""
        return min(_list(self.incoming), default=None)

    def count_attempt(self, image: Path) -> int:
        """Return how often in a row an image was begun, this time included; see `forget_attempts`."""
        name, _, count = (self._begun.read_text() if self._begun.exists() else "").partition(" ")
        attempt = int(count) + 1 if name == image.name and count.isdecimal() else 1
        self._begun.write_text(f"{image.name} {attempt}")
        return attempt

    def forget_attempts(self) -> None:
        """Count the next attempt as the first, because the process did not end."""
        self._begun.unlink(missing_ok=True)

    def list_unsent(self) -> list[Path]:
        """Return the folders with results, oldest first."""
        return sorted(_list(self.outgoing))

    def put_results(self, image: Path, objects: Iterable["Dataset"]) -> None:
        """Replace an image by its results, which wait for the destination from then on."""
        partial = self.outgoing / f"{PARTIAL}{image.stem}"
        _remove(partial)
        partial.mkdir(mode=0o700)
        for dataset in objects:
            stream = BytesIO()
            with quiet_pydicom():
                dataset.save_as(stream, enforce_file_format=True)
            _write(partial / f"{dataset.SOPInstanceUID}.dcm", stream.getvalue())
        partial.rename(self.outgoing / image.stem)
        _sync(self.outgoing)
        image.unlink()

    def finish(self, item: Path, outcome: str) -> None:
        """Note what became of an image, and remove it or its folder of results."""
        name = item.name.removesuffix(".dcm")
        _write(self.done / f"{name}.txt", f"{outcome}\n".encode())
        _remove(item)

    def set_aside(self, image: Path, reason: str) -> None:
        """Move an image that cannot be read to `bad`, with the reason."""
        _write(self.bad / f"{image.stem}.txt", f"{reason}\n".encode())
        image.rename(self.bad / image.name)
        _sync(self.bad)

    def note_problem(self, problem: str) -> None:
        """Note why the destination takes no results; an empty text if it does."""
        if problem:
            _write(self._problem, f"{problem}\n".encode())
        else:
            self._problem.unlink(missing_ok=True)

    def remove_old(self, keep_seconds: float) -> None:
        """Remove finished images and images that cannot be read, if they are older than `keep_seconds`."""
        oldest = time.time() - keep_seconds
        for path in (*_list(self.done), *_list(self.bad)):
            if path.stat().st_mtime < oldest:
                path.unlink()

    def get_status(self, *, num_last: int = 20) -> SpoolStatus:
        """Return what the spool holds, with the latest `num_last` finished images and errors."""
        done, bad = (
            sorted((path for path in _list(folder) if path.suffix == ".txt"), reverse=True)
            for folder in (self.done, self.bad)
        )
        return SpoolStatus(
            waiting=sum(1 for _ in _list(self.incoming)),
            unsent=sum(1 for _ in _list(self.outgoing)),
            done=len(done),
            bad=len(bad),
            last_done=list(islice(_read_entries(done), num_last)),
            last_bad=list(islice(_read_entries(bad), num_last)),
            problem=_read(self._problem),
        )


def measure_free(folder: Path) -> int:
    """Return the free space of the disk that holds a folder, in bytes."""
    return shutil.disk_usage(folder).free


def clean_uid(uid: str) -> str:
    """Return a UID, or a hash in place of any other text, which might be patient data or the name of a path.

    Example:
        >>> clean_uid("1.2.840.10008.1.1"), clean_uid("../Doe^Jane")
        ('1.2.840.10008.1.1', 'invalid-4d4a2450e6a2')
    """
    return uid if _UID.fullmatch(uid) else f"invalid-{hashlib.sha256(uid.encode()).hexdigest()[:12]}"


def get_uid(path: Path) -> str:
    """Return the SOP instance UID in the name of a file or folder of the spool."""
    return path.name.partition("-")[2].removesuffix(".dcm").removesuffix(".txt")


def _list(folder: Path) -> Iterator[Path]:
    """Yield the files of a folder of the spool; none before the listener has created it."""
    if folder.is_dir():
        yield from (path for path in folder.iterdir() if not path.name.startswith("."))


def _read_entries(paths: Iterable[Path]) -> Iterator[Entry]:
    for path in paths:
        with suppress(FileNotFoundError):  # removed meanwhile, because it is old
            yield Entry(get_uid(path), datetime.fromtimestamp(path.stat().st_mtime), _read(path))


def _read(path: Path) -> str:
    """Return the text of a file, empty if there is none."""
    try:
        return path.read_text().rstrip()
    except FileNotFoundError:
        return ""


def _write(path: Path, content: bytes) -> None:
    with atomic_write(path, private=True) as partial, partial.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    _sync(path.parent)


def _sync(folder: Path) -> None:
    """Write the names in a folder to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
