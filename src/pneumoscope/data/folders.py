"""List a folder: class, split and patient of each image from the names of its folders."""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from pneumoscope.data.kermany import KERMANY_WORDS
from pneumoscope.data.known_sets import KnownSet, find_known_set
from pneumoscope.data.label_options import LabelOptions
from pneumoscope.data.labeling import Entry, Listing, Skipped
from pneumoscope.data.listing import HIDDEN, IGNORED, is_image_file, walk_files
from pneumoscope.data.source import printable_name
from pneumoscope.errors import CollectionError
from pneumoscope.labels import fold_name
from pneumoscope.progress import log

SPLIT_NAMES = {
    "train": ("train", "training"),
    "val": ("dev", "val", "valid", "validate", "validation"),
    "test": ("test", "testing"),
}
_SPLITS = {f"{name}{end}": split for split, names in SPLIT_NAMES.items() for name in names for end in ("", "set")}
_IGNORED_FOLDERS = frozenset({"__macosx", "masks", "mask", "manualmask"})
_PASSED_FOLDERS = {"images", "cxr png"}  # they say nothing: the class is the folder above

Folders = dict[Path, tuple[str, ...]]  # the folders from the root to each image
Places = dict[Path, tuple[str, str]]  # the class folder of each image, and the folder below it


def find_split(name: str) -> str:
    """Return the split that a folder or a table cell names, in any case; empty for another name.

    Example:
        >>> find_split("Test Set"), find_split("validate"), find_split("holdout")
        ('test', 'val', '')
    """
    return _SPLITS.get(re.sub(r"[ _-]", "", name.lower()), "")


def list_folder(root: Path, options: LabelOptions) -> Listing:
    """List the images of `root/[split/]class/[patient/]...`.

    The class is the first folder below the root, or below the folder of a split; deeper folders are patients or series.
    If every image is in a folder whose name is known (a word of the Kermany data set, or a name in the options), then
    the nearest of these is its class. Hidden files, masks and `__MACOSX` are ignored; folders named `images` are
    passed through.

    Raises:
        CollectionError: if only some images are in folders of splits, or if there is one class only.
    """
    files = sorted(_walk(root), key=lambda path: (len(path.parts), path))
    images = set(filter(is_image_file, files))
    folders = {path: path.relative_to(root).parts[:-1] for path in files if path in images}
    places = _place_by_words(root.name, folders, options) or {path: _place(names) for path, names in folders.items()}
    known = find_known_set(
        options.data_set, folders={label for label, _ in places.values()}, files=[path.stem for path in folders]
    )
    if "?P<label>" not in known.files:
        places = _check_splits(root.name, folders, places)
        _check_depth(root, places, options)
    entries: list[Entry] = []
    skipped: Skipped = []
    for path in files:
        name = printable_name(path.relative_to(root))
        if path not in images:
            reason = f"no image by its content, extension {path.suffix!r}"
            skipped += [{"name": name, "reason": reason}] if path.parent != root else []
            continue
        split = next(filter(None, map(find_split, reversed((root.name, *folders[path])))), "")
        patient, label = _read_file_name(path.stem, known, places[path][0])
        if label:
            entries.append(Entry(path, name, (label,), patient=patient, split=split, folder=places[path][1]))
            continue
        skipped.append({"name": name, "reason": f"image in the folder {path.parent.name!r}, which is no class"})
    return Listing(entries, skipped, known_set=known.name)


def _read_file_name(stem: str, known: KnownSet, label: str) -> tuple[str, str]:
    """Return the patient and the label of an image, from the file name where the data set writes them there."""
    match = re.fullmatch(known.files, stem) if known.files else None
    if match is None:
        return "", label
    groups = match.groupdict()
    text = groups.get("label", "")
    return groups["patient"], known.names.get(text, text) or label


def _walk(root: Path) -> Iterator[Path]:
    ignored: Counter[str] = Counter()

    def report(path: str, reason: str) -> None:
        if reason == IGNORED:
            ignored[Path(path).name] += 1
        elif reason != HIDDEN:
            log.warning("%s %s", printable_name(path), reason)

    yield from map(Path, walk_files(root, report, ignored=_IGNORED_FOLDERS))
    for name, count in ignored.items():
        log.info("%d folders named %s are ignored", count, name)


def _place(folders: tuple[str, ...]) -> tuple[str, str]:
    """Return the class folder of an image, empty if there is none, and the folder below it."""
    parts = [name for name in folders if fold_name(name) not in _PASSED_FOLDERS]
    split = max((index for index, name in enumerate(parts) if find_split(name)), default=-1)
    below = parts[split + 1 :] or parts[max(split - 1, 0) : max(split, 0)]
    return (below[0] if below else ""), (below[1] if len(below) > 1 else "")


def _place_by_words(root_name: str, folders: Folders, options: LabelOptions) -> Places | None:
    """Return the nearest folder with a known name, and the folder below it; None if an image is in no such folder."""
    words = set(KERMANY_WORDS) | options.names()
    places: Places = {}
    tops = set()
    for path, below in folders.items():
        names = below or (root_name,)
        depth = next((index for index in reversed(range(len(names))) if fold_name(names[index]) in words), None)
        if depth is None:
            return None
        deeper = (name for name in names[depth + 1 :] if fold_name(name) not in _PASSED_FOLDERS)
        places[path] = (names[depth], next((name for name in deeper if not find_split(name)), ""))
        tops.add(names[: depth + 1])
    nested = any(top[:depth] in tops for top in tops for depth in range(1, len(top)))
    return None if nested else places


def _check_splits(root_name: str, folders: Folders, places: Places) -> Places:
    """Return the places without those of images beside the folders of splits, which have no class."""
    inside = {path for path, names in folders.items() if any(map(find_split, (root_name, *names)))}
    if not inside:
        return places
    classes = {fold_name(places[path][0]) for path in inside}
    others = set()
    for path in folders.keys() - inside:
        depth = next((depth for depth, name in enumerate(folders[path]) if fold_name(name) in classes), None)
        if depth is not None:
            others.add("/".join(folders[path][:depth]) or "the folder itself")
    if others:
        raise CollectionError(
            f"some images are in folders of splits, but those in {', '.join(sorted(others))} are not; expected all in "
            f"folders named {', '.join(SPLIT_NAMES)}, or none. Rename or move these folders"
        )
    return {path: place if path in inside else ("", "") for path, place in places.items()}


def _check_depth(root: Path, places: Places, options: LabelOptions) -> None:
    """Make sure that a single class folder does not hold the classes; warn if several seem to.

    Raises:
        CollectionError: if it has several folders.
    """
    classes = {label for label, _ in places.values() if label}
    below = sorted({folder for label, folder in places.values() if label and folder})
    names = ", ".join(below[:5]) + (", ..." if len(below) > 5 else "")
    if len(classes) == 1 and len(below) > 1 and options.classes is None:
        only = next(iter(classes))
        raise CollectionError(
            f"{root} has one class folder, {only!r}, with the folders {names}. If these are the classes, "
            f"give the folder {root / only}"
        )
    inside: dict[str, set[str]] = {}
    for label, folder in places.values():
        inside.setdefault(label, set()).add(folder)
    if len(classes) > 1 and len(below) > 1 and all(inside[label] == set(below) for label in classes):
        log.warning(
            "the folders %s all hold %s; if the latter are the classes, rename the former to %s",
            ", ".join(sorted(classes)),
            names,
            ", ".join(SPLIT_NAMES),
        )
