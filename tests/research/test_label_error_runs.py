"""Runs of file names in which models contradict the labels of a group are found."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from pneumoscope.data.dataset import Dataset
from pneumoscope.data.kermany import KERMANY_LABELS
from pneumoscope.io.results import Estimate, Evaluation
from pneumoscope.metrics.classification import evaluate
from pneumoscope.research.label_error_runs import GroupRuns, find_group_runs, write_group_verdict

NUM_OF_CLASS = 400
MOVED = range(250, 330)


def make_dataset(num: int = NUM_OF_CLASS) -> tuple[Dataset, np.ndarray]:
    """Return dataset of which the bacterial ones 250 to 329 look viral, by a bright frame, and what they look like."""
    patterns = {"normal": "IM-{:04d}-0001", "bacterial": "person{}_bacteria_{}", "viral": "person{}_virus_{}"}
    rows = [
        {"name": f"train/{pattern.format(number, number)}.jpeg", "label": kind, "patient": f"{kind}{number // 2}"}
        for kind, pattern in patterns.items()
        for number in range(num)
    ]
    table = pd.DataFrame(rows).assign(path="", split="train", uncertain="").sort_values("name", ignore_index=True)
    table.loc[table["patient"].str.endswith("9"), "split"] = "val"
    dataset = Dataset(
        np.zeros((len(table), 32, 32), np.uint8), table, pd.DataFrame(columns=["name", "reason"]), KERMANY_LABELS
    )
    appearance = dataset.labels()
    moved = [f"train/person{number}_bacteria_{number}.jpeg" for number in MOVED if number < num]
    appearance[table["name"].isin(moved)] = 2
    images = np.random.default_rng(1).integers(0, 40, dataset.images.shape, dtype=np.uint8)
    images[appearance == 2, :3] += 100
    return dataclasses.replace(dataset, images=images), appearance


def predict(dataset: Dataset, appearance: np.ndarray, *, skill: float = 0.7) -> Evaluation:
    """Return predictions by appearance, with noise."""
    shares = np.random.default_rng(0).dirichlet([1, 1, 1], len(dataset)) * (1 - skill) + skill * np.eye(3)[appearance]
    names, patients = (dataset.table[column].to_numpy().astype(str) for column in ("name", "patient"))
    labels = dataset.labels()
    return evaluate(labels, shares, label_set=KERMANY_LABELS, split="x", patients=patients, names=names)


def test_a_run_is_found_where_labels_and_appearance_differ():
    dataset, appearance = make_dataset()
    runs = find_group_runs(dataset, predict(dataset, appearance))

    moved = set(dataset.table["name"][appearance != dataset.labels()])
    found = runs.names[runs.inside]
    assert len(runs.names) == 2 * NUM_OF_CLASS
    assert moved <= set(found)
    assert len(found) < len(moved) + 40
    assert runs.to_rows() == [{"label": "bacterial", "first": found[0], "last": found[-1], "images": len(found)}]


def test_models_and_borders_are_measured_outside_and_inside_of_runs():
    dataset, appearance = make_dataset()
    appearance[
        np.flatnonzero(dataset.table["name"].isin([f"train/person{n}_virus_{n}.jpeg" for n in range(60, 140)]))
    ] = 1
    images = dataset.images.copy()
    images[appearance == 1, :3] %= 40
    aurocs = find_group_runs(dataclasses.replace(dataset, images=images), predict(dataset, appearance)).aurocs

    assert set(aurocs) == {"predictions", "borders"}
    for places in aurocs.values():
        assert places["outside"].value > 0.9 > 0.5 > places["inside"].value


def test_what_is_told_of_a_patient_counts_for_others_only():
    dataset, _ = make_dataset()
    predictions = predict(dataset, dataset.labels())
    probabilities = predictions.probabilities.copy()
    probabilities[predictions.patients == "bacterial100"] = [0, 0, 1]
    changed = dataclasses.replace(predictions, probabilities=probabilities)

    before, after = (find_group_runs(dataset, source).contradicted for source in (predictions, changed))

    names = find_group_runs(dataset, predictions).names.tolist()
    own = [names.index(f"train/person{number}_bacteria_{number}.jpeg") for number in (200, 201)]
    np.testing.assert_allclose(after[own], before[own], atol=0.01)
    assert after[own[0] - 1] > before[own[0] - 1] + 0.03


@pytest.mark.parametrize(("num", "skill"), [(60, 0.7), (NUM_OF_CLASS, 0.05)], ids=["few images", "poor models"])
def test_few_images_or_poor_models_have_no_run(num, skill):
    dataset, appearance = make_dataset(num)
    assert not find_group_runs(dataset, predict(dataset, appearance, skill=skill)).inside.any()


def test_labels_without_a_group_of_two_classes_have_no_runs():
    dataset, _ = make_dataset(4)
    predictions = predict(dataset, dataset.labels())
    without = dataclasses.replace(predictions, label_set=dataclasses.replace(KERMANY_LABELS, groups={}))
    runs = find_group_runs(dataset, without)
    assert (runs.to_rows(), write_group_verdict(runs), runs.aurocs) == ([], "", {})


def test_correct_labels_are_in_no_run():
    dataset, _ = make_dataset()
    runs = find_group_runs(dataset, predict(dataset, dataset.labels()))
    assert runs.to_rows() == []
    assert set(runs.aurocs) == {"predictions"}


@pytest.mark.parametrize(
    ("share", "predictions", "borders", "expected"),
    [
        (
            0.31,
            (0.92, 0.49),
            (0.88, 0.37),
            ["AUROC 0.49 in contiguous error runs (31 %", "0.92 in all others", "borders"],
        ),
        (0.31, (0.92, 0.49), (0.6, 0.58), ["AUROC 0.49 in", "0.92 in all other"]),
        (0.31, (0.92,), (), ["models contradict most labels", "31 %"]),
        (0, (0.92,), (), []),
    ],
    ids=["confounded", "borders differ little", "one class inside", "no run"],
)
def test_the_verdict_names_what_was_measured(share, predictions, borders, expected):
    aurocs = {
        source: {
            place: Estimate(value, value - 0.05, value + 0.05, 40)
            for place, value in zip(("outside", "inside"), values, strict=False)
        }
        for source, values in (("predictions", predictions), ("borders", borders))
    }
    names, labels = np.array([f"person{number}" for number in range(100)]), np.repeat([0, 1], 50)
    runs = GroupRuns(
        "pneumonia", ("bacterial", "viral"), names, labels, (np.arange(100) < 100 * share).astype(float), aurocs
    )
    verdict = write_group_verdict(runs)

    assert all(text in verdict for text in expected) and bool(verdict) == bool(expected)
    assert ("borders" in verdict) == ("borders" in expected)
