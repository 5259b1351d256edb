import pandas as pd
import pytest

from pneumoscope.data.collection import scan_collection
from pneumoscope.data.kermany import KERMANY_LABELS, parse_name
from pneumoscope.data.label_options import LabelOptions
from pneumoscope.data.splits import check_contradictions
from pneumoscope.errors import CollectionError, LabelError
from pneumoscope.labels import LabelSet


@pytest.mark.parametrize(
    ("name", "patient", "label"),
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
def test_both_naming_schemes_are_parsed(name, patient, label):
    parsed = parse_name(name)
    assert parsed is not None
    assert (parsed.patient, parsed.label) == (patient, label)
    assert parse_name(f"chest-{name}") is None


def test_folder_becomes_a_table(tmp_path, write_image):
    write_image("Train/normal/IM-0001-0001.jpeg", 1)
    write_image("Train/Pneumonia/person1_bacteria_1.JPG", 2)
    write_image("test/PNEUMONIA/person1_virus_6.png", 3)
    write_image("test/PNEUMONIA/unknown.png", 4)
    collection = scan_collection(tmp_path)
    assert collection.label_set == KERMANY_LABELS
    table = collection.table.set_index("name")
    assert table["label"].tolist() == ["bacterial", "normal", "viral", "pneumonia"]
    assert table.loc["Train/normal/IM-0001-0001.jpeg", "split"] == "train"
    assert table.loc["test/PNEUMONIA/person1_virus_6.png", ["patient", "split"]].tolist() == ["test/person1", "test"]
    assert table["sha256"].str.len().eq(64).all()


def test_usual_class_names_alone_are_no_known_data_set(scan, caplog):
    with caplog.at_level("INFO"):
        scan("NORMAL", "PNEUMONIA")
        assert "recognized" not in caplog.text
        scan("NORMAL", "PNEUMONIA", data_set="kermany")
        assert "recognized as Chest X-Ray Images (Pneumonia)" in caplog.text


def test_split_folders_with_unknown_names_are_pointed_out(scan, caplog):
    scan("treino/normal", "treino/tb", "teste/normal", "teste/tb")
    assert "the folders teste, treino all hold normal, tb" in caplog.text


def test_debris_and_nested_copies_are_skipped(tmp_path, write_image):
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
def test_usual_names_of_splits_are_recognized(tmp_path, write_image, folder, split):
    write_image(f"{folder}/NORMAL/a.jpeg")
    assert scan_collection(tmp_path).table["split"].tolist() == [split]


def test_a_folder_beside_the_splits_is_an_error(tmp_path, write_image):
    write_image("train/NORMAL/a.jpeg", 1)
    write_image("holdout/NORMAL/b.jpeg", 2)
    with pytest.raises(CollectionError, match=r"those in holdout are not; expected all in folders named train,"):
        scan_collection(tmp_path)


def test_an_unknown_split_of_a_manifest_is_an_error(tmp_path, write_image):
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
def test_the_usual_forms_of_tables_are_read(tmp_path, write_image, text):
    for number, name in enumerate("ab"):
        write_image(f"im/{name}.png", number)
    (tmp_path / "images.csv").write_bytes(text.encode())
    collection = scan_collection(tmp_path / "images.csv")
    assert collection.table["label"].tolist() == ["normal", "viral"]
    assert collection.skipped.empty


def test_a_parquet_table_is_read(tmp_path, write_image):
    write_image("a.png")
    table = pd.DataFrame({"path": ["a.png"], "labels": [["mass", "edema"]], "patient": [7.0], "split": [None]})
    table.to_parquet(tmp_path / "images.parquet")
    row = scan_collection(tmp_path / "images.parquet").table.iloc[0]
    assert (row["label"], row["patient"], row["split"]) == ("edema|mass", "7", "")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,label\na.png,normal\na.png,viral\n", "1 image with several labels, such as a.png: normal, viral"),
        ("path,label\na.png,normal,viral\n", "line 2 has more cells"),
        ("", "has no columns; expected a column of image paths"),
        ("<html><body>\nnot found\n", "expected a column of image paths"),
        ("file,subject\na.png,x\n", "has file, subject; expected a column of labels"),
        ("file,a,b\na.png,,\n", "expected a column of labels"),
        ("path,label\na.png,\n", "no radiograph with a class"),
    ],
    ids=["two-labels", "too-many-cells", "empty", "html", "no-labels", "empty-findings", "empty-labels"],
)
def test_an_unusable_table_is_an_error(tmp_path, write_image, text, message):
    write_image("a.png")
    (tmp_path / "images.csv").write_text(text)
    with pytest.raises(CollectionError, match=message):
        scan_collection(tmp_path / "images.csv")


