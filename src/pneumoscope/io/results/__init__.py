"""Value types that pass between the layers, one file per task; each checks its own shapes."""

from pneumoscope.io.results.anomaly import AnomalyResult
from pneumoscope.io.results.benchmark import MethodTable
from pneumoscope.io.results.classification import Classification, Evaluation, LearningCurve
from pneumoscope.io.results.confounders import UNTOUCHED, Shortcuts
from pneumoscope.io.results.data import Audit, Leakage
from pneumoscope.io.results.estimate import Estimate, require
from pneumoscope.io.results.evaluation import Assessed, Assessment, ErrorStretch, Gate, Scope, Subgroup
from pneumoscope.io.results.explain import Explanation, ExplanationBenchmark
from pneumoscope.io.results.metrics import Conformal, PairedComparison, PriorShift, Reliability, Roc, SelectiveCurve
from pneumoscope.io.results.neighbors import EmbeddingMap, Neighbors
from pneumoscope.io.results.ood import GateCheck, KindCheck

__all__ = [
    "UNTOUCHED",
    "AnomalyResult",
    "Assessed",
    "Assessment",
    "Audit",
    "Classification",
    "Conformal",
    "EmbeddingMap",
    "ErrorStretch",
    "Estimate",
    "Evaluation",
    "Explanation",
    "ExplanationBenchmark",
    "Gate",
    "GateCheck",
    "KindCheck",
    "Leakage",
    "LearningCurve",
    "MethodTable",
    "Neighbors",
    "PairedComparison",
    "PriorShift",
    "Reliability",
    "Roc",
    "Scope",
    "SelectiveCurve",
    "Shortcuts",
    "Subgroup",
    "require",
]
