import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pneumoscope import RESEARCH_USE_ONLY
from pneumoscope.data import prepare
from pneumoscope.data.collection import scan_collection
from pneumoscope.data.prepare import prepare_folders
from pneumoscope.errors import CollectionError

FILES = (
    "train/NORMAL/IM-0115-0001.jpeg",
    "train/NORMAL/NORMAL2-IM-1427-0001.jpeg",
    "train/PNEUMONIA/person1_bacteria_1.jpeg",
    "train/PNEUMONIA/person2_virus_6.jpeg",
    "train/PNEUMONIA/VIRUS-1008087-0001.jpeg",
    "train/PNEUMONIA/untold.jpeg",
    "val/NORMAL/NORMAL-77-0001.jpeg",
    "test/PNEUMONIA/person1_virus_7.jpeg",
    "test/NORMAL/IM-0001-0001.jpeg",
)


def draw(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (32, 32), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    root = tmp_path / "chest_xray"
    for seed, name in enumerate(FILES):
        draw(root / name, seed)
        draw(root / "chest_xray" / name, seed)
    return root


def state(folder: Path) -> dict[str, tuple[int, int, str]]:
    """What a run could change: of each entry below a folder its inode, its time and its link."""
    return {
        str(path.relative_to(folder)): (
            path.lstat().st_ino,
            path.lstat().st_mtime_ns,
            str(path.readlink()) if path.is_symlink() else "",
        )
        for path in sorted(folder.rglob("*"))
    }


def placed(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.jpeg"))


@pytest.mark.parametrize("copy", [False, True])
def test_three_classes_by_split(copy: bool, source: Path, tmp_path: Path) -> None:
    out_dir = prepare_folders(source, tmp_path / "three", copy=copy)
    assert placed(out_dir) == [
        "test/NORMAL/IM-0001-0001.jpeg",
        "test/VIRAL/person1_virus_7.jpeg",
        "train/BACTERIAL/person1_bacteria_1.jpeg",
        "train/NORMAL/IM-0115-0001.jpeg",
        "train/NORMAL/NORMAL2-IM-1427-0001.jpeg",
        "train/VIRAL/VIRUS-1008087-0001.jpeg",
        "train/VIRAL/person2_virus_6.jpeg",
        "val/NORMAL/NORMAL-77-0001.jpeg",
    ]
    links = {path.is_symlink() for path in out_dir.rglob("*.jpeg")}
    assert links == {not copy}
    left_out = pd.read_csv(out_dir / "left_out.csv")
    assert left_out["name"].tolist() == ["train/PNEUMONIA/untold.jpeg"]
    assert "bacterial or viral" in left_out["reason"][0]
    readme = (out_dir / "README.txt").read_text()
    assert RESEARCH_USE_ONLY in readme and "CC BY 4.0" in readme and "rscbjbr9sj" in readme


def test_folder_and_manifest_tell_what_the_source_told(source: Path, tmp_path: Path) -> None:
    out_dir = prepare_folders(source, tmp_path / "three")
    columns = ["sha256", "label", "subtype", "patient", "split"]
    tables = [
        scan_collection(place).table[columns].sort_values("sha256").reset_index(drop=True)
        for place in (source, out_dir, out_dir / "manifest.csv")
    ]
    known = tables[0][tables[0]["subtype"] != "unknown"].reset_index(drop=True)
    pd.testing.assert_frame_equal(known, tables[1])
    pd.testing.assert_frame_equal(known, tables[2])


@pytest.mark.parametrize("copy", [False, True])
def test_second_run_changes_nothing(copy: bool, source: Path, tmp_path: Path) -> None:
    before = state(source)
    out_dir = prepare_folders(source, tmp_path / "three", copy=copy)
    first = state(out_dir)
    prepare_folders(source, out_dir, copy=copy)
    assert state(out_dir) == first
    assert state(source) == before


@pytest.mark.parametrize("copy", [False, True])
def test_run_cut_short_is_completed(copy: bool, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = prepare_folders(source, tmp_path / "whole", copy=copy)
    calls = []
    place = prepare._place

    def place_three(placement: prepare._Placement, *, copy: bool) -> None:
        calls.append(placement)
        if len(calls) == 4:
            (placement.target.parent / ".partial").write_bytes(b"half a file")
            raise KeyboardInterrupt
        place(placement, copy=copy)

    with monkeypatch.context() as patch:
        patch.setattr(prepare, "_place", place_three)
        with pytest.raises(KeyboardInterrupt):
            prepare_folders(source, tmp_path / "three", copy=copy)
    assert len(placed(tmp_path / "three")) == 3
    out_dir = prepare_folders(source, tmp_path / "three", copy=copy)
    assert placed(out_dir) == placed(whole)
    assert set(state(out_dir)) == set(state(whole))
    assert all((out_dir / name).read_bytes() == (whole / name).read_bytes() for name in placed(whole))


def test_damaged_copy_and_wrong_link_are_mended(source: Path, tmp_path: Path) -> None:
    out_dir = prepare_folders(source, tmp_path / "three", copy=True)
    damaged = out_dir / "train/NORMAL/IM-0115-0001.jpeg"
    damaged.write_bytes(b"damaged")
    wrong = out_dir / "test/NORMAL/IM-0001-0001.jpeg"
    wrong.unlink()
    wrong.symlink_to(tmp_path / "nowhere")
    prepare_folders(source, out_dir, copy=True)
    assert damaged.read_bytes() == (source / "train/NORMAL/IM-0115-0001.jpeg").read_bytes()
    assert wrong.read_bytes() == (source / "test/NORMAL/IM-0001-0001.jpeg").read_bytes() and not wrong.is_symlink()


@pytest.mark.parametrize("without", [("symlink",), ("symlink", "link")])
def test_file_system_without_links_gets_files(
    without: tuple[str, ...], source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("links are not supported here")

    for name in without:
        monkeypatch.setattr(os, name, refuse)
    out_dir = prepare_folders(source, tmp_path / "three")
    assert len(placed(out_dir)) == 8 and not any(path.is_symlink() for path in out_dir.rglob("*"))
    first = state(out_dir)
    prepare_folders(source, out_dir)
    assert state(out_dir) == first


def test_two_files_of_one_name_are_both_kept(tmp_path: Path) -> None:
    draw(tmp_path / "a" / "film.png", 1)
    draw(tmp_path / "b" / "film.png", 2)
    draw(tmp_path / "c" / "film.png", 2)
    manifest = tmp_path / "films.csv"
    manifest.write_text("path,label,patient,split\na/film.png,viral,x,\nb/film.png,viral,y,\nc/film.png,viral,y,\n")
    out_dir = prepare_folders(manifest, tmp_path / "three")
    names = sorted(path.name for path in (out_dir / "VIRAL").iterdir())
    assert len(names) == 2 and names[1] == "film.png" and names[0].startswith("film-")
    again = scan_collection(out_dir / "manifest.csv").table
    assert sorted(again["patient"]) == ["x", "y"]
    assert pd.read_csv(out_dir / "left_out.csv")["name"].tolist() == ["c/film.png"]


@pytest.mark.parametrize("place", ["chest_xray", "chest_xray/three", "."])
def test_folders_in_one_another_are_refused(place: str, source: Path, tmp_path: Path) -> None:
    before = state(tmp_path)
    with pytest.raises(CollectionError, match="lie in one another"):
        prepare_folders(source, tmp_path / place)
    assert state(tmp_path) == before


def test_out_dir_that_leads_back_into_the_source_is_refused(source: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").symlink_to(source / "train")
    with pytest.raises(CollectionError, match="lie in one another"):
        prepare_folders(source, tmp_path / "elsewhere")


def test_no_known_sub_type_is_an_error(tmp_path: Path) -> None:
    draw(tmp_path / "films" / "PNEUMONIA" / "untold.png", 1)
    with pytest.raises(CollectionError, match="tells normal, bacterial or viral"):
        prepare_folders(tmp_path / "films", tmp_path / "three")


def test_folder_that_cannot_be_written_is_told(source: Path, tmp_path: Path) -> None:
    (tmp_path / "three").write_text("a file")
    with pytest.raises(CollectionError, match="could not be written"):
        prepare_folders(source, tmp_path / "three")