def test_prepared_folders_and_link_loops_are_read(tmp_path, write_image):
    write_image("train/viral/person1_virus_6.jpeg")
    write_image("train/BACTERIAL/a.jpeg", 1)
    (tmp_path / "train/again").symlink_to(tmp_path)
    table = scan_collection(tmp_path).table
    assert sorted(table["label"]) == ["bacterial", "viral"]


def test_a_table_in_another_encoding_is_an_error(tmp_path):
    (tmp_path / "data.csv").write_bytes("path,label\na.png,pulmão\n".encode("latin-1"))
    with pytest.raises(CollectionError, match="save the table as UTF-8"):
        scan_collection(tmp_path / "data.csv")


def test_manifest_becomes_a_table(tmp_path, write_image, caplog):
    write_image("images/a.png", 1)
    write_image("images/b.png", 2)
    rows = [
        ("images/a.png", "Normal", "p1", "train", "058Y", "Female", "PA"),
        ("images/b.png", "edema", "p2", "", "", "", ""),
        ("images/b.png", "edema", "p2", "", "", "", ""),
        ("images/c.png", "edema", "p3", "", "", "", ""),
        ("images/d.png", "", "p4", "", "", "", ""),
        ("images/e.png", "edema", "p4", "", "", "", "Lateral"),
    ]
    columns = ["Image", "Diagnosis", "Subject ID", "Set", "Age", "Gender", "View_Position"]
    pd.DataFrame(rows, columns=columns).to_csv(tmp_path / "images.csv", index=False)
    with caplog.at_level("INFO"):
        collection = scan_collection(tmp_path / "images.csv")
    assert "path 'Image', patient 'Subject ID', split 'Set'" in caplog.text
    columns = ["label", "patient", "split", "age", "sex", "view"]
    assert collection.table[columns].to_numpy().tolist() == [
        ["Normal", "p1", "train", "58", "F", "PA"], ["edema", "p2", "", "", "", ""]
    ]  # fmt: skip
    assert collection.skipped["reason"].str.cat() == (
        "no labelview LATERAL, not frontalthe file does not exist (or is a broken link)"
    )


def test_error_for_other_sources_shows_the_layout(tmp_path):
    for source in (tmp_path, tmp_path / "missing"):
        with pytest.raises(CollectionError, match="expected a folder such as"):
            scan_collection(source)
    (tmp_path / "image.jpeg").write_bytes(b"x")
    with pytest.raises(CollectionError, match="is a file"):
        scan_collection(tmp_path / "image.jpeg")


def test_folders_of_any_class_and_patient(tmp_path, write_image, make_dicom, image):
    write_image("set/Treino/Pneumonia viral/ana/1.png", 1)
    write_image("set/train/Coração aumentado/images/2.png", 2)
    write_image("set/train/Normal/3.png", 3)
    write_image("set/train/4.png", 4)
    write_image("set/other/5.png", 5)
    (tmp_path / "set/Treino").rename(tmp_path / "set/test set")
    (tmp_path / "set/train/Normal/1.2.840.7").write_bytes(make_dicom(image, PatientAge="018M", ViewPosition="PA"))
    collection = scan_collection(tmp_path / "set")
    assert collection.label_set == LabelSet(("Normal", "Coração aumentado", "Pneumonia viral"), "Normal")
    columns = ["label", "patient", "split", "age", "view", "modality"]
    assert sorted(collection.table[columns].to_numpy().tolist()) == [
        ["Coração aumentado", "train/Coração aumentado/images/2.png", "train", "", "", ""],
        ["Normal", "4711", "train", "1", "PA", "CR"],
        ["Normal", "train/Normal/3.png", "train", "", "", ""],
        ["Pneumonia viral", "ana", "test", "", "", ""],
    ]
    assert collection.skipped["reason"].tolist() == [
        "image in the folder 'other', which is no class", "image in the folder 'train', which is no class"
    ]  # fmt: skip


