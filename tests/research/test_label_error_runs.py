"""Sub-types that nets contradict film after film are found by where they stand."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from pneumoscope.data.dataset import Dataset
from pneumoscope.io.results import Estimate, Evaluation
from pneumoscope.labels import THREE_CLASSES
from pneumoscope.metrics.classification import evaluate
from pneumoscope.research.label_error_runs import ErrorRuns, find_error_runs, write_subtype_verdict

NUM_OF_A_KIND = 400
MOVED = range(250, 330)


def make_films(num: int = NUM_OF_A_KIND) -> tuple[Dataset, np.ndarray]:
    """Return films of which the bacterial ones 250 to 329 look viral, by a bright frame, and what they look like."""
    patterns = {"normal": "IM-{:04d}-0001", "bacterial": "person{}_bacteria_{}", "viral": "person{}_virus_{}"}
    rows = [
        {"name": f"train/{pattern.format(number, number)}.jpeg", "subtype": kind, "patient": f"{kind}{number // 2}"}
        for kind, pattern in patterns.items()
        for number in range(num)
    ]
    table = pd.DataFrame(rows).assign(path="", split="train").sort_values("name", ignore_index=True)
    table.loc[table["patient"].str.endswith("9"), "split"] = "val"
    table["label"] = np.where(table["subtype"] == "normal", "normal", "pneumonia")
    films = Dataset(np.zeros((len(table), 32, 32), np.uint8), table, pd.DataFrame(columns=["name", "reason"]))
    looks = films.labels(THREE_CLASSES)
    moved = [f"train/person{number}_bacteria_{number}.jpeg" for number in MOVED if number < num]
    looks[table["name"].isin(moved)] = 2
    images = np.random.default_rng(1).integers(0, 40, films.images.shape, dtype=np.uint8)
    images[looks == 2, :3] += 100
    return dataclasses.replace(films, images=images), looks


def tell(films: Dataset, looks: np.ndarray, *, skill: float = 0.7) -> Evaluation:
    """Return what nets tell of the films, which see their looks but for chance."""
    shares = np.random.default_rng(0).dirichlet([1, 1, 1], len(films)) * (1 - skill) + skill * np.eye(3)[looks]
    names, patients = (films.table[column].to_numpy().astype(str) for column in ("name", "patient"))
    labels = films.labels(THREE_CLASSES)
    return evaluate(labels, shares, classes=THREE_CLASSES, split="x", patients=patients, names=names)


def test_a_stretch_is_found_where_labels_and_looks_part():
    films, looks = make_films()
    stretches = find_error_runs(films, tell(films, looks))

    moved = set(films.table["name"][looks != films.labels(THREE_CLASSES)])
    found = stretches.names[stretches.inside]
    assert len(stretches.names) == 2 * NUM_OF_A_KIND
    assert moved <= set(found)
    assert len(found) < len(moved) + 40
    assert stretches.to_rows() == [{"subtype": "bacterial", "first": found[0], "last": found[-1], "images": len(found)}]


def test_how_well_nets_and_borders_tell_subtypes_is_measured_outside_and_inside():
    films, looks = make_films()
    looks[np.flatnonzero(films.table["name"].isin([f"train/person{n}_virus_{n}.jpeg" for n in range(60, 140)]))] = 1
    images = films.images.copy()
    images[looks == 1, :3] %= 40
    aurocs = find_error_runs(dataclasses.replace(films, images=images), tell(films, looks)).aurocs

    assert set(aurocs) == {"nets", "borders"}
    for places in aurocs.values():
        assert places["outside"].value > 0.9 > 0.5 > places["inside"].value


def test_file_names_are_ordered_by_their_numbers():
    films, looks = make_films()
    names = find_error_runs(films, tell(films, looks)).names
    assert names[:3].tolist() == [f"train/person{number}_bacteria_{number}.jpeg" for number in range(3)]


def test_what_is_told_of_a_patient_counts_for_others_only():
    films, _ = make_films()
    told = tell(films, films.labels(THREE_CLASSES))
    probabilities = told.probabilities.copy()
    probabilities[told.patients == "bacterial100"] = [0, 0, 1]
    changed = dataclasses.replace(told, probabilities=probabilities)

    before, after = (find_error_runs(films, source).contradicted for source in (told, changed))

    names = find_error_runs(films, told).names.tolist()
    own = [names.index(f"train/person{number}_bacteria_{number}.jpeg") for number in (200, 201)]
    np.testing.assert_allclose(after[own], before[own], atol=0.01)
    assert after[own[0] - 1] > before[own[0] - 1] + 0.03


@pytest.mark.parametrize(("num", "skill"), [(60, 0.7), (NUM_OF_A_KIND, 0.05)], ids=["few films", "poor nets"])
def test_where_little_is_known_no_stretch_is_found(num, skill):
    films, looks = make_films(num)
    assert not find_error_runs(films, tell(films, looks, skill=skill)).inside.any()


def test_right_labels_are_in_no_stretch():
    films, _ = make_films()
    stretches = find_error_runs(films, tell(films, films.labels(THREE_CLASSES)))
    assert stretches.to_rows() == []
    assert set(stretches.aurocs) == {"nets"}


def test_shapes_must_fit():
    with pytest.raises(ValueError, match="expected one shape"):
        ErrorRuns(np.array(["a"]), np.array([1, 2]), np.zeros(2), 0.25, {})


def make_stretches(share: float, nets: dict[str, float], borders: dict[str, float]) -> ErrorRuns:
    aurocs = {
        teller: {place: Estimate(value, value - 0.05, value + 0.05, 40) for place, value in told.items()}
        for teller, told in (("nets", nets), ("borders", borders))
    }
    names, kinds = np.array([f"person{number}" for number in range(100)]), np.repeat([1, 2], 50)
    return ErrorRuns(names, kinds, (np.arange(100) < 100 * share).astype(float), 0.25, aurocs)


def test_subtypes_that_go_with_how_films_were_made_are_named_so():
    nets, apart = {"outside": 0.92, "inside": 0.49}, {"outside": 0.88, "inside": 0.37}

    said = write_subtype_verdict(make_stretches(0.31, nets, apart))
    assert "an AUROC of 0.92, but of 0.49 where they were often wrong film after film, in 31 of 100 training" in said
    assert said.endswith("it may be how a film was made that tells them apart.")
    assert "frame" not in write_subtype_verdict(make_stretches(0.31, nets, {"outside": 0.6, "inside": 0.58}))
    assert "were often wrong film after film, in 31 of 100" in write_subtype_verdict(
        make_stretches(0.31, {"outside": 0.92}, {})
    )
    assert write_subtype_verdict(make_stretches(0, {"outside": 0.92}, {})) == ""
