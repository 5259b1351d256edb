import json

import pytest

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


def test_without_a_classifier_there_is_nothing_to_explore(stages):
    assert write_explorer_data({"audit": stages["audit"]}) is None