def test_a_patient_of_all_dicom_files_is_ignored(tmp_path, make_dicom, image, caplog):
    for number in range(10):
        path = tmp_path / f"{'ab'[number % 2]}/{number}.dcm"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(make_dicom(image, InstanceNumber=number))
    assert scan_collection(tmp_path).table["patient"].nunique() == 10
    assert "all 10 DICOM files have the same PatientID, which is ignored" in caplog.text


@pytest.fixture
def scan(tmp_path, write_image):
    """Return a function that scans a folder with one image in each of these folders."""

    def scan(*folders, **options):
        for number, folder in enumerate(folders):
            write_image(f"set/{folder}/{number}.png", number)
        return scan_collection(tmp_path / "set", options=LabelOptions.parse(**options))

    return scan


@pytest.mark.parametrize(
    ("folders", "options", "classes", "labels"),
    [
        ("0 1", {}, ("0", "1"), "0 1"),
        ("train/COVID test/covid train/Normal", {}, ("Normal", "COVID"), "Normal COVID COVID"),
        ("NORMAL PNEUMONIA TB", {}, ("NORMAL", "PNEUMONIA", "TB"), "NORMAL PNEUMONIA TB"),
        ("NORMAL PNEUMONIA TB", {"classes": "TB,normal"}, ("TB", "normal"), "normal TB"),
        ("NORMAL PNEUMONIA TB", {"data_set": "kermany"}, ("normal", "pneumonia"), "normal pneumonia"),
        ("site/ok site/sick", {"map": ["ok=healthy"], "classes": "healthy,sick"}, ("healthy", "sick"), "healthy sick"),
        ("a b c", {"negative": "B", "group": ["x=a,c"]}, ("B", "a", "c"), "a B c"),
        ("NORMAL VIRUS", {"classes": "normal,pneumonia"}, ("normal", "pneumonia"), "normal pneumonia"),
        ("normal pneumonia", {"group": ["pneumonia=a,b"]}, ("normal", "a", "b"), "normal pneumonia"),
    ],
)  # fmt: skip
def test_names_are_chosen_mapped_and_grouped(scan, folders, options, classes, labels):
    collection = scan(*folders.split(), **options)
    assert collection.label_set.classes == classes
    assert sorted(collection.table["label"]) == sorted(labels.split())
    assert len(collection.table) + len(collection.skipped) == len(folders.split())


@pytest.mark.parametrize(
    ("folders", "options", "message"),
    [
        ("only", {}, "the classes are only; expected two or more"),
        ("top/a top/b", {}, "one class folder, 'top', with the folders a, b. If these are the classes, give"),
        ("são sao normal", {}, "'sao' and 'são' differ only in accents; if they are one class, use --map 'sao=são'"),
        ("a b", {"classes": "x,y"}, "expected some of x, y. .*--map 'a=y'"),
        ("b normal", {"classes": "healthy,y"}, "--map 'normal=healthy'"),
        ("b normal", {"classes": "x,y"}, "--map 'b=y'"),
        ("a b", {"negative": "c"}, "the negative class is no class: 'c'"),
        ("a b", {"map": ["a"]}, "'a' has no name on both sides of ="),
        ("a b", {"data_set": "moon"}, "the data set 'moon' is not known; expected one of kermany, nih"),
    ],
)
def test_unusable_names_are_errors(scan, folders, options, message):
    with pytest.raises((CollectionError, LabelError), match=message):
        scan(*folders.split(), **options)


def test_same_bytes_under_different_labels_are_an_error(scan, write_image):
    write_image("set/NORMAL/x.png", 1)
    write_image("set/VIRAL/y.png", 0)
    collection = scan("PNEUMONIA", "VIRAL")  # 0.png, which may be viral, and 1.png
    with pytest.raises(
        CollectionError, match=r"have different labels: 1, such as NORMAL/x.png \(normal\), VIRAL/1.png"
    ):
        check_contradictions(collection.table, collection.label_set)
