"""The model card of an exported model as `README.md`."""

import math
import os
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from pneumoscope.inference.cards import (
    AnomalyCard,
    CardHead,
    ClassifierCard,
    ExportedModel,
    ReferenceCard,
    load_card,
)
from pneumoscope.inference.model_set import load_cards
from pneumoscope.io.results import Estimate
from pneumoscope.io.results.calibration import OperatingPoint, SeedComparison, SplitMetrics
from pneumoscope.io.write import write_text
from pneumoscope.models.card import CARD_NAME
from pneumoscope.models.settings import TrainingSettings
from pneumoscope.report.templates import make_environment
from pneumoscope.report.wording import format_estimate, format_value, metric_title

LEAST_DROP = 0.05

_SPLITS = {"val": "validation", "held_out": "held-out series", "test": "test"}
_TASKS = {"normal_or_pneumonia": "normal or pneumonia", "three_class": "three classes"}
_BINARY = {"auroc": "AUROC", "auprc": "AUPRC"}
_THREE_CLASSES = (
    *("accuracy", "balanced_accuracy", "auroc", "auroc_bacterial_vs_viral"),
    *("recall_normal", "recall_bacterial", "recall_viral"),
    *("precision_normal", "precision_bacterial", "precision_viral"),
)
# Metrics of the heatmaps on the card; `card.json` contains all.
_EXPLANATION = (
    *("peak_in_lesion", "lesion_area", "heat_in_lungs", "lungs_area"),
    *("survives_last", "survives_all", "other_seed"),
)
_SUBTYPE_TITLES = {
    "predictions_outside": "whole image, outside error runs",
    "predictions_inside": "whole image, inside error runs",
    "borders_outside": "outer tenth of the image only, outside error runs",
    "borders_inside": "outer tenth of the image only, inside error runs",
}
# DOI of the collection of the shipped models; its description is part of the template.
_KERMANY = "10.17632/rscbjbr9sj"


def write_model_cards(export_dir: str | os.PathLike[str]) -> None:
    """Write a `README.md` next to each `card.json` of an export.

    Args:
        export_dir: folder of `export_model` or `export_study`.

    Raises:
        ModelError: if the folder contains no export.
    """
    export_dir = Path(export_dir)
    if (export_dir / CARD_NAME).exists():
        write_model_card(load_card(ExportedModel, export_dir), export_dir / "README.md")
    else:
        for part, card in vars(load_cards(export_dir)).items():
            write_model_card(card, export_dir / part / "README.md")


def write_model_card(card: CardHead, path: Path) -> None:
    """Write the card of one exported model as Markdown."""
    content: dict[str, Any] = dict.fromkeys(("model", "classifier", "data", "drop"))
    content |= {
        name: [] for name in ("training", "points", "splits", "rows", "test", "explanation", "subtypes", "seeds")
    }
    if isinstance(card, ExportedModel):
        content |= {"model": card, "training": _describe_training(card)}
    if isinstance(card, ClassifierCard | AnomalyCard | ReferenceCard):
        content["data"] = card.data
    if isinstance(card, AnomalyCard):
        content["test"] = _list_metrics(card.metrics["test"])
    if isinstance(card, ClassifierCard):
        content |= _describe_classifier(card)
    of_kermany = content["data"] is not None and _KERMANY in content["data"].license
    template = make_environment(autoescape=False).get_template("model_card.md.j2")
    write_text(path, template.render(card=card, of_kermany=of_kermany, **content))


def _describe_classifier(card: ClassifierCard) -> dict[str, Any]:
    return {
        "classifier": card,
        "points": [(name, *_format_point(point)) for name, point in card.operating_points.items()],
        "splits": _title_splits(card.metrics),
        "rows": _tabulate_metrics(card.metrics),
        "explanation": _list_explanation(card.explanation.metrics) if card.explanation else [],
        "subtypes": [
            (_SUBTYPE_TITLES[name], format_estimate("auroc", one)) for name, one in card.subtypes.metrics.items()
        ]
        if card.subtypes
        else [],
        "seeds": _list_seeds(card.seeds) if card.seeds else [],
        "drop": _format_drop(card.metrics),
    }


def _describe_training(card: ExportedModel) -> list[str]:
    settings = card.settings
    optimizer = f"AdamW, weight decay {settings.weight_decay:g}" if settings.weight_decay else "Adam"
    warmup = f"; linear warm-up over {settings.warmup:.0%} of the steps, then cosine decay" if settings.cosine else ""
    return [
        f"{settings.epochs} epochs in batches of {settings.batch_size}, configuration `{settings.configuration}`",
        f"{optimizer}, learning rate {settings.learning_rate:g}{warmup}",
        *_list_options(settings, card),
        *_list_augmentation(settings),
    ]


