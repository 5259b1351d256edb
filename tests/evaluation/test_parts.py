"""The parts of an evaluation, on made-up readings."""

import numpy as np
import pytest

from pneumoscope.data.collection import name_series
from pneumoscope.data.kermany import KERMANY_LABELS
from pneumoscope.errors import PneumoscopeError
from pneumoscope.evaluation.ood import measure_rejections
from pneumoscope.evaluation.predictor import check_probabilities, find_correct
from pneumoscope.evaluation.subgroups import measure_subgroups
from pneumoscope.io.results import EvaluatedImages
from pneumoscope.labels import LabelSet

CLOSE = "The interval of the probability includes the threshold."
UNLIKE = "The image differs from the training images."


HALF = {"pneumonia": 0.5}
FINDINGS = LabelSet(("Effusion", "Mass"), multi_label=True)


def make_images(labels, scores, *, decisions=None, reasons=None, names=None):
    labels, scores = np.asarray(labels), np.asarray(scores, dtype=float)
    n = len(labels)
    reasons = np.array([""] * n if reasons is None else reasons)
    return EvaluatedImages(
        label_set=KERMANY_LABELS,
        names=np.array([f"{number}.png" for number in range(n)] if names is None else names),
        patients=np.arange(n).astype(str),
        labels=np.where(labels == 1, -1, 0),
        positive=labels,
        probabilities=np.stack([1 - scores, scores / 2, scores / 2], axis=1),
        decisions=np.array(["normal"] * n if decisions is None else decisions),
        reasons=reasons,
        in_distribution=~np.char.startswith(reasons, UNLIKE),
    )


def test_rejections_are_counted_by_reason_and_compared_in_accuracy():
    images = make_images(
        [0, 0, 1, 1, 1],
        [0.1, 0.7, 0.9, 0.2, 0.9],
        decisions=["normal", "uncertain", "pneumonia", "uncertain", "rejected"],
        reasons=["", CLOSE, "", f"{UNLIKE} {CLOSE}", "The image appears upside down."],
    )
    rejections = measure_rejections(images, HALF)

    assert rejections.rejected["all"].value == pytest.approx(0.2)
    assert rejections.rejected["normal"].value == 0
    assert rejections.flagged["pneumonia"].value == pytest.approx(1 / 3)
    assert rejections.uncertain["normal"].value == 0.5
    assert rejections.reasons == {"The image appears upside down.": 1}
    assert rejections.remarks == {CLOSE: 2, UNLIKE: 1}
    assert {name: accuracy.value for name, accuracy in rejections.accuracy.items()} == {
        "all": 0.5,
        "certain": 1,
        "uncertain": 0,
    }


def test_a_classifier_that_fails_on_bright_images_is_noticed():
    labels, exposures = np.tile([0, 1], 30), np.arange(60.0)
    scores = np.where(exposures >= 40, 0.9, labels * 0.8 + 0.1)
    groups = measure_subgroups(make_images(labels, scores), exposures, {}, HALF)
    metrics = {group.name.partition(",")[0]: group.metrics for group in groups}

    assert metrics["dark third"]["specificity"].value == metrics["middle third"]["specificity"].value == 1
    assert metrics["bright third"]["specificity"].value == 0
    assert metrics["bright third"]["sensitivity"].value == 1
    assert set(metrics["normal"]) == {"specificity", "accuracy", "rejected"}
    assert set(metrics["pneumonia"]) == {"sensitivity", "accuracy", "rejected"}


def test_fewer_than_ten_images_are_no_subgroup():
    assert measure_subgroups(make_images([0, 1] * 4, [0.2] * 8), np.arange(8.0), {}, HALF) == []


def test_series_are_subgroups_by_the_letters_of_file_names():
    names = [f"test/NORMAL/IM-{number:04d}-0001.jpeg" for number in range(30)]
    names += [f"test/PNEUMONIA/person{number}_virus_1.jpeg" for number in range(30)]
    groups = measure_subgroups(make_images([0] * 30 + [1] * 30, [0.2] * 60, names=names), np.arange(60.0), {}, HALF)

    series = [(group.name, group.num_images) for group in groups if group.trait == "file series"]
    assert series == [("IM…", 30), ("person…", 30)]
    assert name_series(["00012.png"]).tolist() == [""]


def test_columns_that_differ_in_length_are_an_error():
    with pytest.raises(ValueError, match="decisions is"):
        make_images([0, 1], [0.1, 0.2], decisions=["normal"])


@pytest.mark.parametrize(
    ("label_set", "probabilities", "thresholds", "expected"),
    [
        (KERMANY_LABELS, [[0.4, 0.35, 0.25], [0.6, 0.3, 0.1]], HALF, ["pneumonia", "normal"]),
        (LabelSet(("covid", "ok", "tb"), "ok"), [[0.2, 0.45, 0.35], [0.1, 0.8, 0.1]], {"abnormal": 0.5}, ["tb", "ok"]),
        (LabelSet(("covid", "tb")), [[0.5, 0.5], [0.2, 0.8]], {}, ["covid", "tb"]),
        (FINDINGS, [[0.5, 0.7], [0.4, 0.6]], {"Effusion": 0.5, "Mass": 0.7}, ["Effusion|Mass", "no finding"]),
    ],
)
def test_decisions_of_models_without_a_reader(label_set, probabilities, thresholds, expected):
    assert label_set.decide(np.array(probabilities), thresholds).tolist() == expected


def test_all_known_findings_must_be_correct():
    images = EvaluatedImages(
        FINDINGS,
        names=np.array(list("abc")),
        patients=np.array(list("abc")),
        labels=np.array([[1, -1], [1, 0], [0, 0]]),
        positive=np.full(3, -1),
        probabilities=np.array([[0.9, 0.9], [0.9, 0.9], [0.1, 0.1]]),
        **{name: np.full(3, value) for name, value in (("decisions", ""), ("reasons", ""), ("in_distribution", True))},
    )

    assert find_correct(images, {"Effusion": 0.5, "Mass": 0.5}).tolist() == [True, False, True]
    groups = measure_subgroups(images.select(np.arange(30) % 3), None, {}, {"Effusion": 0.5, "Mass": 0.5})
    classes = [(group.name, group.num_images) for group in groups if group.trait == "class"]
    assert classes == [("Effusion", 20), ("no finding", 10)]


@pytest.mark.parametrize(
    ("values", "message"),
    [([[1, 2]], "Apply softmax"), ([[0.5, 0.9]], "sum to 1.400"), ([[0.5]], r"shape \(1, 1\); expected \(1, 2\)")],
)
def test_values_that_are_no_probabilities_are_an_error(values, message):
    with pytest.raises(PneumoscopeError, match=message):
        check_probabilities(np.array(values), LabelSet(("a", "b")), 1)
