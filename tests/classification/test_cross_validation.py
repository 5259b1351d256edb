from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from pneumoscope.classification import cross_validation
from pneumoscope.classification.cross_validation import assign_folds, cross_validate
from pneumoscope.data.collection import name_series
from pneumoscope.data.dataset import Dataset
from pneumoscope.errors import CollectionError
from pneumoscope.labels import LabelSet
from pneumoscope.models.settings import configuration_settings

LABELS = LabelSet(("well", "flu", "cold"), "well")
NUM_PATIENTS = 20
SETTINGS = configuration_settings("default")


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    """Return two series of the negative class and two other classes, two images a patient."""
    labels = {"IM-{:04d}": "well", "NORMAL2-IM-9{:03d}": "well", "person{}_flu": "flu", "person9{}_cold": "cold"}
    rows = [
        {"name": f"{pattern.format(patient)}-{image}.jpeg", "patient": pattern.format(patient), "label": label}
        for pattern, label in labels.items()
        for patient in range(NUM_PATIENTS)
        for image in (1, 2)
    ]
    table = pd.DataFrame(rows).assign(path="", split="train")
    table["sha256"], table["uncertain"] = table["name"], ""
    return Dataset(np.zeros((len(table), 16, 16), np.uint8), table, pd.DataFrame(columns=["name", "reason"]), LABELS)


@pytest.fixture
def folds(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Dataset, Dataset]]:
    """Replace the training; return the training and held-out images of each fold, which grow."""
    folds: list[tuple[Dataset, Dataset]] = []

    def fit(train: Dataset, validation: Dataset, out_dir: Path, **_: object) -> tuple[SimpleNamespace, None]:
        folds.append((train, validation))
        return SimpleNamespace(model=None), None

    def predict(model: None, images: np.ndarray, label_set: LabelSet, *, mirror: bool) -> np.ndarray:
        return np.full((len(images), len(label_set.classes)), 1 / len(label_set.classes))

    monkeypatch.setattr(cross_validation, "fit_classifier", fit)
    monkeypatch.setattr(cross_validation, "predict_probabilities", predict)
    return folds


@pytest.mark.parametrize(("protocol", "num_folds"), [("patients", 5), ("series", 2)])
def test_no_patient_is_on_both_sides(dataset, folds, tmp_path, protocol, num_folds):
    evaluation = cross_validate(dataset, tmp_path, settings=SETTINGS, protocol=protocol, seed=1)
    assert len(folds) == num_folds
    for train, held_out in folds:
        assert not set(train.table["patient"]) & set(held_out.table["patient"])
        assert set(held_out.table["label"]) == set(LABELS.classes)
    assert len(evaluation.names) == len(set(evaluation.names)) == sum(len(held_out) for _, held_out in folds)


def test_findings_are_split_by_patient(four_findings, folds, tmp_path):
    evaluation = cross_validate(four_findings, tmp_path, settings=SETTINGS)
    assert evaluation.labels.shape == (240, 4) and len(folds) == 5
    assert all(not set(train.table["patient"]) & set(held_out.table["patient"]) for train, held_out in folds)


def test_a_split_by_image_puts_patients_on_both_sides(dataset, folds, tmp_path):
    cross_validate(dataset, tmp_path, settings=SETTINGS, protocol="images")
    assert all(set(train.table["patient"]) & set(held_out.table["patient"]) for train, held_out in folds)


def test_one_series_of_negatives_is_held_out_at_a_time(dataset):
    numbers = assign_folds(dataset, "series", seed=0)
    series, negative = name_series(dataset.table["name"]), dataset.labels() == 0
    assert [set(series[negative & (numbers == fold)]) for fold in (0, 1)] == [{"IM"}, {"NORMAL2-IM"}]
    assert (numbers[~negative] == -1).any()


def test_a_single_series_raises_an_error(dataset):
    one_series = dataset.select(name_series(dataset.table["name"]) != "NORMAL2-IM")
    with pytest.raises(CollectionError, match="40 images and the file-name series IM;"):
        assign_folds(one_series, "series", seed=0)
    with pytest.raises(CollectionError, match="0 images and the file-name series none"):
        assign_folds(dataset, "series", LabelSet(LABELS.classes), seed=0)


def test_test_images_are_left_out(dataset, folds, tmp_path):
    half = dataset.table["patient"].isin(dataset.table["patient"].unique()[::2])
    split = Dataset(
        dataset.images, dataset.table.assign(split=np.where(half, "test", "train")), dataset.skipped, LABELS
    )
    evaluation = cross_validate(split, tmp_path, settings=SETTINGS)
    assert not set(evaluation.names) & set(split.split("test").table["name"])


def test_a_coarser_set_is_cross_validated(dataset, folds, tmp_path):
    evaluation = cross_validate(dataset, tmp_path, settings=SETTINGS, protocol="series", label_set=LABELS.binary())
    assert evaluation.classes == ("well", "abnormal") and evaluation.probabilities.shape == (len(evaluation.names), 2)
