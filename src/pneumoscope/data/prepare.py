"""Arrange a collection into one folder per split and class."""

import os
import re
import shutil
from collections.abc import Hashable
from pathlib import Path

import pandas as pd

from pneumoscope import RESEARCH_USE_ONLY
from pneumoscope.data.collection import Collection, scan_collection
from pneumoscope.data.kermany import CITATION
from pneumoscope.data.label_options import LabelOptions
from pneumoscope.data.source import hash_file
from pneumoscope.errors import CollectionError
from pneumoscope.io.write import atomic_write, write_text
from pneumoscope.progress import log, track

_README = f"""Chest radiographs by split and class, arranged by Pneumoscope.
{RESEARCH_USE_ONLY}

<split>/<CLASS>   links to the source files, or unmodified copies, under their original names.
manifest.csv      path, label, patient and split of each radiograph; commands accept it in place of the folder.
left_out.csv      skipped files of the source, each with its reason.

{CITATION}
"""


def prepare_folders(
    source: str | os.PathLike[str],
    out_dir: str | os.PathLike[str],
    *,
    copy: bool = False,
    options: LabelOptions | None = None,
) -> Path:
    """Arrange radiographs into `out_dir/<split>/<class>`, such as `train/viral`, and return `out_dir`.

    The function is idempotent: a second run completes an interrupted one. Skipped files and images of unknown class
    are listed in `left_out.csv`. If two files have the same name, the second gets eight digits of its hash as suffix.

    Args:
        source: folder or table (CSV, TSV, Parquet), see `scan_collection`; it is not modified.
        out_dir: target folder, outside the source.
        copy: copy files; by default create symbolic links, or hard links or copies where links are not supported.
        options: how to read the labels.

    Raises:
        CollectionError: if the source layout is not recognized, one folder contains the other, no image has a known
            class, images have several labels, or `out_dir` cannot be written.
    """
    collection = scan_collection(source, options=options)
    if collection.label_set.multi_label:
        raise CollectionError(
            f"the images in {source} have several labels; expected one class each, for one folder each"
        )
    out_dir = Path(out_dir)
    _check_overlap(Path(source), out_dir, collection)
    manifest, left_out = _choose_targets(collection, out_dir)
    if manifest.empty:
        raise CollectionError(
            f"none of the {len(collection.table)} radiographs in {source} has a known class; "
            f"expected {', '.join(collection.label_set.classes)}, not only {', '.join(collection.label_set.groups)}"
        )
    texts = {"README.txt": _README, "left_out.csv": left_out.to_csv(index=False)}
    texts["manifest.csv"] = manifest[["path", "label", "patient", "split"]].to_csv(index=False)
    try:
        for row in track(manifest.to_dict("records"), "Arranging radiographs"):
            if not _is_placed(row["source"], row["target"], row["sha256"], copy=copy):
                _link_or_copy(row["source"], row["target"], copy=copy)
        for name, text in texts.items():
            if not (out_dir / name).is_file() or (out_dir / name).read_bytes() != text.encode():
                write_text(out_dir / name, text)
    except OSError as error:
        raise CollectionError(
            f"{out_dir} cannot be written: {error}. Fix the cause and run the command again to continue."
        ) from None
    log.info("%d radiographs arranged in %s, %d files skipped", len(manifest), out_dir, len(left_out))
    return out_dir


def _check_overlap(source: Path, out_dir: Path, collection: Collection) -> None:
    target = out_dir.resolve()
    inside = source.is_dir() and target.is_relative_to(source.resolve())
    if inside or any(Path(path).resolve().is_relative_to(target) for path in (source, *collection.table["path"])):
        raise CollectionError(
            f"{out_dir} and the source {source} overlap; expected two separate folders. Choose another output folder."
        )


def _choose_targets(collection: Collection, out_dir: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the files to place, with `source`, `target` and `path`, and the skipped files with their reason."""
    placed: dict[Path, dict[Hashable, object]] = {}
    left_out = collection.skipped.to_dict("records")
    for row in collection.table.to_dict("records"):
        source = Path(row["path"])
        if row["label"] not in collection.label_set.classes:
            left_out.append({"name": row["name"], "reason": f"{row['label']!r} is a group, the class is unknown"})
            continue
        folder = re.sub(r"[^\w +()-]", "_", row["label"])  # a class name may contain a slash
        target = out_dir / row["split"] / folder / source.name
        if target in placed and placed[target]["sha256"] != row["sha256"]:
            target = target.with_name(f"{source.stem}-{row['sha256'][:8]}{source.suffix}")
        if target in placed:
            left_out.append({"name": row["name"], "reason": "duplicate: same name, bytes and class as another file"})
            continue
        path = os.fsencode(target.relative_to(out_dir).as_posix()).decode("utf-8", "backslashreplace")
        placed[target] = {**row, "source": source.resolve(), "target": target, "path": path}
    return pd.DataFrame(list(placed.values())), pd.DataFrame(left_out, columns=["name", "reason"])


def _is_placed(source: Path, target: Path, sha256: str, *, copy: bool) -> bool:
    if not target.is_file():
        return False
    if target.samefile(source):
        return not copy
    return not target.is_symlink() and hash_file(target) == sha256


def _link_or_copy(source: Path, target: Path, *, copy: bool) -> None:
    with atomic_write(target) as partial:
        partial.unlink(missing_ok=True)
        for make in () if copy else (os.symlink, os.link):
            try:
                make(source, partial)
            except (OSError, NotImplementedError):
                continue
            return
        shutil.copyfile(source, partial)