def _list_options(settings: TrainingSettings, card: ExportedModel) -> list[str]:
    # Anomaly detectors have no dropout layer.
    dropout = settings.dropout if card.kind == "classifier" else 0
    options = (
        (settings.backbone, f"pretrained weights of {settings.backbone}"),
        (settings.balanced, "class-balanced sampling"),
        (settings.label_smoothing, f"label smoothing {settings.label_smoothing:g}"),
        (settings.mixup, f"mixup {settings.mixup:g}"),
        (dropout, f"dropout {dropout:g}"),
        (settings.averaging, f"exponential moving average of the weights over epochs, decay {settings.averaging:g}"),
        (settings.keep_best, f"selected epoch: {card.chosen_epoch}, with the lowest validation loss"),
    )
    return [text for used, text in options if used]


def _list_augmentation(settings: TrainingSettings) -> list[str]:
    names = [field.name for field in fields(settings.augmentation)]
    used = [name.replace("_", " ") for name in names if getattr(settings.augmentation, name)]
    return [f"augmentation: {', '.join(used)}"] if used else []


def _format_point(point: OperatingPoint) -> tuple[str, str, str]:
    """Return threshold, sensitivity and specificity on the images used to choose the operating point."""
    return (
        f"{point.threshold:.3f}",
        format_estimate("sensitivity", point.sensitivity),
        format_estimate("specificity", point.one_minus_specificity.complement()),
    )


def _tabulate_metrics(metrics: Mapping[str, SplitMetrics]) -> list[tuple[str, list[str]]]:
    """Return rows with a title and a cell for each measured split."""
    parts = [metrics[split] for split in _SPLITS if split in metrics]
    binary, three = [part.normal_or_pneumonia for part in parts], [part.three_class for part in parts]
    rows = [(f"normal or pneumonia: {title}", _row(name, binary)) for name, title in _BINARY.items()]
    for name in (key.removeprefix("accuracy_") for key in binary[0] if key.startswith("accuracy_")):
        specificities = [part[f"flagged_normal_{name}"].complement() for part in binary]
        rows += [
            (f"at `{name}`: sensitivity", _row(f"flagged_pneumonia_{name}", binary)),
            (f"at `{name}`: specificity", [format_estimate("specificity", value) for value in specificities]),
            (f"at `{name}`: accuracy", _row(f"accuracy_{name}", binary)),
        ]
    names = [name for name in _THREE_CLASSES if name in three[0]]
    return rows + [(f"three classes: {metric_title(name)}", _row(name, three)) for name in names]


def _title_splits(metrics: Mapping[str, SplitMetrics]) -> list[str]:
    counts = {split: metrics[split].three_class["accuracy"].n for split in _SPLITS if split in metrics}
    return [f"{_SPLITS[split]}, n = {count:,}" for split, count in counts.items()]


def _row(name: str, parts: list[dict[str, Estimate]]) -> list[str]:
    return [format_estimate(name, part[name]) if name in part else "-" for part in parts]


def _list_metrics(metrics: Mapping[str, Estimate]) -> list[tuple[str, str]]:
    return [(metric_title(name), format_estimate(name, metric)) for name, metric in metrics.items()]


def _list_explanation(metrics: Mapping[str, Estimate]) -> list[tuple[str, str]]:
    return _list_metrics({name: metrics[name] for name in _EXPLANATION if name in metrics})


def _list_seeds(seeds: SeedComparison) -> list[str]:
    """Return mean and standard deviation of each metric over models with different seeds."""
    sentences = []
    for key, spread in seeds.test.items():
        task, _, name = key.partition("/")
        title = metric_title(name.removesuffix("_balanced"))
        mean, deviation = format_value(name, spread.mean), format_value(name, spread.sd)
        sentences.append(f"{_TASKS.get(task, task)}: {title} {mean}, sd {deviation}")
    return sentences


def _format_drop(metrics: Mapping[str, SplitMetrics]) -> tuple[str, str] | None:
    """Return the specificity at `balanced` on validation and test if it is lower on test, else None."""
    name = "flagged_normal_balanced"
    if not {"val", "test"} <= metrics.keys():
        return None
    val, test = (metrics[split].normal_or_pneumonia[name].complement() for split in ("val", "test"))
    if math.isnan(val.value - test.value) or test.value >= val.value - LEAST_DROP:
        return None
    return format_value("specificity", val.value), format_estimate("specificity", test)
