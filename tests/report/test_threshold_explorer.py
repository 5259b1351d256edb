import json
from dataclasses import replace

import numpy as np
import pytest

from pneumoscope.io.results import Classification
from pneumoscope.labels import LabelSet
from pneumoscope.metrics.classification import evaluate
from pneumoscope.metrics.operating_points import choose_operating_points
from pneumoscope.report.threshold_explorer import write_explorer_data


def test_each_classifier_comes_with_scores_and_thresholds_from_validation(stages):
    classifiers = json.loads(write_explorer_data(stages))

    binary = next(name for name in stages if name.endswith("-binary"))
    validation = stages[binary].evaluations["val"]
    splits, points = classifiers[0]["splits"], classifiers[0]["points"]
    assert all(set(classifier["splits"]) >= {"val", "test"} for classifier in classifiers)
    assert splits["val"]["scores"] == pytest.approx(validation.probabilities[:, 1].tolist(), abs=1e-7)
    assert splits["val"]["positive"] == (validation.labels > 0).tolist()
    assert points == choose_operating_points(splits["val"]["positive"], splits["val"]["scores"])


def test_each_finding_with_known_labels_is_one_classifier(stages):
    classifier = next(stage for stage in stages.values() if isinstance(stage, Classification))
    findings = LabelSet(("Effusion", "Mass"), multi_label=True)
    labels = np.array([[1, 0], [0, 0], [-1, 0]] * 4)
    rows = {"patients": np.arange(12), "names": np.arange(12)}
    evaluations = {
        split: evaluate(labels, 0.4 + 0.1 * labels, label_set=findings, split=split, **rows)
        for split in ("val", "test")
    }
    result = replace(classifier, label_set=findings, evaluations=evaluations)
    (effusion,) = json.loads(write_explorer_data({"improved-multilabel": result}))

    assert effusion["title"].endswith("improved: Effusion")
    assert effusion["splits"]["test"]["positive"] == [True, False] * 4


def test_without_a_classifier_there_is_nothing_to_explore(stages):
    assert write_explorer_data({"audit": stages["audit"]}) is None
