"""Pneumoscope reads chest radiographs for pneumonia: trained, checked and explained models.

Research use only. Not a medical device.

Data flows one way through the package:

    radiographs  ->  models  ->  tasks  ->  results  ->  report | command line
    (files to        (Keras)     (1.A to 4)  (plain       (draw and write,
     arrays)           |                      values)      compute nothing)
                       +->  reading  ->  readings  ->  app | command line
                            (no Keras)

Importing this package imports nothing heavy: each name below loads its room on first use.
"""

from importlib import import_module
from importlib.metadata import version
from typing import Any

__version__ = version("pneumoscope")

RESEARCH_USE_ONLY = "Research use only. Not a medical device."

_HOMES = {
    "scan_collection": "radiographs.collection",
    "load_image": "radiographs.image",
    "load_dataset": "radiographs.dataset",
    "split_dataset": "radiographs.splits",
    "split_folds": "radiographs.splits",
    "audit_dataset": "radiographs.audit",
    "draw_phantoms": "radiographs.phantoms",
    "write_phantoms": "radiographs.phantoms",
    "prepare_folders": "radiographs.prepare",
    "train_classifier": "tasks.classify",
    "evaluate_classifier": "tasks.classify",
    "embed_images": "tasks.neighbors",
    "find_neighbors": "tasks.neighbors",
    "compute_map": "tasks.map",
    "train_anomaly": "tasks.anomaly.autoencoder",
    "explain_classifier": "tasks.explain.explanation",
    "load_bundle": "models.bundle",
    "profile_settings": "models.settings",
    "autoencoder_settings": "models.settings",
    "run_study": "study",
    "export_model": "export",
    "export_study": "export",
    "write_model_cards": "report.model_card",
    "Reader": "reading.reader",
    "assess_models": "assess.assess",
    "measure_shortcuts": "tasks.shortcuts",
    "write_assessment": "report.assessment_page",
    "write_audit": "report.audit_page",
    "compare_rankings": "evaluation.paired",
    "compare_decisions": "evaluation.paired",
    "decode_radiograph": "reading.decode",
    "BINARY_CLASSES": "results",
    "THREE_CLASSES": "results",
    "load_result": "archive",
    "save_result": "archive",
    "write_report": "report.page",
}

__all__ = [*sorted(_HOMES), "RESEARCH_USE_ONLY", "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'pneumoscope' has no attribute {name!r}; it has {', '.join(sorted(_HOMES))}")
    return getattr(import_module(f"pneumoscope.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
