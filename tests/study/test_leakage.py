import dataclasses

import numpy as np
import pandas as pd
import pytest

from pneumoscope.data.dataset import Dataset
from pneumoscope.data.kermany import KERMANY_LABELS
from pneumoscope.data.splits import split_dataset
from pneumoscope.labels import LabelSet
from pneumoscope.study.leakage import measure_leakage

NUM_PATIENTS, NUM_IMAGES = 90, 4


@pytest.fixture(scope="module")
def lookalikes():
    """Return images that depend on the patient and not on the class: four of each of 90 patients, 40 of them test."""
    rng = np.random.default_rng(0)
    classes = rng.permutation(np.repeat(KERMANY_LABELS.classes, NUM_PATIENTS // 3))
    patterns = rng.integers(20, 230, (NUM_PATIENTS, 64, 64))
    images = np.repeat(patterns, NUM_IMAGES, axis=0) + rng.integers(-20, 20, (NUM_PATIENTS * NUM_IMAGES, 64, 64))
    number = len(images)
    table = pd.DataFrame(
        {
            "name": [f"{row}.jpeg" for row in range(number)],
            "sha256": [f"{row:064d}" for row in range(number)],
            "label": np.repeat(classes, NUM_IMAGES),
            "uncertain": "",
            "patient": np.repeat([f"p{patient}" for patient in range(NUM_PATIENTS)], NUM_IMAGES),
            "split": "train",
        }
    )
    table.loc[number - 40 :, "split"] = "test"
    return Dataset(images.astype(np.uint8), table, pd.DataFrame({"name": [], "reason": []}), KERMANY_LABELS)


@pytest.fixture(scope="module")
def leakage(lookalikes):
    return measure_leakage(lookalikes, seed=1, val_share=0.25)


def test_patients_in_both_splits_are_counted(lookalikes, leakage):
    random = split_dataset(lookalikes, seed=1, val_share=0.25, by="image").table.query("split != 'test'")
    sides = {split: set(rows["patient"]) for split, rows in random.groupby("split")}
    shared = sides["train"] & sides["val"]

    assert leakage.shared_patients == len(shared) > 40
    assert leakage.leaked_share == pytest.approx(random.query("split == 'val'")["patient"].isin(shared).mean())


def test_the_random_split_rewards_memory_only_with_the_patients_own_images(leakage):
    assert leakage.random_split["accuracy"].value > 0.95
    assert leakage.random_split["multiclass_accuracy"].value > 0.95
    assert leakage.grouped_split["balanced_accuracy"].value < 0.7
    assert leakage.grouped_split["multiclass_accuracy"].value < 0.6
    assert leakage.random_split["balanced_accuracy_without_own_patient"].value < 0.7
    assert leakage.random_split["multiclass_accuracy_without_own_patient"].value < 0.6
    for metric in (*leakage.grouped_split.values(), *leakage.random_split.values()):
        assert metric.low <= metric.value <= metric.high and metric.n > 50


def test_test_images_are_not_used(lookalikes, leakage):
    images = lookalikes.images.copy()
    images[lookalikes.rows("test")] = 0

    assert measure_leakage(dataclasses.replace(lookalikes, images=images), seed=1, val_share=0.25) == leakage


def test_unknown_classes_are_left_out_of_the_finer_task(lookalikes):
    half = lookalikes.table["label"].mask((np.arange(len(lookalikes)) // NUM_IMAGES) % 8 < 2, "pneumonia")
    some = measure_leakage(dataclasses.replace(lookalikes, table=lookalikes.table.assign(label=half)), seed=1)
    assert some.random_split["multiclass_accuracy"].n < some.random_split["accuracy"].n


def test_findings_are_compared_as_sets(lookalikes):
    findings = LabelSet(("bacterial", "viral"), multi_label=True)
    table = lookalikes.table.assign(label=lookalikes.table["label"].replace("normal", ""))
    leakage = measure_leakage(dataclasses.replace(lookalikes, table=table, label_set=findings), seed=1, val_share=0.25)
    assert leakage.random_split["subset_accuracy"].value > 0.95 > 0.7 > leakage.grouped_split["subset_accuracy"].value
