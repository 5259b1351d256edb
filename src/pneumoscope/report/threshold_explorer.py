"""Data of the threshold explorer of a report: probabilities, labels and operating points."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pneumoscope.io.results import Classification, Evaluation
from pneumoscope.io.study_folder import order_configurations, split_stage, stage_name
from pneumoscope.metrics.operating_points import choose_operating_points
from pneumoscope.report.templates import embed_json
from pneumoscope.report.wording import task_titles


def write_explorer_data(stages: Mapping[str, Any]) -> str | None:
    """Return the data for `thresholds.js` as JSON for a `<script>` of a page.

    Args:
        stages: results by stage name. Classifiers without a negative class are skipped, and classes or findings without
            both labels in validation and test.

    Returns:
        For each classifier, and each finding of a multi-label one, its title, its operating points (thresholds by name,
        chosen on validation images), and for each split the labels and the probabilities of the positive class. None
        if there is no classifier.
    """
    by_name = {name: stage for name, stage in stages.items() if isinstance(stage, Classification)}
    titles = task_titles({split_stage(name)[1]: stage.classes for name, stage in by_name.items()})
    classifiers = [
        entry
        for task in titles
        for configuration in order_configurations({split_stage(name)[0] for name in by_name})
        if (name := stage_name(configuration, task)) in by_name
        for entry in _describe_classifier(f"{titles[task]}, {configuration}", by_name[name].evaluations)
    ]
    return embed_json(classifiers) if classifiers else None


def _describe_classifier(title: str, evaluations: Mapping[str, Evaluation]) -> Iterator[dict[str, Any]]:
    scored = {split: _score(evaluation) for split, evaluation in evaluations.items()}
    if not {"val", "test"} <= set(scored):
        return
    for name in scored["val"]:
        both = all(set(scored[split][name][0].tolist()) == {0, 1} for split in ("val", "test"))
        if both:
            splits = {
                split: {"positive": (values[name][0] == 1).tolist(), "scores": values[name][1].tolist()}
                for split, values in scored.items()
            }
            points = choose_operating_points(*scored["val"][name])
            yield {"title": f"{title}: {name}" if name else title, "points": points, "splits": splits}


def _score(evaluation: Evaluation) -> dict[str, tuple[NDArray[np.int64], NDArray[np.float64]]]:
    """Return labels and probabilities of images with a known label, by finding; under an empty name if single-label."""
    label_set, probabilities = evaluation.label_set, evaluation.probabilities.astype(np.float64)
    if label_set.multi_label:
        columns = zip(label_set.classes, evaluation.labels.T, probabilities.T, strict=True)
        return {name: (labels[labels >= 0], scores[labels >= 0]) for name, labels, scores in columns}
    if label_set.negative is None:
        return {}
    labels = (evaluation.labels != label_set.classes.index(label_set.negative)).astype(np.int64)
    return {"": (labels, np.clip(label_set.score_positive(probabilities), 0, 1))}
