"""Data of the threshold explorer of a report: probabilities, labels and operating points."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pneumoscope.io.results import Classification, Evaluation
from pneumoscope.io.study_folder import order_configurations, split_stage, stage_name
from pneumoscope.metrics.operating_points import choose_operating_points
from pneumoscope.report.templates import embed_json
from pneumoscope.report.wording import TASK_TITLES


def write_explorer_data(stages: Mapping[str, Any]) -> str | None:
    """Return the data for `thresholds.js` as JSON for a `<script>` of a page.

    Args:
        stages: results by stage name. Classifiers without both classes in validation and test are skipped.

    Returns:
        For each classifier its title, its operating points (thresholds by name, chosen on validation images), and for
        each split the labels and the probabilities of the positive class. None if there is no classifier.
    """
    by_name = {name: stage for name, stage in stages.items() if isinstance(stage, Classification)}
    classifiers = [
        _describe_classifier(f"{TASK_TITLES[task]}, {configuration}", by_name[stage_name(configuration, task)])
        for task in TASK_TITLES
        for configuration in order_configurations({split_stage(name)[0] for name in by_name})
        if stage_name(configuration, task) in by_name and _has_both_classes(by_name[stage_name(configuration, task)])
    ]
    return embed_json(classifiers) if classifiers else None


def _has_both_classes(result: Classification) -> bool:
    return all(
        split in result.evaluations and len(np.unique(result.evaluations[split].labels > 0)) == 2
        for split in ("val", "test")
    )


def _describe_classifier(title: str, result: Classification) -> dict[str, Any]:
    validation = result.evaluations["val"]
    points = choose_operating_points((validation.labels > 0).astype(np.int64), _score_positive(validation))
    splits = {
        split: {"positive": (evaluation.labels > 0).tolist(), "scores": _score_positive(evaluation).tolist()}
        for split, evaluation in result.evaluations.items()
    }
    return {"title": title, "points": points, "splits": splits}


def _score_positive(evaluation: Evaluation) -> NDArray[np.float64]:
    """Return `(n,)` probabilities in [0, 1] of the positive classes; the first class is the negative class."""
    return np.asarray(np.minimum(evaluation.probabilities[:, 1:].astype(np.float64).sum(axis=1), 1.0))
