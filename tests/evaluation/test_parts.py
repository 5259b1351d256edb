"""The parts of an evaluation, on made-up readings."""

import dataclasses

import numpy as np
import pytest
from pneumoscope.evaluation.rejection import measure_rejections

from pneumoscope.data.collection import name_series
from pneumoscope.evaluation.error_runs import find_error_stretches
from pneumoscope.evaluation.subgroups import measure_subgroups
from pneumoscope.io.results import EvaluatedImages

CLOSE = "The probability is too close to the threshold to be on one side of it for sure."
UNLIKE = "The film looks unlike those that the models were trained on."


def make_images(labels, sick, *, decisions=None, reasons=None, names=None):
    labels, sick = np.asarray(labels), np.asarray(sick, dtype=float)
    n = len(labels)
    reasons = np.array(reasons if reasons is not None else [""] * n)
    return EvaluatedImages(
        names=np.array(names if names is not None else [f"{number}.png" for number in range(n)]),
        patients=np.arange(n).astype(str),
        labels=labels,
        subtypes=np.where(labels == 1, -1, 0),
        probabilities=np.stack([1 - sick, sick / 2, sick / 2], axis=1),
        decisions=np.array(decisions if decisions is not None else ["normal"] * n),
        reasons=reasons,
        in_domain=~np.char.startswith(reasons, UNLIKE),
    )


def test_the_gate_tells_what_doubt_spares():
    images = make_images(
        [0, 0, 1, 1, 1],
        [0.1, 0.7, 0.9, 0.2, 0.9],
        decisions=["normal", "not sure", "pneumonia", "not sure", "refused"],
        reasons=["", CLOSE, "", f"{UNLIKE} {CLOSE}", "The film looks upside down."],
    )
    gate = measure_rejections(images, 0.5)

    assert gate.refused["all"].value == pytest.approx(0.2)
    assert gate.refused["normal"].value == 0
    assert gate.unlike["pneumonia"].value == pytest.approx(1 / 3)
    assert gate.not_sure["normal"].value == 0.5
    assert gate.refusals == {"The film looks upside down.": 1}
    assert gate.remarks == {CLOSE: 2, UNLIKE: 1}
    assert {name: answer.value for name, answer in gate.answers.items()} == {"all": 0.5, "sure": 1, "not_sure": 0}


def test_a_model_that_fails_bright_films_is_seen_to():
    labels, exposures = np.tile([0, 1], 30), np.arange(60.0)
    sick = np.where(exposures >= 40, 0.9, labels * 0.8 + 0.1)
    groups = {group.name.partition(",")[0]: group.figures for group in _groups(labels, sick, exposures)}

    assert groups["dark third"]["specificity"].value == groups["middle third"]["specificity"].value == 1
    assert groups["bright third"]["specificity"].value == 0
    assert groups["bright third"]["sensitivity"].value == 1


def test_a_figure_without_its_class_is_left_out():
    groups = {group.name: group.figures for group in _groups(np.tile([0, 1], 30), np.full(60, 0.4), np.arange(60.0))}

    assert set(groups["normal"]) == {"specificity", "accuracy", "refused"}
    assert set(groups["pneumonia, sub-type unknown"]) == {"sensitivity", "accuracy", "refused"}


def test_few_images_are_no_subgroup():
    assert _groups([0, 1] * 4, [0.2] * 8, np.arange(8.0)) == []


def test_series_are_told_by_the_letters_of_file_names():
    names = [f"test/NORMAL/IM-{number:04d}-0001.jpeg" for number in range(30)]
    names += [f"test/PNEUMONIA/person{number}_virus_1.jpeg" for number in range(30)]
    images = make_images([0] * 30 + [1] * 30, [0.2] * 60, names=names)
    groups = measure_subgroups(images, np.arange(60.0), {}, 0.5)

    assert [(group.name, group.num_images) for group in groups if group.trait == "file series"] == [
        ("IM…", 30),
        ("person…", 30),
    ]
    assert name_series(["00012.png"]).tolist() == [""]


def misread(places, count=60):
    """Return the stretches found where the normals at these places, among as many pneumonias, are called sick."""
    sick = np.where(np.isin(np.arange(count), places), 0.9, 0.2)
    names = [f"b/IM-{number}.png" for number in range(count)] + [f"a/person{number}.png" for number in range(count)]
    shuffled = np.random.default_rng(2).permutation(2 * count)
    labels, sick = np.repeat([0, 1], count)[shuffled], np.append(sick, np.full(count, 0.9))[shuffled]
    return find_error_stretches(make_images(labels, sick, names=np.array(names)[shuffled]), 0.5)


def test_errors_that_stand_together_are_found():
    (found,) = misread(range(20, 32))

    assert (found.kind, found.num_wrong) == ("normal", 12)
    assert 12 <= found.num_images <= 14
    assert found.first in {f"b/IM-{number}.png" for number in (18, 19, 20)} and found.p_value <= 0.01


def test_as_many_errors_apart_from_each_other_are_chance():
    assert misread(range(0, 60, 5)) == []


def test_a_mistaken_subtype_is_an_error_too():
    labels = np.full(60, 1)
    images = make_images(labels, np.full(60, 0.9), names=[f"person{number}.png" for number in range(60)])
    viral = np.isin(np.arange(60), range(30, 42))
    probabilities = np.array([0.1, 0.8, 0.1]) * ~viral[:, None] + np.array([0.1, 0.1, 0.8]) * viral[:, None]
    told = dataclasses.replace(images, subtypes=np.full(60, 1), probabilities=probabilities)
    unknown = dataclasses.replace(told, subtypes=np.full(60, -1))

    assert [(found.kind, found.num_wrong) for found in find_error_stretches(told, 0.5)] == [("bacterial", 12)]
    assert find_error_stretches(unknown, 0.5) == []


def test_rows_that_differ_in_number_are_an_error():
    with pytest.raises(ValueError, match="decisions are"):
        make_images([0, 1], [0.1, 0.2], decisions=["normal"])


def _groups(labels, sick, exposures):
    return measure_subgroups(make_images(labels, sick), exposures, {}, 0.5)
