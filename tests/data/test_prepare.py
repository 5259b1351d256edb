import os
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from pneumoscope import RESEARCH_USE_ONLY
from pneumoscope.data import prepare
from pneumoscope.data.collection import scan_collection
from pneumoscope.data.prepare import prepare_folders
from pneumoscope.errors import CollectionError

PLACED = {
    "train/NORMAL/IM-0115-0001.jpeg": "train/normal/IM-0115-0001.jpeg",
    "train/NORMAL/NORMAL2-IM-1427-0001.jpeg": "train/normal/NORMAL2-IM-1427-0001.jpeg",
    "train/PNEUMONIA/person1_bacteria_1.jpeg": "train/bacterial/person1_bacteria_1.jpeg",
    "train/PNEUMONIA/person2_virus_6.jpeg": "train/viral/person2_virus_6.jpeg",
    "train/PNEUMONIA/VIRUS-1008087-0001.jpeg": "train/viral/VIRUS-1008087-0001.jpeg",
    "val/NORMAL/NORMAL-77-0001.jpeg": "val/normal/NORMAL-77-0001.jpeg",
    "test/PNEUMONIA/person1_virus_7.jpeg": "test/viral/person1_virus_7.jpeg",
    "test/NORMAL/IM-0001-0001.jpeg": "test/normal/IM-0001-0001.jpeg",
}
UNKNOWN = "train/PNEUMONIA/unknown.jpeg"


@pytest.fixture
def source(tmp_path: Path, write_image: Callable[..., Path]) -> Path:
    for seed, name in enumerate((*PLACED, UNKNOWN)):
        write_image(f"chest_xray/{name}", seed)
        write_image(f"chest_xray/chest_xray/{name}", seed)
    return tmp_path / "chest_xray"


def describe_files(folder: Path) -> dict[str, tuple[int, int, str]]:
    """Return inode, time and link of each entry below a folder."""
    return {
        str(path.relative_to(folder)): (
            path.lstat().st_ino,
            path.lstat().st_mtime_ns,
            str(path.readlink()) if path.is_symlink() else "",
        )
        for path in sorted(folder.rglob("*"))
    }


