import dataclasses

import numpy as np
import pandas as pd
import pytest

from pneumoscope.data.dataset import Dataset
from pneumoscope.data.splits import split_random
from pneumoscope.study.leakage import measure_leakage

NUM_PATIENTS, NUM_IMAGES = 90, 4


@pytest.fixture(scope="module")
def lookalikes():
    """Return images that show whose they are and nothing of the disease: four of each of 90 patients, and a test."""
    rng = np.random.default_rng(0)
    subtypes = rng.permutation(np.repeat(["normal", "bacterial", "viral"], NUM_PATIENTS // 3))
    faces = rng.integers(20, 230, (NUM_PATIENTS, 64, 64))
    films = np.repeat(faces, NUM_IMAGES, axis=0) + rng.integers(-20, 20, (NUM_PATIENTS * NUM_IMAGES, 64, 64))
    number = len(films)
    table = pd.DataFrame(
        {
            "name": [f"{row}.jpeg" for row in range(number)],
            "sha256": [f"{row:064d}" for row in range(number)],
            "subtype": np.repeat(subtypes, NUM_IMAGES),
            "label": np.where(np.repeat(subtypes, NUM_IMAGES) == "normal", "normal", "pneumonia"),
            "patient": np.repeat([f"p{patient}" for patient in range(NUM_PATIENTS)], NUM_IMAGES),
            "split": "train",
        }
    )
    table.loc[number - 40 :, "split"] = "test"
    return Dataset(films.astype(np.uint8), table, pd.DataFrame({"name": [], "reason": []}))


@pytest.fixture(scope="module")
def leakage(lookalikes):
    return measure_leakage(lookalikes, seed=1, val_share=0.25)


def test_patients_on_both_sides_are_counted(lookalikes, leakage):
    random = split_random(lookalikes, seed=1, val_share=0.25).table.query("split != 'test'")
    sides = {split: set(rows["patient"]) for split, rows in random.groupby("split")}
    shared = sides["train"] & sides["val"]

    assert leakage.shared_patients == len(shared) > 40
    assert leakage.leaked_share == pytest.approx(random.query("split == 'val'")["patient"].isin(shared).mean())


def test_the_random_split_rewards_memory_and_the_grouped_one_does_not(leakage):
    assert leakage.random_split["accuracy"].value > 0.95
    assert leakage.random_split["three_class_accuracy"].value > 0.95
    assert leakage.grouped_split["balanced_accuracy"].value < 0.7
    assert leakage.grouped_split["three_class_accuracy"].value < 0.6


def test_without_the_patients_own_images_the_reward_is_gone(leakage):
    assert leakage.random_split["balanced_accuracy_without_own_patient"].value < 0.7
    assert leakage.random_split["three_class_accuracy_without_own_patient"].value < 0.6


def test_every_figure_has_an_interval(leakage):
    names = {"accuracy", "balanced_accuracy", "three_class_accuracy"}

    assert set(leakage.grouped_split) == names
    assert set(leakage.random_split) == names | {f"{name}_without_own_patient" for name in names}
    for figure in (*leakage.grouped_split.values(), *leakage.random_split.values()):
        assert figure.low <= figure.value <= figure.high
        assert figure.n > 50


def test_test_images_have_no_part_in_it(lookalikes, leakage):
    images = lookalikes.images.copy()
    images[lookalikes.rows("test")] = 0

    assert measure_leakage(dataclasses.replace(lookalikes, images=images), seed=1, val_share=0.25) == leakage


def test_unknown_subtypes_are_left_out_of_the_three_classes(lookalikes):
    half = lookalikes.table["subtype"].mask((np.arange(len(lookalikes)) // NUM_IMAGES) % 2 == 0, "unknown")
    known = measure_leakage(
        dataclasses.replace(lookalikes, table=lookalikes.table.assign(subtype=half)), seed=1, val_share=0.25
    )
    none = measure_leakage(
        dataclasses.replace(lookalikes, table=lookalikes.table.assign(subtype="unknown")), seed=1, val_share=0.25
    )

    assert known.random_split["three_class_accuracy"].n < known.random_split["accuracy"].n
    assert set(none.random_split) == {
        f"{name}{suffix}" for name in ("accuracy", "balanced_accuracy") for suffix in ("", "_without_own_patient")
    }
