"""Tables and folders in the form of public data sets, with the columns of the real ones and drawn images."""

import pytest

from pneumoscope.data.collection import scan_collection
from pneumoscope.data.known_sets import CHEXPERT_FINDINGS, KNOWN_SETS
from pneumoscope.data.label_options import LabelOptions

FINDINGS = ",".join(CHEXPERT_FINDINGS)
MIMIC = "Atelectasis,Cardiomegaly,Consolidation,Edema,Enlarged Cardiomediastinum,Fracture,Lung Lesion,Lung Opacity,"
MIMIC += "No Finding,Pleural Effusion,Pleural Other,Pneumonia,Pneumothorax,Support Devices"
FILES = {
    "nih/Data_Entry_2017.csv": (
        "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
        "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],\n"
        "00000001_000.png,Effusion|Mass,0,1,058Y,M,PA,2682,2749,0.143,0.143,\n"
        "00000002_000.png,No Finding,0,2,81,F,AP,2500,2048,0.171,0.171,\n"
    ),
    "nih/test_list.txt": "00000002_000.png\n",
    "CheXpert-v1.0-small/train.csv": (
        f"Path,Sex,Age,Frontal/Lateral,AP/PA,No Finding,{FINDINGS}\n"
        f"CheXpert-v1.0-small/train/patient00001/study1/view1_frontal.jpg,Female,68,Frontal,AP,1.0,{',' * 11}0.0\n"
        f"CheXpert-v1.0-small/train/patient00002/study1/view1_frontal.jpg,Male,87,Frontal,PA,,,-1.0,1.0{',' * 10}\n"
        f"CheXpert-v1.0-small/train/patient00002/study1/view2_lateral.jpg,Male,87,Lateral,,,,,1.0{',' * 10}\n"
    ),
    "mimic/mimic-cxr-2.0.0-chexpert.csv": f"subject_id,study_id,{MIMIC}\n100,500,0.0,1.0{',' * 12}\n7,8{',' * 14}\n",
    "mimic/mimic-cxr-2.0.0-split.csv": "dicom_id,study_id,subject_id,split\na1,500,100,validate\nb2,500,100,test\n",
    "mimic/mimic-cxr-2.0.0-metadata.csv": "dicom_id,subject_id,study_id,ViewPosition\na1,100,500,PA\nb2,100,500,LL\n",
    "vindr/annotations/image_labels_train.csv": (
        "image_id,rad_id,Aortic enlargement,Nodule/Mass,Other diseases,No finding\n"
        "e1,R1,1,0,0,0\ne1,R2,1,1,0,0\ne1,R3,0,0,0,0\nf2,R1,0,0,0,1\nf2,R2,0,0,0,1\nf2,R3,0,1,0,0\n"
    ),
    "rsna/stage_2_train_labels.csv": (
        "patientId,x,y,width,height,Target\ng1,264.0,152.0,213.0,379.0,1\ng1,562.0,152.0,256.0,453.0,1\nh2,,,,,0\n"
    ),
    "rsna/stage_2_detailed_class_info.csv": (
        "patientId,class\ng1,Lung Opacity\ng1,Lung Opacity\nh2,No Lung Opacity / Not Normal\n"
    ),
    "padchest/labels.csv": (
        ",ImageID,ImageDir,StudyDate_DICOM,StudyID,PatientID,PatientBirth,PatientSex_DICOM,ViewPosition_DICOM,Projection,"
        "Labels\n"
        "0,i1.png,0,20140915,s1,p1,1930.0,M,POSTEROANTERIOR,PA,\"['pleural effusion', ' nodule', 'nodule']\"\n"
        "1,j2.png,0,20140915,s2,p2,1950,F,POSTEROANTERIOR,PA,['normal']\n"
        "2,k3.png,0,20140915,s3,p3,1950,F,POSTEROANTERIOR,PA,['exclude']\n"
        "3,l4.png,0,20140915,s3,p3,1950,F,LATERAL,L,['normal']\n"
    ),
}
IMAGES = {
    "nih": ("images_001/images/00000001_000.png", "images_002/images/00000002_000.png"),
    "CheXpert-v1.0-small": (
        *("train/patient00001/study1/view1_frontal.jpg", "train/patient00002/study1/view1_frontal.jpg"),
        "train/patient00002/study1/view2_lateral.jpg",
    ),
    "mimic": ("files/p10/p100/s500/a1.jpg", "files/p10/p100/s500/b2.jpg"),
    "vindr": ("train/e1.png", "train/f2.png"),
    "rsna": ("stage_2_train_images/g1.png", "stage_2_train_images/h2.png"),
    "padchest": ("0/i1.png", "0/j2.png", "0/k3.png", "0/l4.png"),
    "covid": (
        *("COVID/images/COVID-1.png", "COVID/masks/COVID-1.png", "Lung_Opacity/images/Lung_Opacity-1.png"),
        *("Normal/images/Normal-1.png", "Viral Pneumonia/images/Viral Pneumonia-1.png"),
    ),
    "tb": ("CXR_png/MCUCXR_0001_0.png", "CXR_png/CHNCXR_0002_1.png", "ManualMask/leftMask/MCUCXR_0001_0.png"),
}


@pytest.fixture
def scan(tmp_path, write_image):
    """Return a function that scans a table or a folder of the drawn data sets."""
    for number, path in enumerate(f"{folder}/{name}" for folder, names in IMAGES.items() for name in names):
        write_image(path, number)
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return lambda name, **options: scan_collection(tmp_path / name, options=LabelOptions(**options))


