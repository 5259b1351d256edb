"""How public data sets write labels, patients, views and splits.

To support another data set, add an entry to `KNOWN_SETS`. An entry says only what usual column names do not.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from pneumoscope.errors import CollectionError
from pneumoscope.labels import fold_name
from pneumoscope.progress import log

CHEXPERT_FINDINGS = (
    *("Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Opacity", "Lung Lesion", "Edema", "Consolidation"),
    *("Pneumonia", "Atelectasis", "Pneumothorax", "Pleural Effusion", "Pleural Other", "Fracture", "Support Devices"),
)


@dataclass(frozen=True)
class KnownSet:
    """How a data set is written.

    Attributes:
        name: short name, for `--data-set`.
        title: name in full.
        source: paper or site that describes it.
        columns: a table with all of these columns is recognized.
        folders: a folder with exactly these class folders is recognized.
        files: pattern of file names; a folder with only such images is recognized. Groups: `patient` and `label`.
        path, views: columns, where their names are not usual ones; the first view that is not empty counts.
        labels: columns of labels or findings; empty: the usual names, or all columns of 0 and 1.
        names: label by text.
        left_out: labels that say that an image is not to be used.
        multi_label: whether an image can have several labels.
        patient: pattern of the patient in the path of an image.
        split: pattern of the split in the path of an image.
        birth: columns of the study's date and of the year of birth, for the age.
        reader: column of the reader, if several label an image; a finding is present if more than half see it.
        joined: tables beside it that list the images, joined by their common columns; `.gz` is allowed.
        test_list: file beside it that names the test images.
        root: folder of the images, relative to the table.
        population: what its description states of the population, by attribute of `Population`.
    """

    name: str = ""
    title: str = ""
    source: str = ""
    columns: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    files: str = ""
    path: str = ""
    views: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    names: dict[str, str] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    multi_label: bool = False
    patient: str = ""
    split: str = ""
    birth: tuple[str, ...] = ()
    reader: str = ""
    joined: tuple[str, ...] = ()
    test_list: str = ""
    root: str = "."
    population: dict[str, str] = field(default_factory=dict)


def _radiographed_at(institution: str, **others: str) -> dict[str, str]:
    return {"modality": "radiography", "body_part": "chest", "institution": institution, **others}


KNOWN_SETS = (
    KnownSet(
        "kermany",
        "Chest X-Ray Images (Pneumonia), Kermany 2018, of Kaggle or Mendeley Data",
        "https://doi.org/10.17632/rscbjbr9sj",
        population=_radiographed_at(
            "Guangzhou Women and Children's Medical Center, Guangzhou, China",
            age="1 to 5 years",
            view="antero-posterior",
        ),
    ),
    KnownSet(
        "nih",
        "NIH ChestX-ray14, Wang 2017",
        "https://nihcc.app.box.com/v/ChestXray-NIHCC",
        columns=("Image Index", "Finding Labels", "Patient ID"),
        files=r"(?P<patient>\d{8})_\d{3}",
        multi_label=True,
        test_list="test_list.txt",
        population=_radiographed_at("NIH Clinical Center, Bethesda, USA"),
    ),
    KnownSet(
        "chexpert",
        "CheXpert, Irvin 2019",
        "https://stanfordmlgroup.github.io/competitions/chexpert",
        columns=("Path", "Frontal/Lateral", "AP/PA", *CHEXPERT_FINDINGS),
        views=("AP/PA", "Frontal/Lateral"),
        labels=("No Finding", *CHEXPERT_FINDINGS),
        multi_label=True,
        patient=r"(patient\d+)/",
        split=r"/(train|valid|test)/patient",
        root="..",
        population=_radiographed_at("Stanford Hospital, Stanford, USA"),
    ),
    KnownSet(
        "mimic-cxr-jpg",
        "MIMIC-CXR-JPG 2.0.0, Johnson 2019",
        "https://physionet.org/content/mimic-cxr-jpg/2.0.0",
        columns=("subject_id", "study_id", *CHEXPERT_FINDINGS),
        path="dicom_id",
        labels=("No Finding", *CHEXPERT_FINDINGS),
        multi_label=True,
        joined=("mimic-cxr-2.0.0-split.csv", "mimic-cxr-2.0.0-metadata.csv"),
        population=_radiographed_at("Beth Israel Deaconess Medical Center, Boston, USA"),
    ),
    KnownSet(
        "vindr-cxr",
        "VinDr-CXR 1.0.0, Nguyen 2022",
        "https://physionet.org/content/vindr-cxr/1.0.0",
        columns=("image_id", "Aortic enlargement", "No finding"),
        multi_label=True,
        reader="rad_id",
        root="..",
        population=_radiographed_at("Hospital 108 and Hanoi Medical University Hospital, Hanoi, Vietnam"),
    ),
    KnownSet(
        "rsna-boxes",
        "RSNA Pneumonia Detection Challenge 2018, labels",
        "https://www.kaggle.com/c/rsna-pneumonia-detection-challenge",
        columns=("patientId", "x", "y", "width", "height", "Target"),
        path="patientId",
        labels=("Target",),
        names={"0": "no pneumonia", "1": "pneumonia"},
        population=_radiographed_at("NIH Clinical Center, Bethesda, USA"),
    ),
    KnownSet(
        "rsna-classes",
        "RSNA Pneumonia Detection Challenge 2018, detailed classes",
        "https://www.kaggle.com/c/rsna-pneumonia-detection-challenge",
        columns=("patientId", "class"),
        path="patientId",
        population=_radiographed_at("NIH Clinical Center, Bethesda, USA"),
    ),
    KnownSet(
        "covid-19-radiography",
        "COVID-19 Radiography Database, Chowdhury 2020, Rahman 2021",
        "https://www.kaggle.com/datasets/tawsifurrahman/covid19-radiography-database",
        folders=("COVID", "Lung_Opacity", "Normal", "Viral Pneumonia"),
        population=_radiographed_at("several, from other public collections"),
    ),
    KnownSet(
        "montgomery-shenzhen",
        "Montgomery County and Shenzhen tuberculosis sets, Jaeger 2014",
        "https://data.lhncbc.nlm.nih.gov/public/Tuberculosis-Chest-X-ray-Datasets",
        files=r"(?P<patient>(CHN|MCU)CXR_\d{4})_(?P<label>[01])",
        names={"0": "normal", "1": "tuberculosis"},
        population=_radiographed_at("Montgomery County, Maryland, USA, and Shenzhen No. 3 People's Hospital, China"),
    ),
    KnownSet(
        "padchest",
        "PadChest, Bustos 2020",
        "https://bimcv.cipf.es/bimcv-projects/padchest",
        columns=("ImageID", "PatientID", "Labels", "Projection", "PatientSex_DICOM", "PatientBirth"),
        left_out=("exclude", "suboptimal study"),
        multi_label=True,
        birth=("StudyDate_DICOM", "PatientBirth"),
        population=_radiographed_at("Hospital San Juan, Alicante, Spain"),
    ),
)


def find_known_set(
    name: str | None, *, columns: Sequence[str] = (), folders: Iterable[str] = (), files: Sequence[str] = ()
) -> KnownSet:
    """Return the data set of a name, or the one with these columns, class folders or file names, or else an empty one.

    Args:
        name: name of a known set; None to recognize it.
        columns: columns of a table.
        folders: class folders.
        files: names of all images of a folder, without the suffix.

    Raises:
        CollectionError: if no set has the name.
    """
    if name is not None:
        by_name = {entry.name: entry for entry in KNOWN_SETS}
        if name not in by_name:
            raise CollectionError(f"the data set {name!r} is not known; expected one of {', '.join(by_name)}")
        return by_name[name]
    has, classes = ({fold_name(text) for text in texts} for texts in (columns, folders))
    for entry in KNOWN_SETS:
        if (
            (entry.columns and has.issuperset(map(fold_name, entry.columns)))
            or (entry.folders and classes == set(map(fold_name, entry.folders)))
            or (entry.files and files and all(re.fullmatch(entry.files, file) for file in files))
        ):
            log.info("recognized as %s (%s)", entry.title, entry.source)
            return entry
    return KnownSet()
