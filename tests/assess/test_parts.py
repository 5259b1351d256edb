"""The parts of an assessment, on made-up readings."""

import numpy as np
import pytest

from pneumoscope.assess.gate import measure_gate
from pneumoscope.assess.subgroups import measure_subgroups
from pneumoscope.assessment import Assessed
from pneumoscope.radiographs.collection import name_series

CLOSE = "The probability is too close to the threshold to be on one side of it for sure."
UNLIKE = "The film looks unlike those that the models were trained on."


def make_images(labels, sick, *, decisions=None, reasons=None, names=None):
    labels, sick = np.asarray(labels), np.asarray(sick, dtype=float)
    n = len(labels)
    reasons = np.array(reasons if reasons is not None else [""] * n)
    return Assessed(
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
    gate = measure_gate(images, 0.5)

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


def test_rows_that_differ_in_number_are_an_error():
    with pytest.raises(ValueError, match="decisions are"):
        make_images([0, 1], [0.1, 0.2], decisions=["normal"])


def _groups(labels, sick, exposures):
    return measure_subgroups(make_images(labels, sick), exposures, {}, 0.5)