@pytest.mark.parametrize(
    ("name", "known", "negative", "rows"),
    [
        (
            "nih/Data_Entry_2017.csv", "nih", "No Finding",
            [["Effusion|Mass", "", "1", "train", "58", "M", "PA"], ["", "", "2", "test", "81", "F", "AP"]],
        ),
        (
            "CheXpert-v1.0-small/train.csv", "chexpert", "No Finding",
            [
                ["", "", "patient00001", "train", "68", "F", "AP"],
                [
                    "Lung Opacity", "|".join(name for name in CHEXPERT_FINDINGS if name != "Lung Opacity"),
                    "patient00002", "train", "87", "M", "PA",
                ],
            ],
        ),
        (
            "mimic/mimic-cxr-2.0.0-chexpert.csv", "mimic-cxr-jpg", "No Finding",
            [[
                "Cardiomegaly",
                "|".join(name for name in CHEXPERT_FINDINGS if name not in ("Cardiomegaly", "Atelectasis")),
                "100", "val", "", "", "PA",
            ]],
        ),
        (
            "vindr/annotations/image_labels_train.csv", "vindr-cxr", "No finding",
            [["Aortic enlargement", "", "e1", "", "", "", ""], ["", "", "f2", "", "", "", ""]],
        ),
        (
            "rsna/stage_2_train_labels.csv", "rsna-boxes", "no pneumonia",
            [["pneumonia", "", "g1", "", "", "", ""], ["no pneumonia", "", "h2", "", "", "", ""]],
        ),
        (
            "rsna/stage_2_detailed_class_info.csv", "rsna-classes", None,
            [["Lung Opacity", "", "g1", "", "", "", ""], ["No Lung Opacity / Not Normal", "", "h2", "", "", "", ""]],
        ),
        (
            "covid", "covid-19-radiography", "Normal",
            [[name, "", f"{name}/images/{name}-1.png", "", "", "", ""] for name in KNOWN_SETS[7].folders],
        ),
        (
            "tb", "montgomery-shenzhen", "normal",
            [["tuberculosis", "", "CHNCXR_0002", "", "", "", ""], ["normal", "", "MCUCXR_0001", "", "", "", ""]],
        ),
        (
            "padchest/labels.csv", "padchest", "normal",
            [["nodule|pleural effusion", "", "p1", "", "84", "M", "PA"], ["", "", "p2", "", "64", "F", "PA"]],
        ),
    ],
)  # fmt: skip
def test_public_data_sets_are_recognized(scan, caplog, name, known, negative, rows):
    with caplog.at_level("INFO"):
        collection = scan(name)
    title = next(entry.title for entry in KNOWN_SETS if entry.name == known)
    assert f"recognized as {title}" in caplog.text
    columns = ["label", "uncertain", "patient", "split", "age", "sex", "view"]
    assert collection.table[columns].to_numpy().tolist() == rows
    assert collection.label_set.negative == negative


def test_uncertain_findings_are_missing_unless_mapped(scan):
    classes = ("Hernia", "Cardiomegaly", "Lung Opacity")
    row = scan("CheXpert-v1.0-small/train.csv", map={"-1": "1", "empty": "0"}, classes=classes).table.iloc[1]
    assert (row["label"], row["uncertain"]) == ("Cardiomegaly|Lung Opacity", "Hernia")


@pytest.mark.parametrize(
    ("text", "options", "classes", "labels", "uncertain"),
    [
        ("file,pneumonia\na.png,0\nb.png,1\n", {}, ("no pneumonia", "pneumonia"), ["no pneumonia", "pneumonia"], ""),
        ("file,target\na.png,0.0\nb.png,1.0\n", {}, ("0", "1"), ["0", "1"], ""),
        ("file,class\na.png,0\nb.png,1\n", {"map": {"0": "ok", "1": "tb"}}, ("ok", "tb"), ["ok", "tb"], ""),
        ("file,mass,node\na.png,1,-1\nb.png,0,0\n", {}, ("mass", "node"), ["mass", ""], "node"),
        ("file,mass,node\na.png,1,nan\nb.png,0,0\n", {"map": {"empty": "1"}}, ("mass", "node"), ["mass|node", ""], ""),
        ("file,label\na.png,mass; big\nb.png,none\n", {"negative": "none"}, ("big", "mass"), ["big|mass", ""], ""),
        ('file,label\na.png,"mass, big"\nb.png,mass\n', {}, ("mass", "mass, big"), ["mass, big", "mass"], ""),
        ("file,label\na.png,mass\nb.png,no finding\n", {"multi_label": True}, ("mass",), ["mass", ""], ""),
        ("file,label\na.png,mass|edema\nb.png,node\n", {"classes": ("mass",)}, ("mass",), ["mass", ""], ""),
    ],
)  # fmt: skip
def test_the_usual_forms_of_labels_are_read(tmp_path, write_image, text, options, classes, labels, uncertain):
    for number, name in enumerate("ab"):
        write_image(f"{name}.png", number)
    (tmp_path / "images.csv").write_text(text)
    collection = scan_collection(tmp_path / "images.csv", options=LabelOptions(**options))
    assert collection.label_set.classes == classes
    assert collection.table["label"].tolist() == labels
    assert collection.table["uncertain"].tolist() == [uncertain, ""]
