from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pneumoscope.data.dataset import Dataset
from pneumoscope.data.kermany import KERMANY_LABELS
from pneumoscope.data.splits import check_patients, group_patients, split_dataset, split_folds
from pneumoscope.errors import CollectionError, LeakError
from pneumoscope.labels import LabelSet


def make_dataset(num_patients, *, seed=0, num_test=0):
    """Return a dataset of 1 to 4 blank images a patient, a third of the patients of each class."""
    rng = np.random.default_rng(seed)
    rows = []
    for patient in range(num_patients + num_test):
        label = ("normal", "bacterial", "viral")[patient % 3]
        for number in range(rng.integers(1, 5)):
            split = "test" if patient >= num_patients else ("val" if patient < 2 else "train")
            name = f"{patient}-{number}"
            rows.append((name, name, name, label, "", f"p{patient}", split))
    table = pd.DataFrame(rows, columns=["path", "name", "sha256", "label", "uncertain", "patient", "split"])
    return Dataset(np.zeros((len(table), 2, 2), np.uint8), table, pd.DataFrame(), KERMANY_LABELS)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), num_patients=st.integers(45, 120))
def test_patients_stay_together_and_classes_in_proportion(seed, num_patients):
    dataset = split_dataset(make_dataset(num_patients, seed=seed, num_test=12), seed=seed)
    table = dataset.table
    assert table.groupby("patient")["split"].nunique().max() == 1
    assert set(table["split"]) == {"train", "val", "test"}
    shares = table[table["split"] != "test"].groupby("label")["split"].apply(lambda split: (split == "val").mean())
    assert shares.between(0.03, 0.35).all()


def test_the_test_split_stays_and_val_joins_train_unless_asked():
    source = make_dataset(60, num_test=9)
    merged, kept = (split_dataset(source, seed=1, keep_val=keep) for keep in (False, True))
    for dataset in (merged, kept):
        pd.testing.assert_series_equal(dataset.table["split"] == "test", source.table["split"] == "test")
    assert set(kept.table.loc[kept.table["split"] == "val", "patient"]) == {"p0", "p1"}
    assert (merged.table["split"] == "val").sum() > 10


def test_collection_without_test_gets_one_by_patient_and_seed():
    first, second, other = (split_dataset(make_dataset(60), seed=seed).table for seed in (4, 4, 5))
    assert set(first["split"]) == {"train", "val", "test"}
    check_patients(first)
    assert first["split"].tolist() == second["split"].tolist() != other["split"].tolist()


def test_a_split_by_image_leaks():
    dataset = split_dataset(make_dataset(60), by="image")
    assert set(dataset.table["split"]) == {"train", "val", "test"}
    with pytest.raises(LeakError, match="patients are in more than one split"):
        check_patients(dataset.table)


def test_patient_in_train_and_test_is_an_error():
    source = make_dataset(60, num_test=9)
    with pytest.raises(LeakError, match="p5"):
        split_dataset(replace(source, table=source.table.replace({"patient": {"p60": "p5"}})))


def test_same_bytes_make_one_group():
    table = make_dataset(6).table
    table.loc[table["patient"] == "p3", "sha256"] = table.loc[table["patient"] == "p0", "sha256"].iloc[0]
    groups = pd.Series(group_patients(table)).groupby(table["patient"]).first()
    assert groups["p0"] == groups["p3"]
    assert groups.nunique() == 5


def test_findings_are_stratified_by_the_rarest_of_a_patient(caplog):
    source = make_dataset(120)
    rare = source.table["patient"].isin([f"p{number}" for number in range(0, 60, 3)])
    label = source.table["label"].replace({"normal": "", "bacterial": "a", "viral": "b"}).where(~rare, "a|rare")
    label[source.table["patient"] == "p1"] = "single"
    findings = LabelSet(("a", "b", "rare", "single"), multi_label=True)
    dataset = replace(source, table=source.table.assign(label=label), label_set=findings)
    folds = pd.Series(split_folds(dataset, num_folds=5, seed=0))
    assert folds.groupby(dataset.table["patient"]).nunique().max() == 1
    assert folds[rare].groupby(dataset.table["patient"]).first().value_counts().between(2, 6).all()
    assert "few patients: single 1" in caplog.text


def test_too_few_patients_are_an_error():
    with pytest.raises(CollectionError, match=r"'bacterial' has 2, 'normal' has 2.*; expected 3 or more"):
        split_dataset(make_dataset(6))


def test_each_part_has_a_class_of_three_patients(caplog):
    source = make_dataset(120)
    rare = source.table["patient"].isin(["p2", "p5", "p8"]) | (source.table["label"] != "viral")
    table = split_dataset(source[rare.to_numpy()]).table
    assert set(table.loc[table["label"] == "viral", "split"]) == {"train", "val", "test"}
    assert (table["split"] == "test").mean() < 0.25 and "few patients: viral 3" in caplog.text
