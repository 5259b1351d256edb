"""Result dataclasses, one file per task.

classification.py  task 1
neighbors.py       task 2
anomaly.py         task 3
explain.py         task 4
evaluation.py      evaluation of a model set on a collection
metrics.py         reliability, ROC, selective prediction, label shift, conformal sets
calibration.py     calibration and operating points
benchmark.py       tables of methods
data.py            audit and leakage
estimate.py        a metric with its 95 % interval
"""

from pneumoscope.io.results.anomaly import AnomalyResult
from pneumoscope.io.results.benchmark import MethodTable, Metrics, without_interval
from pneumoscope.io.results.classification import Classification, Evaluation, LearningCurve
from pneumoscope.io.results.data import Audit, Leakage
from pneumoscope.io.results.estimate import Estimate, check_shapes, require
from pneumoscope.io.results.evaluation import (
    UNTOUCHED,
    CollectionEvaluation,
    Confounders,
    EvaluatedImages,
    OODCheck,
    OODKind,
    Rejections,
    Scope,
    Subgroup,
)
from pneumoscope.io.results.explain import Explanation
from pneumoscope.io.results.metrics import Conformal, LabelShift, PairedComparison, Reliability, Roc, SelectiveCurve
from pneumoscope.io.results.neighbors import EmbeddingMap, Neighbors
from pneumoscope.labels import LabelSet

__all__ = [
    "UNTOUCHED",
    "AnomalyResult",
    "Audit",
    "Classification",
    "CollectionEvaluation",
    "Conformal",
    "Confounders",
    "EmbeddingMap",
    "Estimate",
    "EvaluatedImages",
    "Evaluation",
    "Explanation",
    "LabelSet",
    "LabelShift",
    "Leakage",
    "LearningCurve",
    "MethodTable",
    "Metrics",
    "Neighbors",
    "OODCheck",
    "OODKind",
    "PairedComparison",
    "Rejections",
    "Reliability",
    "Roc",
    "Scope",
    "SelectiveCurve",
    "Subgroup",
    "check_shapes",
    "require",
    "without_interval",
]
