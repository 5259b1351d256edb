"""The folders of the data set, re-arranged into one folder a class: normal, bacterial, viral."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from pneumoscope import RESEARCH_USE_ONLY
from pneumoscope.data.collection import Collection, scan_collection
from pneumoscope.data.source import hash_file
from pneumoscope.errors import CollectionError
from pneumoscope.io.write import atomic_write
from pneumoscope.progress import log, track

CLASS_FOLDERS = {"normal": "NORMAL", "bacterial": "BACTERIAL", "viral": "VIRAL"}

_README = f"""Chest radiographs in three classes, arranged by Pneumoscope.
{RESEARCH_USE_ONLY}

<split>/NORMAL, <split>/BACTERIAL and <split>/VIRAL hold the radiographs under their own names, as links to
the source or as copies of it. The bytes are those of the source.
manifest.csv   path, label, subtype, patient and split of each; it can be given in place of this folder.
left_out.csv   the files of the source that are not here, each with its reason.

If the source is "Chest X-Ray Images (Pneumonia)", its terms hold here too: CC BY 4.0
(https://creativecommons.org/licenses/by/4.0/). Cite it as:
Kermany, Daniel; Zhang, Kang; Goldbaum, Michael (2018), "Labeled Optical Coherence Tomography (OCT) and
Chest X-Ray Images for Classification", Mendeley Data, V2, https://doi.org/10.17632/rscbjbr9sj.2
"""


@dataclass(frozen=True)
class _Placement:
    """One file to be placed.

    Attributes:
        source: the file itself, no link.
        target: where it goes.
        sha256: of its bytes.
    """

    source: Path
    target: Path
    sha256: str


def prepare_folders(source: str | os.PathLike[str], out_dir: str | os.PathLike[str], *, copy: bool = False) -> Path:
    """Re-arrange radiographs into `out_dir/<split>/{NORMAL,BACTERIAL,VIRAL}`.

    Every file appears whole or not at all, and one that is already in place is left as it is: a second run
    changes nothing, and a run that was cut short is completed by the next. The source is only read.
    Images whose sub-type is not known are left out and listed, with the files that the scan passed over,
    in `left_out.csv`. Two files of one name keep both: the later one gets eight digits of its hash.

    Args:
        source: folder or CSV manifest, see `scan_collection`.
        out_dir: folder to fill, outside of the source.
        copy: copy the bytes; by default symbolic links are made, hard links or copies where the file
            system has none.

    Returns:
        `out_dir`.

    Raises:
        CollectionError: if the source is not laid out as expected, the two folders lie in one another,
            no image can be placed, or `out_dir` cannot be written.
    """
    collection = scan_collection(source)
    out_dir = Path(out_dir)
    _check_apart(Path(source), out_dir, collection)
    placements, manifest, left_out = _plan(collection, out_dir)
    if not placements:
        raise CollectionError(
            f"none of the {len(collection.table)} radiographs in {source} tells normal, bacterial or viral; "
            "expected class folders of these names, or file names such as person1_bacteria_1.jpeg"
        )
    tables = {"manifest.csv": manifest, "left_out.csv": left_out}
    texts = {"README.txt": _README, **{name: table.to_csv(index=False) for name, table in tables.items()}}
    try:
        _fill(out_dir, placements, texts, copy=copy)
    except OSError as error:
        raise CollectionError(
            f"{out_dir} could not be written: {error}. Mend that and run the same command again: it goes on."
        ) from None
    log.info("%d radiographs are in place in %s, %d files were left out", len(placements), out_dir, len(left_out))
    return out_dir


def _check_apart(source: Path, out_dir: Path, collection: Collection) -> None:
    target = out_dir.resolve()
    inside = source.is_dir() and target.is_relative_to(source.resolve())
    around = source.resolve().is_relative_to(target)
    holds = any(Path(path).resolve().is_relative_to(target) for path in collection.table["path"])
    if inside or around or holds:
        raise CollectionError(
            f"{out_dir} and the source {source} lie in one another; expected two folders apart, since the source "
            "is never changed. Choose another folder to write to."
        )


def _plan(collection: Collection, out_dir: Path) -> tuple[list[_Placement], pd.DataFrame, pd.DataFrame]:
    placements: dict[Path, _Placement] = {}
    listed = []
    left_out = collection.skipped.to_dict("records")
    for row in collection.table.to_dict("records"):
        source = Path(row["path"])
        if row["subtype"] not in CLASS_FOLDERS:
            left_out.append({"name": row["name"], "reason": "neither folder nor file name tells bacterial or viral"})
            continue
        folder = out_dir / row["split"] / CLASS_FOLDERS[row["subtype"]]
        target = folder / source.name
        if target in placements and placements[target].sha256 != row["sha256"]:
            target = folder / f"{source.stem}-{row['sha256'][:8]}{source.suffix}"
        if target in placements:
            left_out.append({"name": row["name"], "reason": "same name and same bytes as another file of its class"})
            continue
        placements[target] = _Placement(source.resolve(), target, row["sha256"])
        path = os.fsencode(target.relative_to(out_dir).as_posix()).decode("utf-8", "backslashreplace")
        listed.append({"path": path, **{key: row[key] for key in ("label", "subtype", "patient", "split")}})
    left = pd.DataFrame(left_out, columns=["name", "reason"])
    return list(placements.values()), pd.DataFrame(listed), left


def _fill(out_dir: Path, placements: list[_Placement], texts: dict[str, str], *, copy: bool) -> None:
    for placement in track(placements, "Arranging radiographs"):
        if not _is_placed(placement, copy=copy):
            _place(placement, copy=copy)
    for name, text in texts.items():
        _write_text(out_dir / name, text)


def _is_placed(placement: _Placement, *, copy: bool) -> bool:
    target = placement.target
    if not target.is_file():
        return False
    if target.samefile(placement.source):
        return not copy
    if target.is_symlink():
        return False
    return hash_file(target) == placement.sha256


def _place(placement: _Placement, *, copy: bool) -> None:
    with atomic_write(placement.target) as partial:
        if copy:
            shutil.copyfile(placement.source, partial)
        else:
            partial.unlink(missing_ok=True)
            _link(placement.source, partial)


def _link(source: Path, target: Path) -> None:
    for attempt in (os.symlink, os.link):
        try:
            attempt(source, target)
        except (OSError, NotImplementedError):
            continue
        return
    shutil.copyfile(source, target)


def _write_text(path: Path, text: str) -> None:
    data = text.encode("utf-8", "backslashreplace")
    if path.is_file() and path.read_bytes() == data:
        return
    with atomic_write(path) as partial:
        partial.write_bytes(data)
