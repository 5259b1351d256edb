from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from pneumoscope.data.collection import parse_name, scan_collection
from pneumoscope.errors import CollectionError

Writer = Callable[..., Path]


@pytest.mark.parametrize(
    ("name", "patient", "subtype"),
    [
        ("person1_bacteria_1.jpeg", "person1", "bacterial"),
        ("person1345_virus_2321_3.jpeg", "person1345", "viral"),
        ("IM-0115-0001.jpeg", "IM-0115", "normal"),
        ("NORMAL2-IM-1427-0001-0002.jpeg", "IM-1427", "normal"),
        ("BACTERIA-1008087-0001.jpeg", "1008087", "bacterial"),
        ("VIRUS-1980593-0001.jpeg", "1980593", "viral"),
        ("NORMAL-1003233-0001.jpeg", "1003233", "normal"),
    ],
)
def test_both_naming_schemes_are_parsed(name: str, patient: str, subtype: str) -> None:
    parsed = parse_name(name)
    assert parsed is not None
    assert (parsed.patient, parsed.subtype) == (patient, subtype)
    assert parse_name(f"chest-{name}") is None


def test_folder_becomes_a_table(tmp_path: Path, write_image: Writer) -> None:
    write_image("Train/normal/IM-0001-0001.jpeg", 1)
    write_image("Train/Pneumonia/person1_bacteria_1.JPG", 2)
    write_image("test/PNEUMONIA/person1_virus_6.png", 3)
    table = scan_collection(tmp_path).table.set_index("name")
    normal = table.loc["Train/normal/IM-0001-0001.jpeg"]
    assert (normal["label"], normal["subtype"], normal["split"]) == ("normal", "normal", "train")
    assert table.loc["Train/Pneumonia/person1_bacteria_1.JPG", "subtype"] == "bacterial"
    assert table.loc["test/PNEUMONIA/person1_virus_6.png", ["patient", "split"]].tolist() == ["test/person1", "test"]
    assert table["sha256"].str.len().eq(64).all()


def test_debris_and_nested_copies_are_skipped(tmp_path: Path, write_image: Writer) -> None:
    write_image("chest_xray/train/NORMAL/IM-0001-0001.jpeg")
    write_image("chest_xray/chest_xray/train/NORMAL/IM-0001-0001.jpeg")
    write_image("chest_xray/__MACOSX/train/NORMAL/IM-0001-0001.jpeg")
    write_image("masks/train/NORMAL/IM-0001-0001.png")
    for name in (".DS_Store", "._IM-0001-0001.jpeg", "notes.txt"):
        (tmp_path / "chest_xray/train/NORMAL" / name).write_text("x")
    collection = scan_collection(tmp_path)
    assert collection.table["name"].tolist() == ["chest_xray/train/NORMAL/IM-0001-0001.jpeg"]
    assert collection.skipped["name"].tolist() == ["chest_xray/train/NORMAL/notes.txt"]


@pytest.mark.parametrize(
    ("folder", "split"),
    [("Training", "train"), ("dev", "val"), ("Validate", "val"), ("validation_set", "val"), ("Test Set", "test")],
)
def test_usual_names_of_splits_are_recognized(tmp_path: Path, write_image: Writer, folder: str, split: str) -> None:
    write_image(f"{folder}/NORMAL/a.jpeg")
    assert scan_collection(tmp_path).table["split"].tolist() == [split]


def test_a_folder_beside_the_splits_is_an_error(tmp_path: Path, write_image: Writer) -> None:
    write_image("train/NORMAL/a.jpeg", 1)
    write_image("holdout/NORMAL/b.jpeg", 2)
    with pytest.raises(CollectionError, match=r"those in holdout are not; expected all in folders named train,"):
        scan_collection(tmp_path)


def test_an_unknown_split_of_a_manifest_is_an_error(tmp_path: Path, write_image: Writer) -> None:
    for number, name in enumerate("ab"):
        write_image(f"{name}.png", number)
    (tmp_path / "images.csv").write_text("path,label,split\na.png,normal,holdout\nb.png,viral,Train\n")
    with pytest.raises(CollectionError, match="the column split has holdout; expected train, val, test or empty"):
        scan_collection(tmp_path / "images.csv")
    (tmp_path / "images.csv").write_text("path,label,split\na.png,normal,external\nb.png,viral,external\n")
    assert scan_collection(tmp_path / "images.csv").table["split"].tolist() == ["", ""]


