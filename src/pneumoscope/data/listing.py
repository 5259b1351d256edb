"""List the files of folders, and recognise images by their content."""

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from pneumoscope.data.dicom import is_dicom
from pneumoscope.io.storage import fetch_start, is_url, list_objects

# Files with other endings are opened to see whether they are images.
SUFFIXES = (
    *(".jpeg", ".jpg", ".jpe", ".jfif", ".png", ".tif", ".tiff", ".webp", ".bmp", ".jp2", ".j2k"),
    *(".dcm", ".dicom", ".dc3", ".ima"),
)
_STARTS = (
    *(b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"II*\0", b"MM\0*"),
    *(b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51"),
)
_START = 132  # bytes, of which the last four are DICM in a DICOM file
HIDDEN, IGNORED = "hidden", "in an ignored folder"

Report = Callable[[str, str], None]  # gets a path and a reason


def walk_files(
    root: str | os.PathLike[str], report: Report, *, ignored: frozenset[str] = frozenset(), ordered: bool = True
) -> Iterator[str]:
    """Yield the files below a folder, or the objects below a URL. Links to folders are followed, once each.

    Args:
        root: the folder, or a URL, see `list_objects`.
        report: gets each folder that cannot be listed, each hidden file or folder, and each ignored folder.
        ignored: names of folders to pass over, in lower case.
        ordered: whether the files of a folder are sorted by name, which needs all their names in memory. Otherwise the
            memory grows with the number of folders, not of files.
    """
    if is_url(root):
        yield from _walk_objects(str(root), report, ignored)
        return
    seen: set[str] = set()
    pending = [str(Path(root))]
    while pending:
        folder = pending.pop()
        real = os.path.realpath(folder)
        if real in seen:
            continue
        seen.add(real)
        folders: list[str] = []
        entries = _scan(folder, report)
        for name, is_folder in sorted(entries) if ordered else entries:
            path = name if folder == os.curdir else os.path.join(folder, name)  # noqa: PTH118  # as below
            if name.startswith("."):
                report(path, HIDDEN)
            elif not is_folder:
                yield path
            elif name.lower() in ignored:
                report(path, IGNORED)
            else:
                folders.append(path)
        pending += sorted(folders, reverse=True)


def _walk_objects(url: str, report: Report, ignored: frozenset[str]) -> Iterator[str]:
    for path in list_objects(url):
        folders = path.removeprefix(url).split("/")
        if path != url and any(name.startswith(".") for name in folders):
            report(path, HIDDEN)
        elif path != url and not ignored.isdisjoint(name.lower() for name in folders[:-1]):
            report(path, IGNORED)
        else:
            yield path


def _scan(folder: str, report: Report) -> Iterator[tuple[str, bool]]:
    """Yield the names in a folder, and whether each is a folder or a link to one."""
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                try:
                    is_folder = entry.is_dir()
                except OSError:
                    is_folder = False
                yield entry.name, is_folder
    except OSError as error:
        report(folder, f"cannot be listed: {error.strerror}")


def is_image_file(path: str | os.PathLike[str]) -> bool:
    """Return whether a file or object has the suffix of an image, or is one by its first bytes; pipes are not opened.

    An object that cannot be reached counts as one, so that its reading states why.
    """
    stem, suffix = os.path.splitext(os.fspath(path))  # noqa: PTH122  # Path would intern each name
    if suffix.lower() in SUFFIXES:
        return True
    if not suffix and os.path.basename(stem) == "DICOMDIR":  # noqa: PTH119
        return False
    try:
        if is_url(path):
            head = fetch_start(str(path), length=_START)
        elif not stat.S_ISREG(Path(path).stat().st_mode):
            return False
        else:
            with Path(path).open("rb") as stream:
                head = stream.read(_START)
    except (OSError, ValueError) as error:
        return is_url(path) and not isinstance(error, FileNotFoundError)
    if head.startswith(_STARTS) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP"):
        return True
    return (head[:2] == b"BM" and head[6:10] == bytes(4)) or is_dicom(head)
