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
from pneumoscope.labels import THREE_CLASSES
from pneumoscope.models.settings import configuration_settings

NUM_PATIENTS = 20
SETTINGS = configuration_settings("default")


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    """Return two series of normals, bacterial and viral pneumonias, two images a patient."""
    subtypes = {"IM-{:04d}": "normal", "NORMAL2-IM-9{:03d}": "normal", "person{}_bacteria": "bacterial"}
    subtypes["person9{}_virus"] = "viral"
    rows = [
        {"name": f"{pattern.format(patient)}-{image}.jpeg", "patient": pattern.format(patient), "subtype": subtype}
        for pattern, subtype in subtypes.items()
        for patient in range(NUM_PATIENTS)
        for image in (1, 2)
    ]
    table = pd.DataFrame(rows).assign(path="", split="train")
    table["label"] = np.where(table["subtype"] == "normal", "normal", "pneumonia")
    table["sha256"] = table["name"]
    return Dataset(np.zeros((len(table), 16, 16), np.uint8), table, pd.DataFrame(columns=["name", "reason"]))


@pytest.fixture
def folds(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Dataset, Dataset]]:
    """Replace the training; return the training and held-out images of each fold, which grow."""
    folds: list[tuple[Dataset, Dataset]] = []

    def fit(train: Dataset, validation: Dataset, out_dir: Path, **_: object) -> tuple[SimpleNamespace, None]:
        folds.append((train, validation))
        return SimpleNamespace(model=None), None

    def predict(model: None, images: np.ndarray) -> np.ndarray:
        return np.full((len(images), 3), 1 / 3, dtype=np.float32)

    monkeypatch.setattr(cross_validation, "fit_classifier", fit)
    monkeypatch.setattr(cross_validation, "predict_probabilities", predict)
    return folds


@pytest.mark.parametrize(("protocol", "num_folds"), [("patients", 5), ("series", 2)])
def test_no_patient_is_on_both_sides(dataset, folds, tmp_path, protocol, num_folds):
    evaluation = cross_validate(dataset, tmp_path, settings=SETTINGS, protocol=protocol, seed=1)
    assert len(folds) == num_folds
    for train, held_out in folds:
        assert not set(train.table["patient"]) & set(held_out.table["patient"])
        assert set(held_out.table["subtype"]) == set(THREE_CLASSES)
    assert len(evaluation.names) == len(set(evaluation.names)) == sum(len(held_out) for _, held_out in folds)


def test_a_split_by_image_puts_patients_on_both_sides(dataset, folds, tmp_path):
    cross_validate(dataset, tmp_path, settings=SETTINGS, protocol="images")
    assert all(set(train.table["patient"]) & set(held_out.table["patient"]) for train, held_out in folds)


def test_one_series_of_normals_is_held_out_at_a_time(dataset):
    numbers = assign_folds(dataset, "series", seed=0)
    series, normal = name_series(dataset.table["name"]), dataset.labels(THREE_CLASSES) == 0
    assert [set(series[normal & (numbers == fold)]) for fold in (0, 1)] == [{"IM"}, {"NORMAL2-IM"}]
    assert (numbers[~normal] == -1).any()


def test_a_single_series_raises_an_error(dataset):
    one_series = dataset.select(name_series(dataset.table["name"]) != "NORMAL2-IM")
    with pytest.raises(CollectionError, match="have the file-name series IM;"):
        assign_folds(one_series, "series", seed=0)


def test_test_images_are_left_out(dataset, folds, tmp_path):
    half = dataset.table["patient"].isin(dataset.table["patient"].unique()[::2])
    split = Dataset(dataset.images, dataset.table.assign(split=np.where(half, "test", "train")), dataset.skipped)
    evaluation = cross_validate(split, tmp_path, settings=SETTINGS)
    assert not set(evaluation.names) & set(split.split("test").table["name"])