@pytest.mark.parametrize(
    "text",
    [
        "\ufeffpath,label\r\nim/a.png,normal\r\nim/b.png,viral\r\n",
        "Path ; Label\n im/a.png ; normal\n im/b.png ; viral\n",
        "path\tlabel\nim/a.png\tnormal\nim/b.png\tviral\n",
        "path,label\nim/a.png,normal,\nim/b.png,VIRAL,,\n",
        "path,label\nim\\a.png,normal\nim\\b.png,viral\n",
        'path,label\n"im/a.png",normal\n"im/b.png",viral\n"im/b.png",viral\n',
    ],
    ids=["bom-crlf", "semicolons-padding", "tabs", "trailing-commas", "backslashes", "quotes-and-twice"],
)
def test_the_usual_forms_of_tables_are_read(tmp_path: Path, write_image: Writer, text: str) -> None:
    for number, name in enumerate("ab"):
        write_image(f"im/{name}.png", number)
    (tmp_path / "images.csv").write_bytes(text.encode())
    collection = scan_collection(tmp_path / "images.csv")
    assert collection.table["subtype"].tolist() == ["normal", "viral"]
    assert collection.skipped.empty


def test_a_parquet_table_is_read(tmp_path: Path, write_image: Writer) -> None:
    write_image("a.png")
    table = pd.DataFrame({"path": ["a.png"], "label": ["normal"], "patient": [7], "split": [None]})
    table.to_parquet(tmp_path / "images.parquet")
    row = scan_collection(tmp_path / "images.parquet").table.iloc[0]
    assert (row["label"], row["patient"], row["split"]) == ("normal", "7", "")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,label\na.png,normal\na.png,viral\n", "1 image with several labels, such as a.png: normal, viral"),
        ("path,label\na.png,normal,viral\n", "line 2 has more cells"),
        ("", "has no columns; expected the columns path and label"),
        ("<html><body>\nnot found\n", "expected the columns path and label"),
    ],
    ids=["two-labels", "too-many-cells", "empty", "html"],
)
def test_an_unusable_table_is_an_error(tmp_path: Path, write_image: Writer, text: str, message: str) -> None:
    write_image("a.png")
    (tmp_path / "images.csv").write_text(text)
    with pytest.raises(CollectionError, match=message):
        scan_collection(tmp_path / "images.csv")


def test_images_in_folders_of_no_class_are_counted(
    tmp_path: Path, write_image: Writer, caplog: pytest.LogCaptureFixture
) -> None:
    write_image("NORMAL/a.jpeg", 1)
    for number in (2, 3):
        write_image(f"Tuberculosis/{number}.png", number)
    collection = scan_collection(tmp_path)
    assert collection.table["name"].tolist() == ["NORMAL/a.jpeg"]
    assert collection.skipped["name"].tolist() == ["Tuberculosis/2.png", "Tuberculosis/3.png"]
    assert collection.skipped["reason"].str.contains("'Tuberculosis' is no class; expected normal, pneumonia").all()
    assert "2 images in the folder 'Tuberculosis'" in caplog.text


def test_prepared_folders_and_link_loops_are_read(tmp_path: Path, write_image: Writer) -> None:
    write_image("train/VIRAL/person1_virus_6.jpeg")
    write_image("train/BACTERIAL/a.jpeg", 1)
    (tmp_path / "train/again").symlink_to(tmp_path)
    table = scan_collection(tmp_path).table
    assert sorted(table["subtype"]) == ["bacterial", "viral"]


def test_manifest_becomes_a_table(tmp_path: Path, write_image: Writer) -> None:
    write_image("images/a.png", 1)
    write_image("images/b.png", 2)
    rows = [
        ("images/a.png", "Normal", "p1", "train"),
        ("images/b.png", "viral", "p2", ""),
        ("images/c.png", "viral", "p3", ""),
        ("images/b.png", "edema", "p4", ""),
    ]
    pd.DataFrame(rows, columns=["path", "label", "patient", "split"]).to_csv(tmp_path / "images.csv", index=False)
    collection = scan_collection(tmp_path / "images.csv")
    assert collection.table["patient"].tolist() == ["p1", "p2"]
    assert collection.table["subtype"].tolist() == ["normal", "viral"]
    assert collection.table["split"].tolist() == ["train", ""]
    assert collection.skipped["reason"].str.contains("does not exist|edema").all()


def test_error_for_other_sources_shows_the_layout(tmp_path: Path) -> None:
    for source in (tmp_path, tmp_path / "missing"):
        with pytest.raises(CollectionError, match="expected a folder such as"):
            scan_collection(source)
    (tmp_path / "images.csv").write_text("file,class\na.png,normal\n")
    with pytest.raises(CollectionError, match="has file, class; expected the columns path and label"):
        scan_collection(tmp_path / "images.csv")
    (tmp_path / "image.jpeg").write_bytes(b"x")
    with pytest.raises(CollectionError, match="is a file"):
        scan_collection(tmp_path / "image.jpeg")