def list_images(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.jpeg"))


@pytest.mark.parametrize("copy", [False, True])
def test_images_are_placed_by_split_and_class_once(copy: bool, source: Path, tmp_path: Path) -> None:
    before = describe_files(source)
    out_dir = prepare_folders(source, tmp_path / "three", copy=copy)
    assert list_images(out_dir) == sorted(PLACED.values())
    assert {path.is_symlink() for path in out_dir.rglob("*.jpeg")} == {not copy}
    left_out = pd.read_csv(out_dir / "left_out.csv")
    assert left_out["name"].tolist() == [UNKNOWN] and "is a group" in left_out["reason"][0]
    readme = (out_dir / "README.txt").read_text()
    assert RESEARCH_USE_ONLY in readme and "CC BY 4.0" in readme and "rscbjbr9sj" in readme
    first = describe_files(out_dir)
    prepare_folders(source, out_dir, copy=copy)
    assert describe_files(out_dir) == first
    assert describe_files(source) == before


def test_folder_and_manifest_list_the_same_as_the_source(source: Path, tmp_path: Path) -> None:
    out_dir = prepare_folders(source, tmp_path / "three")
    tables = [
        scan_collection(place)
        .table.query("label != 'pneumonia'")[["sha256", "label", "patient", "split"]]
        .sort_values("sha256", ignore_index=True)
        for place in (source, out_dir, out_dir / "manifest.csv")
    ]
    pd.testing.assert_frame_equal(tables[0], tables[1])
    pd.testing.assert_frame_equal(tables[0], tables[2])


def test_interrupted_run_is_completed(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place, targets = prepare._link_or_copy, []

    def place_three(source: Path, target: Path, *, copy: bool) -> None:
        targets.append(target)
        if len(targets) == 4:
            raise KeyboardInterrupt
        place(source, target, copy=copy)

    with monkeypatch.context() as patch:
        patch.setattr(prepare, "_link_or_copy", place_three)
        with pytest.raises(KeyboardInterrupt):
            prepare_folders(source, tmp_path / "three", copy=True)
    assert len(list_images(tmp_path / "three")) == 3
    out_dir = prepare_folders(source, tmp_path / "three", copy=True)
    assert all((out_dir / target).read_bytes() == (source / name).read_bytes() for name, target in PLACED.items())


def test_damaged_copy_and_wrong_link_are_replaced(source: Path, tmp_path: Path) -> None:
    out_dir = prepare_folders(source, tmp_path / "three", copy=True)
    damaged, wrong = (out_dir / name for name in ("train/normal/IM-0115-0001.jpeg", "test/normal/IM-0001-0001.jpeg"))
    damaged.write_bytes(b"damaged")
    wrong.unlink()
    wrong.symlink_to(tmp_path / "nowhere")
    prepare_folders(source, out_dir, copy=True)
    for path, name in ((damaged, "train/NORMAL/IM-0115-0001.jpeg"), (wrong, "test/NORMAL/IM-0001-0001.jpeg")):
        assert path.read_bytes() == (source / name).read_bytes() and not path.is_symlink()


@pytest.mark.parametrize("without", [("symlink",), ("symlink", "link")])
def test_file_system_without_links_gets_files(
    without: tuple[str, ...], source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError("links are not supported here")

    for name in without:
        monkeypatch.setattr(os, name, fail)
    out_dir = prepare_folders(source, tmp_path / "three")
    assert len(list_images(out_dir)) == 8 and not any(path.is_symlink() for path in out_dir.rglob("*"))
    first = describe_files(out_dir)
    prepare_folders(source, out_dir)
    assert describe_files(out_dir) == first


def test_two_files_of_one_name_are_both_kept(tmp_path: Path, write_image: Callable[..., Path]) -> None:
    for folder, seed in (("a", 1), ("b", 2), ("c", 2)):
        write_image(f"{folder}/x.png", seed)
    manifest = tmp_path / "images.csv"
    manifest.write_text("path,label,patient,split\na/x.png,viral,x,\nb/x.png,viral,y,\nc/x.png,viral,y,\n")
    out_dir = prepare_folders(manifest, tmp_path / "three")
    first, second = sorted(path.name for path in (out_dir / "viral").iterdir())
    assert first.startswith("x-") and second == "x.png"
    assert sorted(scan_collection(out_dir / "manifest.csv").table["patient"]) == ["x", "y"]
    assert pd.read_csv(out_dir / "left_out.csv")["name"].tolist() == ["c/x.png"]


@pytest.mark.parametrize("place", ["chest_xray", "chest_xray/three", ".", "link"])
def test_overlapping_folders_are_rejected(place: str, source: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(source / "train")
    before = describe_files(tmp_path)
    with pytest.raises(CollectionError, match="overlap"):
        prepare_folders(source, tmp_path / place)
    assert describe_files(tmp_path) == before


def test_source_of_unknown_classes_and_bad_target_are_errors(source: Path, tmp_path: Path) -> None:
    (tmp_path / "three").write_text("a file")
    with pytest.raises(CollectionError, match="cannot be written"):
        prepare_folders(source, tmp_path / "three")
    (tmp_path / "unknown.csv").write_text(f"path,label\n{source / UNKNOWN},pneumonia\n{source / UNKNOWN[:-1]},viral\n")
    with pytest.raises(CollectionError, match="has a known class"):
        prepare_folders(tmp_path / "unknown.csv", tmp_path / "other")
    (tmp_path / "findings.csv").write_text(f"path,label\n{source / UNKNOWN},a|b\n")
    with pytest.raises(CollectionError, match="have several labels"):
        prepare_folders(tmp_path / "findings.csv", tmp_path / "other")
